"""What runs must have in common to be compared, and the refusal where they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from benchmarks.analysis.load import Run
from benchmarks.budget import Budget
from benchmarks.records.manifest import PRECISION, kernels_of
from benchmarks.records.row import FAILED
from tasks.errors import UserError, unknown_name

UNKNOWN = "unknown"
MIXABLE = (
    *("hardware", "kernels", "precision", "profile", "budget", "data", "recipe", "seeds"),
    "busy",
)
"""What ``--allow`` takes: differences that are refused otherwise; ``busy`` judges values that were
measured while others held the cores."""

_RECORDED_LATER = ("kernels", "precision")
"""Conditions that older manifests lack: such runs give a note, and are not refused."""
_PLACES_SHOWN = 3


@dataclass(frozen=True)
class Conditions:
    """What decides whether the numbers of two runs are comparable; equal texts may.

    Attributes:
        hardware: the device, and for a CPU the number of threads.
        precision: ``float32`` and where TF32 stands in for it, or the type that autocast used.
        profile: ``paper``, ``short`` or ``smoke``.
        budget: ``4 epochs``.
        data: digits of a hash of the checksums of all splits.
        recipe: the rest of the recipe, and the task's options, as JSON.
        software: versions of libraries and the code of tasks and harness, as JSON. It is told, and
            not refused: two commits may measure the same.
        kernels: instruction sets and BLAS of a CPU, cuDNN and its flags on a GPU. They decide the
            last bits of a quality, and the times.
    """

    hardware: str = UNKNOWN
    precision: str = UNKNOWN
    profile: str = UNKNOWN
    budget: str = UNKNOWN
    data: str = UNKNOWN
    recipe: str = UNKNOWN
    software: str = UNKNOWN
    kernels: str = UNKNOWN


def conditions_of(manifest: Mapping[str, Any] | None) -> Conditions:
    """The conditions that a manifest tells; unknown where it does not."""
    manifest = manifest or {}
    spec, recipe = _mapping(manifest, "spec"), _mapping(manifest, "recipe")
    fingerprint, device = _mapping(manifest, "fingerprint"), _mapping(manifest, "device")
    data = _mapping(fingerprint, "data")
    training = {key: value for key, value in recipe.items() if key != "amp"}
    options = {k: v for k, v in _mapping(spec, "task_options").items() if k != "data_root"}
    code = {k: v for k, v in _mapping(fingerprint, "code").items() if not k.startswith("method")}
    budget = _canonical(_mapping(spec, "budget"))
    return Conditions(
        hardware=_hardware(device),
        kernels=_kernels(device),
        precision=_precision(recipe, device) if recipe else UNKNOWN,
        profile=str(spec.get("profile", UNKNOWN)),
        budget=_budget(budget) if budget else UNKNOWN,
        data=_digest(_canonical(data.get("sha256", data))) if data else UNKNOWN,
        recipe=_canonical({**training, **options}) or UNKNOWN,
        software=_canonical({**_mapping(fingerprint, "versions"), **code}) or UNKNOWN,
    )


@dataclass(frozen=True)
class Placed:
    """A run, the folder of results that it was read from, and its conditions."""

    folder: str
    run: Run
    conditions: Conditions

    @property
    def failed(self) -> bool:
        """Whether the run came to no end."""
        return any(row.status == FAILED for row in self.run.rows)


def parse_allowed(texts: Iterable[str]) -> frozenset[str]:
    """The names of ``hardware,precision``, given once or several times.

    Raises:
        UserError: an unknown name.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in MIXABLE:
            raise unknown_name("difference to allow", name, MIXABLE)
    return frozenset(names)


def require_alike(runs: Sequence[Placed], allowed: Collection[str] = ()) -> list[str]:
    """Refuse runs whose numbers are not comparable.

    The profile must be the same for all runs, everything else for those of one task, data set and
    architecture, which are compared with each other.

    Args:
        runs: those that finished or failed; a failed one counts for the seeds alone.
        allowed: names out of :data:`MIXABLE` that may differ.

    Returns:
        Sentences on what differs though it is allowed, and on what is not known.

    Raises:
        UserError: something differs that may not; says what, and in which folders.
    """
    notes = []
    settings: dict[tuple[str, str, str], list[Placed]] = {}
    for placed in runs:
        settings.setdefault(placed.run.setting, []).append(placed)
    finished = [placed for placed in runs if not placed.failed]
    differing = _differing(finished, ("profile",))
    _refuse("these results", {k: v for k, v in differing.items() if k not in allowed})
    notes += [f"{kind} differs: {_told(kind, places)}" for kind, places in differing.items()]
    for setting, of_setting in settings.items():
        finished = [placed for placed in of_setting if not placed.failed]
        kinds = ("hardware", "kernels", "precision", "budget", "data", "recipe")
        differing = _differing(finished, kinds) | _differing_seeds(of_setting)
        if "hardware" in differing:
            differing.pop("kernels", None)  # another device has others
        where = f"the runs of {', '.join(filter(None, setting[1:]))}"
        _refuse(where, {k: v for k, v in differing.items() if k not in allowed})
        notes += [
            f"{where} differ in {kind}: {_told(kind, places)}" for kind, places in differing.items()
        ]
        software = _differing(finished, ("software",))
        if software:
            folders = sorted({placed.folder for placed in of_setting})
            notes.append(
                f"{where} were made with different versions of depthbench or its libraries "
                f"({', '.join(folders)})"
            )
        notes += _not_recorded(where, finished)
    bare = sorted({placed.folder for placed in runs if placed.run.manifest is None})
    if bare:
        notes.append(
            f"runs of {', '.join(bare)} have no manifest: their hardware, precision, budget and "
            "data are not known"
        )
    return notes


_Places = Mapping[str, Sequence[Placed]]
"""What is the case -> the runs of which it is."""


def _differing(runs: Sequence[Placed], kinds: Iterable[str]) -> dict[str, _Places]:
    """The kinds of conditions in which runs differ."""
    return _several(runs, {kind: _getter(kind) for kind in kinds})


def _differing_seeds(runs: Sequence[Placed]) -> dict[str, _Places]:
    """``seeds``, if some method was run with others than the rest."""
    seeds: dict[str, set[int]] = {}
    for placed in runs:
        seeds.setdefault(placed.run.method, set()).add(placed.run.seed)
    differences = {
        method: ", ".join(map(str, sorted(of_method))) for method, of_method in seeds.items()
    }
    return _several(runs, {"seeds": lambda placed: differences[placed.run.method]})


def _several(
    runs: Sequence[Placed], kinds: Mapping[str, Callable[[Placed], str]]
) -> dict[str, _Places]:
    found: dict[str, _Places] = {}
    for kind, tell in kinds.items():
        places: dict[str, list[Placed]] = {}
        for placed in runs:
            places.setdefault(tell(placed), []).append(placed)
        if kind in _RECORDED_LATER:
            places.pop(UNKNOWN, None)
        if len(places) > 1:
            found[kind] = places
    return found


def _not_recorded(where: str, runs: Sequence[Placed]) -> list[str]:
    """What some runs recorded and others did not, so that whether it differs is unknown."""
    notes = []
    for kind in _RECORDED_LATER:
        known = {getattr(placed.conditions, kind) for placed in runs} - {UNKNOWN}
        lacking = {p.folder for p in runs if getattr(p.conditions, kind) == UNKNOWN}
        if known and lacking:
            notes.append(
                f"{where} may differ in {kind}: it is unknown in {', '.join(sorted(lacking))}"
            )
    return notes


def _getter(kind: str) -> Callable[[Placed], str]:
    return lambda placed: str(getattr(placed.conditions, kind))


def _refuse(where: str, differing: Mapping[str, _Places]) -> None:
    if not differing:
        return
    differences = " and ".join(
        f"{kind} ({_told(kind, places)})" for kind, places in differing.items()
    )
    raise UserError(
        f"{where} differ in {differences}: compare like with like, or allow it with "
        f"--allow {','.join(differing)}"
    )


def _told(kind: str, places: _Places) -> str:
    """``AMD EPYC, 1 thread in results/a; NVIDIA H200 in results/b``."""
    shown = _recipes(list(places)) if kind == "recipe" else dict(zip(places, places, strict=True))
    folders = [{placed.folder for placed in runs} for runs in places.values()]
    parts = []
    for (what, runs), own in zip(places.items(), folders, strict=True):
        # A folder that has both does not tell them apart: its methods do.
        shared = own & set().union(*(other for other in folders if other is not own))
        names = []
        for folder in sorted(own):
            methods = dict.fromkeys(p.run.method for p in runs if p.folder == folder)
            names.append(f"{folder} ({_listed(list(methods))})" if folder in shared else folder)
        parts.append(f"{shown[what]} in {_listed(names)}")
    return "; ".join(parts)


def _recipes(recipes: Sequence[str]) -> dict[str, str]:
    """Of each recipe, what not all have in common."""
    read = {text: {} if text == UNKNOWN else json.loads(text) for text in recipes}
    keys = {key: None for values in read.values() for key in values}
    differing = [k for k in keys if len({_canonical({k: v.get(k)}) for v in read.values()}) > 1]
    return {
        text: UNKNOWN
        if text == UNKNOWN
        else ", ".join(f"{key} {json.dumps(values.get(key))}" for key in differing)
        for text, values in read.items()
    }


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _PLACES_SHOWN
    return ", ".join(names[:_PLACES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _hardware(device: Mapping[str, Any]) -> str:
    name = str(device.get("name") or UNKNOWN)
    threads = device.get("threads")
    if device.get("type") != "cpu" or not threads:
        return name
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


def _kernels(device: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in kernels_of(device).items() if name not in PRECISION}
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or UNKNOWN


def _precision(recipe: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    if recipe.get("amp"):
        return f"amp {recipe['amp']}"
    facts = kernels_of(device)
    if device.get("type") != "cpu" and PRECISION[1] not in facts:
        return UNKNOWN  # on by default, and once not recorded
    matmul = facts.get(PRECISION[2], "highest")
    tf32 = [name for name in PRECISION[:2] if facts.get(name) == "True"]
    limits = [*tf32, *([f"{matmul} matmul precision"] if matmul != "highest" else [])]
    return f"float32 with {' and '.join(limits)}" if limits else "float32"


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True) if values else ""


@lru_cache(maxsize=4096)
def _budget(text: str) -> str:
    return str(Budget.parse(json.loads(text)))


@lru_cache(maxsize=4096)
def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode("utf-8")).hexdigest()[:12]
