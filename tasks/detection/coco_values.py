"""What counts as a number in a COCO file: no bool, no text, nothing infinite or out of range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

LARGEST = 2**53
"""Floats, which COCO's evaluation keeps ids in, hold every whole number up to it."""
_LONGEST_TEXT = 80


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is an integer of at most 2**53 either way."""
    return type(value) is int and -LARGEST <= value <= LARGEST


def are_finite(values: Sequence[Any]) -> bool:
    """Whether all are integers or floats of at most 2**53 either way; quick for millions."""
    if not {int, float}.issuperset(map(type, values)):
        return False
    try:
        array = np.array(values, np.float64)
    except OverflowError:
        return False
    return bool((np.abs(array) <= LARGEST).all())  # not where it is NaN


def shown(value: Any) -> str:
    """A value for a message: on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
