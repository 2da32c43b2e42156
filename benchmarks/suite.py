"""A suite file: which methods meet which tasks, and the plan of run specs that follows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from benchmarks.budget import Budget
from benchmarks.spec import MethodEntry, RunSpec, TaskEntry
from benchmarks.suites.document import DEVICES, Document, Place, Refusal, read_text, suite_files
from benchmarks.suites.plugins import import_method_file
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError, unknown_name
from tasks.option_types import shown_value

if TYPE_CHECKING:
    import pydantic

    from benchmarks.suites import fields

__all__ = ["MethodEntry", "RunSpec", "Suite", "TaskEntry", "load_suite", "read_suite"]


def _task(value: Any) -> Any:
    """``{name: ..., **options}`` as the fields of an entry."""
    if not isinstance(value, dict):
        return value
    options = dict(value)
    return {"name": options.pop("name", "classification"), "options": options}


def _method(value: Any) -> Any:
    """The fields of an entry of a name, a list of methods, or a mapping with a name or options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, list):
        return {"name": "compose", "options": {"methods": value}}
    rest = dict(value) if isinstance(value, dict) else {}
    label = {key: rest.pop(key) for key in _OF_ENTRIES if key in rest}
    if "name" in rest:
        return {"name": rest.pop("name"), "options": rest, **label}
    if len(rest) != 1:
        raise Refusal("write a method as 'name', as 'name: {option: value}' or with a key 'name'")
    ((name, options),) = rest.items()
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise Refusal(
            f"the options of {name} must be a mapping (key: value), got {shown_value(options)}",
            key=name,
        )
    label |= {key: value for key, value in options.items() if key in _OF_ENTRIES}
    options = {k: v for k, v in options.items() if k not in _OF_ENTRIES}
    return {"name": name, "options": options, **label}


_OF_ENTRIES = ("label", "init_from")
"""Keys beside the options of a method that are not its own."""
_TASK_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
_METHOD_SCHEMA = {
    "type": ["string", "object", "array"],
    "properties": {"label": {"type": "string"}},
}


@dataclass(frozen=True)
class Suite:
    """A comparison: every method on every task with every seed, all under one budget."""

    __pydantic_config__: ClassVar = {"use_attribute_docstrings": True}

    name: fields.FolderName
    """Of the results folder, and of the suite in the rows."""
    tasks: Annotated[
        tuple[Annotated[TaskEntry, fields.entry(_task, TASKS, _TASK_SCHEMA)], ...],
        pydantic.BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
        pydantic.Field(min_length=1, validation_alias=pydantic.AliasChoices("tasks", "task")),
    ]
    """What is trained: options of one task, or a list of them."""
    methods: Annotated[
        tuple[Annotated[MethodEntry, fields.entry(_method, METHODS, _METHOD_SCHEMA)], ...],
        pydantic.Field(min_length=1),
        fields.distinct("duplicate method '{}': give one of them a 'label'", attrgetter("written")),
    ]
    """Names; ``name: {option: value}``; or mappings with ``name``, options and ``label``."""
    budget: fields.BudgetField
    """What each run may spend on training."""
    title: fields.Text = ""
    """The question that the suite answers, in one sentence."""
    profile: fields.Profile = "short"
    """``paper`` is the published budget; ``short`` and ``smoke`` are reduced."""
    seeds: Annotated[
        tuple[fields.Seed, ...],
        pydantic.Field(min_length=1),
        fields.distinct("duplicate value {} in seeds"),
    ] = (0, 1, 2)
    """One run per method and seed."""
    recipe: fields.RecipeChanges = field(default_factory=dict)
    """Changes to the task's recipe."""
    baseline: fields.Text = ""
    """As :attr:`MethodEntry.written` of the method that ratios refer to; the first by default."""
    device: fields.Device = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    validate_every: fields.Count = 1
    """Epochs between validations."""
    latency_batch_sizes: fields.BatchSizes = (1,)
    """Batch sizes for latency and energy per image; empty skips both."""
    threads: fields.Count | None = None
    """Of torch; all cores by default."""
    target: fields.TargetField = None
    """Validation metric for time-, energy- and FLOPs-to-target: ``{top1: 95}``, or a number."""
    method_file: str | None = None
    source: str = field(default="", compare=False)
    """The suite file, for messages."""
    lines: Mapping[Place, int] = field(default_factory=dict, compare=False)
    """Lines of the suite file by key, and by position for entries, for messages."""

    @property
    def baseline_method(self) -> MethodEntry:
        """The entry that ``baseline`` names; the first one by default."""
        return next((m for m in self.methods if m.written == self.baseline), self.methods[0])

    def with_budget(self, budget: Budget) -> Suite:
        """The same comparison under another budget, which is then no paper's any more."""
        if budget == self.budget:
            return self
        profile = "short" if self.profile == "paper" else self.profile
        lines = {key: line for key, line in self.lines.items() if key != ("budget",)}
        return replace(self, budget=budget, profile=profile, lines=lines)

    def with_device(self, device: str) -> Suite:
        """The same comparison on another device.

        Raises:
            UserError: no device is called so.
        """
        if re.fullmatch(DEVICES, device) is None:
            raise UserError(f"--device must be auto, cpu, cuda or cuda:N, got '{device}'")
        lines = {key: line for key, line in self.lines.items() if key != ("device",)}
        return replace(self, device=device, lines=lines)

    def specs(self) -> list[RunSpec]:
        """The plan: by task, then seed, then method.

        Methods alternate within a seed, so that a suite that was stopped half way already
        compares them, and a device that warms up does so for all of them.
        """
        return [spec for spec, _, _ in self.planned()]

    def planned(self) -> list[tuple[RunSpec, TaskEntry, MethodEntry]]:
        """The plan with the entries of the suite file that each run comes from."""
        return [
            (self._spec(task, seed, method), task, method)
            for task in self.tasks
            for seed in self.seeds
            for method in self.methods
        ]

    def _spec(self, task: TaskEntry, seed: int, method: MethodEntry) -> RunSpec:
        names = {f.name for f in dataclasses.fields(RunSpec)}
        return RunSpec(
            suite=self.name,
            task=task.name,
            task_options=task.options,
            method=method.name,
            method_options=method.options,
            label=method.label,
            init_from=method.init_from,
            seed=seed,
            **{key: value for key, value in vars(self).items() if key in names},
        )


def load_suite(name_or_path: str | Path, method_file: str | Path | None = None) -> Suite:
    """Read a built-in suite by name, or a suite file by path.

    Args:
        name_or_path: a name of :func:`.suite_names`, or a path.
        method_file: a Python file with methods of the user's own; it is imported.

    Raises:
        UserError: no such suite, or the file is wrong; says file and line.
    """
    if method_file is not None:
        import_method_file(method_file)
    builtin = suite_files()
    path = builtin.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
            raise UserError(f"there is no suite file {path}")
        raise unknown_name("suite", str(name_or_path), builtin)
    suite = read_suite(read_text(path), str(path))
    return replace(suite, method_file=str(Path(method_file).resolve()) if method_file else None)


def read_suite(text: str, source: str) -> Suite:
    """Read the text of a suite file; ``source`` is the file name that errors name.

    Raises:
        UserError: not YAML, an unknown or missing key, a wrong type; says file and line.
    """
    document = Document(source, text)
    values = document.value()
    try:
        suite = _adapter().validate_python(values)
    except ValueError as error:
        from benchmarks.suites.fields import first_error

        place, message, key = first_error(error, "a suite", document.written)
        raise document.fail(place, message, key) from None
    places: list[Place] = [(key,) for key in values]
    for entries in ("methods", "tasks", "task"):
        places += [(entries, position) for position in range(len(values.get(entries, ())))]
    return replace(suite, source=source, lines={each: document.line(each) for each in places})


def suite_schema() -> dict[str, Any]:
    """The JSON Schema of a suite file, for editors."""
    schema = _adapter().json_schema()
    known = {key: value for key, value in schema["properties"].items() if key in _KEYS}
    schema |= {"properties": {**known, "task": _TASK_SCHEMA}, "additionalProperties": False}
    schema["required"].remove("tasks")
    return {**schema, "oneOf": [{"required": ["task"]}, {"required": ["tasks"]}]}


_KEYS = ["task", *(f.name for f in dataclasses.fields(Suite) if f.compare)]
_KEYS.remove("method_file")


@cache
def _adapter() -> pydantic.TypeAdapter[Suite]:
    # As in benchmarks.spec.
    global fields, pydantic
    import pydantic

    from benchmarks.suites import fields

    either, keys = pydantic.BeforeValidator(_either), fields.known_keys("a suite", _KEYS)
    return pydantic.TypeAdapter(
        Annotated[
            Suite,
            either,
            keys,
            pydantic.AfterValidator(_with_baseline),
            pydantic.AfterValidator(_with_known_target),
        ]
    )


def _either(values: Any) -> Any:
    if isinstance(values, dict) and ("task" in values) == ("tasks" in values):
        raise Refusal("give either 'task' or a list of 'tasks'")
    return values


def _with_known_target(suite: Suite) -> Suite:
    """Refuse a target that no task can measure: only those from outside declare metrics."""
    own = {entry.name for entry in TASKS.entries() if entry.module.startswith("tasks.")}
    if suite.target is not None and all(task.name in own for task in suite.tasks):
        try:
            suite.target.require_known()
        except UserError as error:
            raise Refusal(str(error), "target") from None
    return suite


def _with_baseline(suite: Suite) -> Suite:
    """The suite with its baseline as :attr:`MethodEntry.written`, where the file has a name."""
    baseline, known = suite.baseline, [method.written for method in suite.methods]
    if not baseline or baseline in known:
        return suite
    named = [method.written for method in suite.methods if method.name == baseline]
    if not named:
        raise Refusal(str(unknown_name("baseline", baseline, known)), "baseline")
    if len(named) > 1:
        problem = f"the baseline '{baseline}' could be any of: {', '.join(named)}"
        raise Refusal(problem, "baseline")
    return replace(suite, baseline=named[0])
