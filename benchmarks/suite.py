"""A suite file: which methods meet which tasks, and the plan of run specs that follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from benchmarks.budget import Budget, Target
from benchmarks.spec import MethodEntry, RunSpec, TaskEntry
from benchmarks.suites.marked_yaml import MarkedYaml, read_text
from benchmarks.suites.plugins import import_method_file
from benchmarks.suites.recipe import RECIPE_TYPES, merge_recipe
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError, unknown_name
from tasks.option_types import shown_value
from tasks.registry import Registry, match

__all__ = [
    "PROFILES",
    "MethodEntry",
    "RunSpec",
    "Suite",
    "TaskEntry",
    "load_suite",
    "merge_recipe",
    "read_suite",
    "suite_files",
    "suite_names",
]

PROFILES: tuple[str, ...] = ("paper", "short", "smoke")
LARGEST_SEED = 2**63 - 1
"""Of a run: what numpy, torch and a signed column of a table hold alike."""


@dataclass(frozen=True)
class Suite:
    """A comparison: every method on every task with every seed, all under one budget."""

    name: str
    tasks: tuple[TaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    budget: Budget
    title: str = ""
    profile: str = "short"
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    """As :attr:`MethodEntry.written` of the method that ratios refer to."""
    device: str = "auto"
    validate_every: int = 1
    latency_batch_sizes: tuple[int, ...] = (1,)
    threads: int | None = None
    target: Target | None = None
    method_file: str | None = None
    source: str = field(default="", compare=False)
    """The suite file, for messages."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Lines of the suite file by key, for messages."""

    @property
    def baseline_method(self) -> MethodEntry:
        """The entry that ``baseline`` names; the first one by default."""
        return next((m for m in self.methods if m.written == self.baseline), self.methods[0])

    def with_budget(self, budget: Budget) -> Suite:
        """The same comparison under another budget, which is then no paper's any more."""
        if budget == self.budget:
            return self
        profile = "short" if self.profile == "paper" else self.profile
        lines = {key: line for key, line in self.lines.items() if key != "budget"}
        return replace(self, budget=budget, profile=profile, lines=lines)

    def with_device(self, device: str) -> Suite:
        """The same comparison on another device."""
        lines = {key: line for key, line in self.lines.items() if key != "device"}
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
        return RunSpec(
            suite=self.name,
            profile=self.profile,
            task=task.name,
            task_options=task.options,
            method=method.name,
            method_options=method.options,
            seed=seed,
            budget=self.budget,
            label=method.label,
            recipe=self.recipe,
            device=self.device,
            validate_every=self.validate_every,
            latency_batch_sizes=self.latency_batch_sizes,
            method_file=self.method_file,
            threads=self.threads,
            target=self.target,
        )


def suite_files() -> dict[str, Path]:
    """The built-in suite files by name."""
    folder = Path(str(resources.files("benchmarks") / "suites"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def suite_names() -> dict[str, str]:
    """The built-in suites: name to title."""
    titles = {}
    for name, path in suite_files().items():
        document = MarkedYaml(str(path), read_text(path))
        keys = document.mapping(document.root, "a suite")
        titles[name] = document.text(keys["title"], "title") if "title" in keys else name
    return titles


def load_suite(name_or_path: str | Path, method_file: str | Path | None = None) -> Suite:
    """Read a built-in suite by name, or a suite file by path.

    Args:
        name_or_path: a name of :func:`suite_names`, or a path.
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
    return _SuiteReader(source, text).suite()


_KEYS = [f.name for f in fields(Suite) if f.compare and f.name != "method_file"] + ["task"]


class _SuiteReader(MarkedYaml):
    def suite(self) -> Suite:
        keys = self.mapping(self.root, "a suite", _KEYS)
        for needed in ("name", "methods", "budget"):
            if needed not in keys:
                raise self.fail(self.root, f"the key '{needed}' is missing")
        if ("task" in keys) == ("tasks" in keys):
            raise self.fail(self.root, "give either 'task' or a list of 'tasks'")
        methods = self._methods(keys["methods"])
        nodes = [keys["task"]] if "task" in keys else self.items(keys["tasks"], "tasks")
        readers: dict[str, Callable[[yaml.Node], Any]] = {
            "title": lambda node: self.text(node, "title"),
            "profile": lambda node: self.choice(node, "profile", PROFILES),
            "seeds": lambda node: self.integers(node, "seeds", 0, LARGEST_SEED),
            "recipe": self._recipe,
            "baseline": lambda node: self._baseline(node, methods),
            "device": self._device,
            "validate_every": lambda node: self.integer(node, "validate_every", 1),
            "latency_batch_sizes": lambda node: self.integers(node, "latency_batch_sizes", 1),
            "threads": lambda node: self.integer(node, "threads", 1),
            "target": lambda node: self._parsed(node, "target", Target.parse),
        }
        return Suite(
            name=self._name(keys["name"]),
            tasks=tuple(self._task(node) for node in nodes),
            methods=methods,
            budget=self._parsed(keys["budget"], "budget", Budget.parse),
            source=self.source,
            lines={key: node.start_mark.line + 1 for key, node in keys.items()},
            **{key: read(keys[key]) for key, read in readers.items() if key in keys},
        )

    def _name(self, node: yaml.Node) -> str:
        name = self.text(node, "name")
        if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
            raise self.fail(
                node, f"the name '{name}' must do as a folder name: letters, digits, '_', '-', '.'"
            )
        return name

    def _task(self, node: yaml.Node) -> TaskEntry:
        nodes = self.mapping(node, "a task")
        name = "classification"
        if "name" in nodes:
            name = self._registered(nodes.pop("name"), "task", TASKS)
        options = {key: self.value(n, key) for key, n in nodes.items()}
        return TaskEntry(name, options, node.start_mark.line + 1)

    def _methods(self, node: yaml.Node) -> tuple[MethodEntry, ...]:
        entries: list[MethodEntry] = []
        for item in self.items(node, "methods"):
            entry = self._method(item)
            if any(entry.written == other.written for other in entries):
                raise self.fail(
                    item, f"duplicate method '{entry.written}': give one of them a 'label'"
                )
            entries.append(entry)
        return tuple(entries)

    def _method(self, node: yaml.Node) -> MethodEntry:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return MethodEntry(self._registered(node, "method", METHODS), line=line)
        nodes = self.mapping(node, "a method")
        label = self.text(nodes.pop("label"), "label") if "label" in nodes else ""
        if "name" in nodes:
            name = self._registered(nodes.pop("name"), "method", METHODS)
        elif len(nodes) == 1:
            key_node = next(key for key, _ in node.value if key.value != "label")
            ((_, options),) = nodes.items()
            name = self._registered(key_node, "method", METHODS)
            empty = isinstance(options, yaml.ScalarNode) and self.value(options, name) is None
            nodes = {} if empty else self.mapping(options, f"the options of {name}")
            label = self.text(nodes.pop("label"), "label") if "label" in nodes else label
        else:
            raise self.fail(
                node, "write a method as 'name', as 'name: {option: value}' or with a key 'name'"
            )
        chosen = {key: self.value(n, key) for key, n in nodes.items()}
        return MethodEntry(name, chosen, label, line)

    def _registered(self, node: yaml.Node, kind: str, registry: Registry[Any]) -> str:
        name = self.text(node, f"the name of a {kind}")
        known = registry.names()
        if all(match(pattern, name) is None for pattern in known):
            raise self.fail(node, str(unknown_name(kind, name, known)))
        return name

    def _parsed(self, node: yaml.Node, key: str, parse: Callable[[Any], Any]) -> Any:
        value = self.value(node, key)
        try:
            return parse(value)
        except UserError as error:
            raise self.fail(node, str(error)) from None

    def _baseline(self, node: yaml.Node, methods: tuple[MethodEntry, ...]) -> str:
        asked = self.text(node, "baseline")
        exact = [m.written for m in methods if m.written == asked]
        named = exact or [m.written for m in methods if m.name == asked]
        if len(named) == 1:
            return named[0]
        if named:
            raise self.fail(node, f"the baseline '{asked}' could be any of: {', '.join(named)}")
        known = [m.written for m in methods]
        raise self.fail(node, str(unknown_name("baseline", asked, known)))

    def _device(self, node: yaml.Node) -> str:
        device = self.text(node, "device")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise self.fail(node, f"the device '{device}' must be auto, cpu, cuda or cuda:N")
        return device

    def _recipe(self, node: yaml.Node) -> dict[str, Any]:
        nodes = self.mapping(node, "recipe", RECIPE_TYPES)
        recipe = {key: self.value(n, key) for key, n in nodes.items()}
        for key, value in recipe.items():
            expected, accepts = RECIPE_TYPES[key]
            if not accepts(value):
                raise self.fail(
                    nodes[key], f"{key} of the recipe must be {expected}, got {shown_value(value)}"
                )
        return recipe
