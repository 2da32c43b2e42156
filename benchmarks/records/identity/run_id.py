"""What a run is called: a hash of everything that can change one of its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_TOLD = 30
"""Characters of a run's name that options may take; the digest tells all of them apart."""
NAMES_ONLY = ("suite", "label", "method_file", "init_from")
"""Fields of a spec that name things. What a method file or another run holds is in the
fingerprint."""


def run_id(
    spec: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    dataset: str = "",
    arch: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """``digits-cifar_resnet26-replacement-full-s0-1f0c...``, different when a number could be.

    Args:
        spec: the run's specification, in full; its suite and label do not count.
        fingerprint: code hashes, checksums of the data, versions, the kind of device: whatever
            else decides the numbers. It must be JSON.
        dataset: shown in front; the task's option ``dataset``, or its name, by default.
        arch: shown behind it; the task's option ``arch``, or nothing, by default.
        defaults: of the method's options, which are not shown.
    """
    digest = spec_digest(spec, fingerprint)
    dataset = dataset or str(spec["task_options"].get("dataset", spec["task"]))
    arch = arch or str(spec["task_options"].get("arch", ""))
    telling = _telling(spec["method_options"], defaults or {})
    parts = [dataset, *([arch] if arch else []), spec["method"], *telling]
    return "-".join([*map(_slug, parts), f"s{spec['seed']}", digest])


def spec_digest(spec: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> str:
    """The end of a run's id: twelve hexadecimal digits.

    Args:
        spec: a run's specification as a mapping, in full.
        fingerprint: as for :func:`run_id`.
    """
    canonical = json.dumps(
        {"spec": deciding(spec), "fingerprint": fingerprint},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:12]


def deciding(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a specification that can change a number."""
    return {key: value for key, value in spec.items() if key not in NAMES_ONLY}


def _telling(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The options that differ from the method's defaults, as far as they fit: ``full``, ``k2``."""
    found: list[str] = []
    for key, value in sorted(options.items()):
        if key in defaults and _plain(defaults[key]) == _plain(value):
            continue
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, bool):
            found.append(key if value else f"no_{key}")
        elif isinstance(value, int | float):
            found.append(f"{key}{value:g}")
        else:
            found.append(key)
    while len("-".join(found)) > _TOLD:
        found.pop()
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-") or "run"
