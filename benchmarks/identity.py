"""What a run is called: a hash of everything that can change one of its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.spec import RunSpec
from tasks.errors import UserError

_NAMES_ONLY = ("suite", "label", "method_file")
"""Fields of a spec that name things; what a method file holds counts, not where it lies."""


def run_id(spec: RunSpec, fingerprint: Mapping[str, Any], dataset: str = "") -> str:
    """``digits-replacement-s0-1f0c...``: readable, and different when a number could be.

    Args:
        spec: the run; its suite and label do not count.
        fingerprint: code hashes, checksums of the data, versions, the kind of device: whatever
            else decides the numbers. It must be JSON.
        dataset: shown in front; the task's option ``dataset``, or its name, by default.

    Raises:
        UserError: the spec's method file cannot be read.
    """
    digest = spec_digest(spec.to_dict(), fingerprint)
    dataset = dataset or str(spec.task_options.get("dataset", spec.task))
    return f"{_slug(dataset)}-{_slug(spec.method)}-s{spec.seed}-{digest}"


def spec_digest(spec: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> str:
    """The end of a run's id: twelve hexadecimal digits.

    Args:
        spec: a run's specification as a mapping, in full.
        fingerprint: as for :func:`run_id`.

    Raises:
        UserError: the spec's method file cannot be read.
    """
    told = {k: v for k, v in spec.items() if k not in _NAMES_ONLY}
    if spec.get("method_file"):
        told["method_file"] = code_fingerprint([Path(spec["method_file"])])
    canonical = json.dumps(
        {"spec": told, "fingerprint": fingerprint},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:12]


def code_fingerprint(sources: Iterable[str | Path]) -> str:
    """SHA-256 of Python source, without importing any of it.

    Args:
        sources: dotted names of modules or packages (all files below count), or paths of files or
            folders. Where a checkout lies does not matter, nor does the order.

    Raises:
        UserError: a source is not there.
    """
    digests: set[str] = set()
    for source in sources:
        root = source if isinstance(source, Path) else _module_path(source)
        if not root.exists():
            raise UserError(f"cannot read the source code of {source}: there is no {root}")
        files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
        for file in files:
            name = file.relative_to(root).as_posix() if root.is_dir() else ""
            outer = source.name if isinstance(source, Path) else source
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digests.add(f"{outer}:{name}:{content}")
    return hashlib.sha256("\n".join(sorted(digests)).encode("utf-8")).hexdigest()


def _module_path(name: str) -> Path:
    """The file or folder of a module; only its outermost package is looked up, none imported."""
    package, *rest = name.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"cannot read the source code of {name}: there is no package '{package}'")
    origin = Path(spec.origin)
    root = (origin.parent if origin.name == "__init__.py" else origin).joinpath(*rest)
    return root if root.is_dir() or not rest else root.with_suffix(".py")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "run"
