"""What a run is called: a hash of everything that can change one of its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from benchmarks.spec import RunSpec

NAMES_ONLY = ("suite", "label", "method_file")
"""Fields of a spec that name things. What a method file holds is in the fingerprint."""


def run_id(spec: RunSpec, fingerprint: Mapping[str, Any], dataset: str = "") -> str:
    """``digits-replacement-s0-1f0c...``: readable, and different when a number could be.

    Args:
        spec: the run; its suite and label do not count.
        fingerprint: code hashes, checksums of the data, versions, the kind of device: whatever
            else decides the numbers. It must be JSON.
        dataset: shown in front; the task's option ``dataset``, or its name, by default.
    """
    digest = spec_digest(spec.to_dict(), fingerprint)
    dataset = dataset or str(spec.task_options.get("dataset", spec.task))
    return f"{_slug(dataset)}-{_slug(spec.method)}-s{spec.seed}-{digest}"


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


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "run"
