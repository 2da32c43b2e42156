"""What the manifests of some runs say of where, when and with what they were made, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Manifests = Sequence[Mapping[str, Any]]
_SHOWN = ("python", "torch", "torchvision", "mmengine")
_DIGITS = 12
"""Of a commit."""


def where(manifests: Manifests) -> str:
    """``AMD EPYC (2 cores, 1 thread)``, ``NVIDIA H200 (driver 570.86)``; empty if not recorded."""
    return "; ".join(_distinct(_device(_mapping(m, "device")) for m in manifests))


def when(manifests: Manifests) -> str:
    """``2026-11-21, 04:02 to 04:10 UTC``; empty if not recorded."""
    begun = sorted(str(m["created"]) for m in manifests if m.get("created"))
    ended = sorted(str(m["finished"]) for m in manifests if m.get("finished"))
    if not begun:
        return ""
    first, last = begun[0], (ended or begun)[-1]
    if first[:10] == last[:10]:
        return f"{first[:10]}, {first[11:16]} to {last[11:16]} UTC"
    return f"{first[:10]}, {first[11:16]} to {last[:10]}, {last[11:16]} UTC"


def day(manifests: Manifests) -> str:
    """The last day on which something was measured: ``2026-11-21``; empty if not recorded."""
    days = [str(m.get("finished") or m.get("created") or "")[:10] for m in manifests]
    return max(days, default="")


def software(manifests: Manifests) -> str:
    """``depthbench 0.1.0, python 3.11.7, torch 2.14.1``; empty if not recorded."""
    return "; ".join(_distinct(map(_versions, manifests)))


def commits(manifests: Manifests) -> str:
    """``374d2f498010 with uncommitted changes``, several if they differ; empty if not recorded."""
    return ", ".join(
        _distinct(_commit(_mapping(_mapping(m, "environment"), "git")) for m in manifests)
    )


def _commit(git: Mapping[str, Any]) -> str:
    if not git.get("commit"):
        return ""
    return str(git["commit"])[:_DIGITS] + " with uncommitted changes" * bool(git.get("dirty"))


def _versions(manifest: Mapping[str, Any]) -> str:
    versions = _mapping(_mapping(manifest, "fingerprint"), "versions")
    own = _mapping(manifest, "environment").get("depthbench")
    parts = [f"depthbench {own}"] if own else []
    return ", ".join([*parts, *(f"{name} {versions[name]}" for name in _SHOWN if name in versions)])


def _device(device: Mapping[str, Any]) -> str:
    name = str(device.get("name") or "")
    if device.get("type") == "cpu":
        parts = [
            _counted(device.get("cpu_cores"), "core"),
            _counted(device.get("threads"), "thread"),
        ]
    else:
        driver = _mapping(device, "nvml").get("driver")
        parts = [f"driver {driver}" if driver else ""]
    facts = ", ".join(filter(None, parts))
    return f"{name} ({facts})" if name and facts else name


def _counted(count: Any, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}" if count else ""


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))
