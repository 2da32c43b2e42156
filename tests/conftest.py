"""For all tests."""

import os
import subprocess

# yapf, which mmengine imports, writes a cache at its first import in an environment: here, before
# the processes of the tests start, for two at once would read each other's half of it.
import pytest
import torch
import torchvision
import warm
import yapf  # noqa: F401

import tasks.openmmlab  # noqa: F401 - mmcv's operations, for tests that import mmdet or mmseg

WARM = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the warm process, where tests run: not in the process that hands them out."""
    workers = getattr(session.config.option, "numprocesses", None)
    if os.environ.get("PYTEST_XDIST_WORKER") or not workers:
        session.config.stash[WARM] = warm.start()
        warm.patch_fork_server()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End it."""
    process = session.config.stash.get(WARM, None)
    if process is not None:
        process.stdin.close()
        process.wait()


def pytest_report_header() -> str:
    """What a log of the tests was made with."""
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}"
