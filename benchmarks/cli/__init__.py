"""The command ``depthbench``: one file a verb, imported when the verb is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

USER_ERROR = 2
"""The exit code for bad input or a missing resource."""

VERBS = {
    "check-method": "benchmarks.cli.check_method:check_method",
    "compare": "benchmarks.cli.compare:compare",
    "explain": "benchmarks.cli.explain:explain",
    "gate": "benchmarks.cli.gate:gate",
    "list": "benchmarks.cli.list:list_known",
    "publish": "benchmarks.cli.publish:publish",
    "report": "benchmarks.cli.report:report",
    "reproduce": "benchmarks.cli.reproduce:reproduce",
    "rerun": "benchmarks.cli.rerun:rerun",
    "run": "benchmarks.cli.run:run",
    "show": "benchmarks.cli.show:show",
    "table": "benchmarks.cli.table:table",
    "verify": "benchmarks.cli.verify:verify",
}


class _Verbs(TyperGroup):
    """Finds a verb's function without importing the other verbs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            from tasks.errors import unknown_name

            raise unknown_name("command", cmd_name, VERBS)
        module, _, function = VERBS[cmd_name].partition(":")
        verb = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        verb.command(cmd_name)(getattr(importlib.import_module(module), function))
        return typer.main.get_command(verb)


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from benchmarks import __version__

        typer.echo(f"depthbench {__version__}")
        raise typer.Exit()


@app.callback()
def depthbench(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Train networks that run or train with less, on identical budgets, and measure them.

    Example: depthbench run quickstart
    """


def shadowed_package() -> str:
    """One sentence if ``methods`` or ``tasks`` would be imported from elsewhere, else nothing.

    These are ordinary words: a folder of that name in the current directory or on PYTHONPATH may
    stand in front of ours.
    """
    root = Path(__file__).resolve().parents[2]
    for name in ("methods", "tasks"):
        spec = importlib.util.find_spec(name)
        places = [*(spec.submodule_search_locations or [])] if spec else []
        origin = places[0] if places else spec.origin if spec else None
        if origin is None:
            return (
                f"the package '{name}' is not beside {root / 'benchmarks'}: install depthbench anew"
            )
        if Path(origin).resolve() != root / name:
            return (
                f"{origin} hides the package '{name}' of depthbench: rename it, start depthbench "
                "from another folder, or take its folder off PYTHONPATH"
            )
    return ""


def main() -> None:
    """Run the command; user mistakes end in one sentence and exit code 2, Ctrl-C in 130."""
    problem = shadowed_package()
    if problem:
        _stop(problem)
    from tasks.errors import UserError

    try:
        app(prog_name="depthbench")
    except UserError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _stop(sentence: str) -> None:
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(USER_ERROR)
