"""The run specification, and what rows call its method."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from methods.base import METHODS
from tasks.errors import UserError

if TYPE_CHECKING:
    import pydantic

    from benchmarks.suites import fields


@dataclass(frozen=True)
class TaskEntry:
    """A task of a suite: its registered name and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodEntry:
    """A method of a suite: its registered name, its options, and its label if one was given."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    init_from: str = ""
    """The label of another method of the suite, or the folder of a finished run."""

    @property
    def written(self) -> str:
        """The label as the suite file has it: all options that were written down."""
        return self.label or started(derive_label(self.name, self.options), self.init_from)

    @property
    def shown(self) -> str:
        """The label of rows and tables; imports the method to know its defaults."""
        label = derive_label(self.name, self.options, method_defaults(self.name))
        return self.label or started(label, self.init_from)


@dataclass(frozen=True)
class RunSpec:
    """One task, one method, one seed, one budget: everything that decides one run."""

    suite: fields.AnyText
    profile: fields.Profile
    task: fields.AnyText
    task_options: fields.Options
    method: fields.AnyText
    method_options: fields.Options
    seed: fields.Seed
    budget: fields.BudgetField
    label: fields.AnyText = ""
    """The ``method`` column of the rows; empty when it is derived from name and options."""
    recipe: fields.RecipeChanges = field(default_factory=dict)
    """Changes to the task's recipe, see :func:`benchmarks.engine.optim.merge_recipe`."""
    device: fields.Device = "auto"
    validate_every: fields.Count = 1
    """Epochs between validations."""
    latency_batch_sizes: fields.BatchSizes = (1,)
    method_file: fields.AnyText | None = None
    threads: fields.Count | None = None
    target: fields.TargetField = None
    """Target metric for time-, energy- and FLOPs-to-target."""
    init_from: fields.AnyText = ""
    """Whose weights the network starts with: see :attr:`MethodEntry.init_from`."""

    @property
    def method_label(self) -> str:
        """What rows call the method; imports it where no label was given."""
        return self._entry.shown

    @property
    def written(self) -> str:
        """What a suite file calls the method."""
        return self._entry.written

    @property
    def _entry(self) -> MethodEntry:
        return MethodEntry(self.method, self.method_options, self.label, self.init_from)

    @property
    def called(self) -> str:
        """``replacement(every=2) on digits with cifar_resnet8, seed 0``, without any import."""
        parts = [f"on {_name(self.task_options.get('dataset', self.task))}"]
        if "arch" in self.task_options:
            parts.append(f"with {_name(self.task_options['arch'])}")
        return f"{self.written} {' '.join(parts)}, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return _adapter().dump_python(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """The spec that :meth:`to_dict` was called on.

        Raises:
            UserError: a key is unknown or missing, or a value is not allowed.
        """
        try:
            return _adapter().validate_python(values)
        except ValueError as error:
            from benchmarks.suites.fields import first_error

            raise UserError(f"run specification: {first_error(error, 'the whole')[1]}") from None


@cache
def _adapter() -> pydantic.TypeAdapter[RunSpec]:
    # For the annotations of this module, and here, as pydantic takes 0.1 s to import.
    global fields, pydantic
    import pydantic

    from benchmarks.suites import fields

    names = [f.name for f in dataclasses.fields(RunSpec)]
    return pydantic.TypeAdapter(Annotated[RunSpec, fields.known_keys("", names)])


def started(label: str, init_from: str) -> str:
    """A label with where the run starts from: ``replacement from end_to_end``."""
    return f"{label} from {Path(init_from).name}" if init_from else label


def derive_label(
    method: str, options: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> str:
    """``replacement(operator=full)``: the name, and the options that differ from ``defaults``."""
    if method == "compose" and isinstance(options.get("methods"), list | tuple):
        return " + ".join(map(_part_label, options["methods"]))
    defaults = defaults or {}
    shown = [
        f"{key}={_shown(value)}"
        for key, value in sorted(options.items())
        if key not in defaults or _plain(defaults[key]) != _plain(value)
    ]
    return f"{method}({', '.join(shown)})" if shown else method


def _part_label(part: Any) -> str:
    """Of one method of a composition, as a suite writes it."""
    if not isinstance(part, Mapping):
        return str(part)
    ((name, options),) = part.items()
    return derive_label(name, options or {})


def method_defaults(name: str) -> dict[str, Any]:
    """The constructor defaults of a registered method; imports it."""
    parameters = inspect.signature(METHODS.get(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _name(value: Any) -> str:
    """What a dataset or an arch is called: a name, or a mapping with one."""
    return str(value.get("name", "?")) if isinstance(value, Mapping) else str(value)


def _plain(value: Any) -> Any:
    """A value as JSON would give it back, so that (1, 2) equals [1, 2]."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_shown, value)) + "]"
    return str(value)
