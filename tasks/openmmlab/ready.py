"""Models that have names of their own. Reading this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ready:
    """A model that has a name of its own: a config, and what is changed in it."""

    config: str
    summary: str
    changes: Mapping[str, Any] = field(default_factory=dict)
