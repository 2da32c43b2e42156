"""``depthbench run`` with the fake runs in place of real ones; the rest is the command itself."""

from __future__ import annotations

import sys

import typer
from launch import fake_runs

from benchmarks.cli import run as command
from benchmarks.launch import suite_run
from benchmarks.launch.suite_run import SuiteRun
from tasks.errors import UserError


def fake_driver(*arguments):
    return SuiteRun(*arguments, execute=fake_runs.execute)


def main():
    command.preload_for = lambda suite: ()  # a fake run needs no torch
    command.SuiteRun = fake_driver
    suite_run._plan = fake_runs.plan
    app = typer.Typer()
    app.command()(command.run)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        heavy = {"torch", "torchvision", "mmengine", "sklearn"} & set(sys.modules)
        assert not heavy, f"the command imported {heavy}"


if __name__ == "__main__":
    main()
