"""What reproducing does in processes of their own: everything that takes torch.

Imported there alone; the parent names these functions by text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engine.building import select_device
from benchmarks.launch.planning import plan_runs
from benchmarks.papers.claims import Claim
from benchmarks.papers.planning import ABSENT, PLANNED
from benchmarks.papers.verdicts import Checked, check
from benchmarks.spec import RunSpec
from tasks.base import TASKS
from tasks.errors import UserError
from tasks.registry import build

Report = Callable[[dict[str, Any]], None]


def has_gpu(device: str, report: Report) -> bool:
    """Whether runs on ``device`` (auto, cpu, cuda, cuda:N) have a GPU.

    Raises:
        UserError: the requested GPU is not there.
    """
    return bool(select_device(device).type == "cuda")


def verify(claims: Sequence[Claim], report: Report) -> list[Checked]:
    """The verdicts of ``depthbench verify``."""
    return [check(claim) for claim in claims]


def plan(specs: list[dict[str, Any]], finished: frozenset[str], report: Report) -> tuple[str, Any]:
    """Plan the seeds of one run.

    Returns:
        ``planned`` and what :func:`plan_runs` gave; ``absent`` and the sentence that says what the
        task lacks; or ``refused`` and why the method does not work with it.
    """
    try:
        return PLANNED, plan_runs(specs, report, estimate=True, finished=finished)
    except UserError as error:
        reason = str(error)
    spec = RunSpec.from_dict(specs[0])
    try:
        factory, values = TASKS.find(spec.task)
        build(f"task '{spec.task}'", factory, {**spec.task_options, **values}).check()
    except UserError as error:
        return ABSENT, str(error)
    return "refused", reason
