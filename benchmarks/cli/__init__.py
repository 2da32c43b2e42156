"""The command ``depthbench``: one file a verb, imported when the verb is used."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from benchmarks.launch.streams import secure_streams, write_problem

NARROWEST, WIDEST = 40, 1000
"""Characters a line."""
USER_ERROR = 2
"""The exit code for bad input or a missing resource."""

VERBS = {
    "run": "benchmarks.cli.run:run",
    "list": "benchmarks.cli.list:list_known",
    "verify": "benchmarks.cli.verify:verify",
    "reproduce": "benchmarks.cli.reproduce:reproduce",
    "report": "benchmarks.cli.report:report",
    "compare": "benchmarks.cli.compare:compare",
    "show": "benchmarks.cli.show:show",
    "rerun": "benchmarks.cli.rerun:rerun",
    "publish": "benchmarks.cli.publish:publish",
    "check": "benchmarks.cli.check:check",
}
OLD_NAMES = {
    "table": ("report", "benchmarks.cli.report:report"),
    "gate": ("compare --against", "benchmarks.cli.gate:gate"),
    "explain": ("show", "benchmarks.cli.show:explain"),
    "check-method": ("check", "benchmarks.cli.check:check"),
}
"""Names of commands until 1.0: what to write now, and what runs."""


class _Verbs(TyperGroup):
    """Finds a verb's function without importing the other verbs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*VERBS]  # the submodule `list` may shadow the builtin here

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in OLD_NAMES:
            new, place = OLD_NAMES[cmd_name]
            sentence = f"note: 'depthbench {cmd_name}' is now 'depthbench {new}'"
            print(f"{sentence}; the old name goes with 1.0", file=sys.stderr)
        elif cmd_name in VERBS:
            place = VERBS[cmd_name]
        else:
            from tasks.errors import unknown_name

            raise unknown_name("command", cmd_name, VERBS)
        module, _, function = place.partition(":")
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
            return f"the package '{name}' is not beside {root / 'benchmarks'}: reinstall depthbench"
        if Path(origin).resolve() != root / name:
            return (
                f"{origin} hides the package '{name}' of depthbench: rename it, start depthbench "
                "from another folder, or take its folder off PYTHONPATH"
            )
    return ""


def main() -> None:
    """Run the command; whatever goes wrong ends in one sentence and exit code 2, Ctrl-C in 130.

    A finished command whose output could not be written says so and exits with 2; one whose reader
    has gone (``| head``) does not.
    """
    secure_streams()
    _widen()
    problem = _no_folder() or shadowed_package()
    if problem:
        _stop(problem)
    from tasks.crash import crash_sentence
    from tasks.errors import UserError

    try:
        app(prog_name="depthbench")
    except UserError as error:
        _stop(str(error))
    except SystemExit as end:
        lost = write_problem(sys.stdout)
        if lost:
            sentence = f"the command is done, but its output cannot be written to stdout: {lost}"
            _stop(sentence, end.code or USER_ERROR)
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        _stop(_no_folder() or _system_error(error))
    except Exception as error:
        _stop(f"an error in depthbench or in code that it ran: {crash_sentence(error)}")


def _system_error(error: OSError) -> str:
    """``cannot write results/x: No space left on device``, as far as the system says."""
    if error.filename is None:
        from tasks.crash import crash_sentence

        return crash_sentence(error)
    return f"{error.filename}: {error.strerror or error}"


def _widen() -> None:
    """Keep a COLUMNS in which no word has room, or which no memory holds, out of the output."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal():
        wide = WIDEST if len(columns) > 9 else int(columns)
        os.environ["COLUMNS"] = str(min(max(wide, NARROWEST), WIDEST))


def _no_folder() -> str:
    """One sentence if the working folder was removed, else nothing."""
    try:
        os.getcwd()
    except OSError:
        return "the working folder is gone: go to a folder that exists, and start the command there"
    return ""


def _stop(sentence: str, code: str | int = USER_ERROR) -> None:
    write_problem(sys.stdout)
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    raise SystemExit(code)
