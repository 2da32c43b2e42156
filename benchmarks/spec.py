"""What one run is told, and what rows call its method."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from benchmarks.budget import Budget, Target
from methods.base import METHODS
from tasks.errors import UserError, unknown_name


@dataclass(frozen=True)
class TaskEntry:
    """A task of a suite: its registered name and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    line: int = field(default=0, compare=False)
    """Where it is in the suite file; 0 where it comes from none."""


@dataclass(frozen=True)
class MethodEntry:
    """A method of a suite: its registered name, its options, and its label if one was given."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    line: int = field(default=0, compare=False)
    """Where it is in the suite file; 0 where it comes from none."""

    @property
    def written(self) -> str:
        """The label as the suite file has it: all options that were written down."""
        return self.label or derive_label(self.name, self.options)

    @property
    def shown(self) -> str:
        """The label of rows and tables; imports the method to know its defaults."""
        return self.label or derive_label(self.name, self.options, method_defaults(self.name))


@dataclass(frozen=True)
class RunSpec:
    """One task, one method, one seed, one budget: all that one run process is told."""

    suite: str
    profile: str
    task: str
    task_options: Mapping[str, Any]
    method: str
    method_options: Mapping[str, Any]
    seed: int
    budget: Budget
    label: str = ""
    """The ``method`` column of the rows; empty when it is derived from name and options."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the task's recipe, see :func:`merge_recipe`."""
    device: str = "auto"
    validate_every: int = 1
    """Epochs between validations."""
    latency_batch_sizes: tuple[int, ...] = (1,)
    method_file: str | None = None
    threads: int | None = None
    target: Target | None = None
    """Quality whose price in time, energy and operations is asked for."""

    @property
    def method_label(self) -> str:
        """What rows call the method; imports it where no label was given."""
        return MethodEntry(self.method, self.method_options, self.label).shown

    @property
    def called(self) -> str:
        """``replacement(every=2) on digits with cifar_resnet8, seed 0``, without any import."""
        told = [f"on {_name(self.task_options.get('dataset', self.task))}"]
        if "arch" in self.task_options:
            told.append(f"with {_name(self.task_options['arch'])}")
        method = MethodEntry(self.method, self.method_options, self.label).written
        return f"{method} {' '.join(told)}, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {
            **asdict(replace(self, budget=None, target=None)),  # type: ignore[arg-type]
            "budget": self.budget.as_dict(),
            "target": None if self.target is None else self.target.written(),
            "latency_batch_sizes": list(self.latency_batch_sizes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """The spec that :meth:`to_dict` was called on.

        Raises:
            UserError: a key is unknown or missing.
        """
        names = [f.name for f in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name("key of a run spec", key, names)
        changed = {
            **values,
            "budget": Budget.parse(values.get("budget", {})),
            "target": Target.parse(values.get("target")),
            "latency_batch_sizes": tuple(values.get("latency_batch_sizes", (1,))),
        }
        try:
            return cls(**changed)
        except TypeError as error:
            raise UserError(f"this is not a run spec: {error}") from error


def derive_label(
    method: str, options: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> str:
    """``replacement(operator=full)``: the name, and the options that differ from ``defaults``."""
    defaults = defaults or {}
    told = [
        f"{key}={_shown(value)}"
        for key, value in sorted(options.items())
        if key not in defaults or _plain(defaults[key]) != _plain(value)
    ]
    return f"{method}({', '.join(told)})" if told else method


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
