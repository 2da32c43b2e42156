"""Hypothesis strategies for samples over seeds: numbers such as metrics have."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

# Multiples of a small step, so that equal values, ties and constant differences turn up.
values = st.integers(-400, 400).map(lambda i: i / 8)


def samples(least: int = 2, most: int = 8) -> st.SearchStrategy[np.ndarray]:
    return st.lists(values, min_size=least, max_size=most).map(np.array)


@st.composite
def pairs(draw: st.DrawFn, least: int = 2, most: int = 8) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(least, most))
    one = st.lists(values, min_size=n, max_size=n).map(np.array)
    return draw(one), draw(one)
