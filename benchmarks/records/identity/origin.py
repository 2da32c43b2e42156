"""What a run was made of, beside what it would be made of now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.records.identity.run_id import spec_digest
from benchmarks.records.manifest import kernels_of

CODE, DATA, VERSIONS, DEVICE = "code", "data", "versions", "device"
KERNELS = "kernels"
_CODE = {
    "method": "the code of the method",
    "method_file": "the method file",
    "tasks": "the code of the tasks",
    "harness": "the code that trains and measures",
}


@dataclass(frozen=True)
class Change:
    """One thing that decides numbers and is no longer what it was.

    Attributes:
        kind: ``code``, ``data``, ``versions``, ``device`` or ``kernels``.
        what: in words.
        before: of the run; None where its manifest does not tell.
        now: of the repetition.
    """

    kind: str
    what: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.kind in (CODE, DATA):
            return f"{self.what} changed"
        return f"{self.what} {_told(self.before)} -> {_told(self.now)}"

    def as_dict(self) -> dict[str, Any]:
        """A mapping that JSON can hold."""
        return {"kind": self.kind, "what": self.what, "before": self.before, "now": self.now}


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two fingerprints that have both been JSON: code first, device last."""
    found = []
    for part, before, after in _pairs(recorded, now, CODE):
        found.append(Change(CODE, _CODE.get(part, f"the code of the {part}"), before, after))
    for part, before, after in _pairs(recorded, now, DATA):
        found.append(Change(DATA, f"{part} of the data", before, after))
    for part, before, after in _pairs(recorded, now, VERSIONS):
        found.append(Change(VERSIONS, part, before, after))
    for key in ("device", "threads"):
        if recorded.get(key) != now.get(key):
            found.append(Change(DEVICE, key, recorded.get(key), now.get(key)))
    return found


def kernel_changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """With which other kernels the second of two runs was computed.

    What only one of them recorded is a change: whether it was the same is unknown.

    Args:
        recorded: the section ``device`` of a manifest.
        now: that of the repetition.
    """
    pairs = _pairs({KERNELS: kernels_of(recorded)}, {KERNELS: kernels_of(now)}, KERNELS)
    return [Change(KERNELS, name, before, after) for name, before, after in pairs]


def named_changes(found: Iterable[Change]) -> list[str]:
    """Changes in a few words, each kind of data once: ``the code of the method``, ``torch``."""
    words = {DATA: "the data", DEVICE: "the device"}
    return list(dict.fromkeys(words.get(change.kind, change.what) for change in found))


def as_recorded(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint in the types that a manifest gives back: tuples become lists."""
    found: dict[str, Any] = json.loads(json.dumps(fingerprint, default=str))
    return found


def id_holds(manifest: Mapping[str, Any]) -> bool | None:
    """Whether the run's id follows from its manifest; a manifest that was changed gives another.

    None where that cannot be determined: the id has no digest, private texts were taken out of the
    manifest, or it is of a version that hashed a method file apart from the fingerprint.
    """
    spec, fingerprint = manifest.get("spec"), manifest.get("fingerprint")
    digest = str(manifest.get("run_id", "")).rpartition("-")[2]
    if not isinstance(spec, dict) or not isinstance(fingerprint, dict) or len(digest) != 12:
        return None
    if manifest.get("redacted"):
        return None
    code = fingerprint.get("code")
    if spec.get("method_file") and "method_file" not in (code if isinstance(code, dict) else {}):
        return None
    try:
        return spec_digest(spec, fingerprint) == digest
    except (TypeError, ValueError):
        return False


def repeats_exactly(manifest: Mapping[str, Any]) -> bool:
    """Whether the same origin and the same kernels give the same accuracy bit by bit.

    They do on a CPU. A GPU adds in no fixed order, and a budget in seconds or joules ends at
    another batch each time.
    """
    device, spec = manifest.get("device"), manifest.get("spec")
    budget = spec.get("budget") if isinstance(spec, Mapping) else None
    watched = isinstance(budget, Mapping) and ({"seconds", "joules"} & set(budget))
    return isinstance(device, Mapping) and device.get("type") == "cpu" and not watched


def _pairs(
    recorded: Mapping[str, Any], now: Mapping[str, Any], key: str
) -> list[tuple[str, Any, Any]]:
    before, after = recorded.get(key), now.get(key)
    before = before if isinstance(before, Mapping) else {}
    after = after if isinstance(after, Mapping) else {}
    names = dict.fromkeys([*before, *after])
    return [(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def _told(value: Any) -> str:
    return "not recorded" if value is None else str(value)
