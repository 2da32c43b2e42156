"""Time left: estimates are corrected by what runs really took."""

from __future__ import annotations

import pytest

from benchmarks.launch.timing import duration, time_left


@pytest.mark.parametrize(
    ("waiting", "finished", "current", "expected"),
    [
        ([10.0, 20.0], [], None, 30.0),
        ([10.0, 20.0], [(10.0, 15.0)], None, 45.0),
        ([10.0], [(10.0, 15.0), (30.0, 45.0)], (20.0, 12.0), 15.0 + 18.0),
        ([10.0], [], (5.0, 60.0), 10.0),
        ([None, None], [(None, 8.0), (None, 12.0)], None, 20.0),
        ([None], [], None, None),
        ([], [], (None, 3.0), None),
        ([], [], None, 0.0),
    ],
)
def test_time_left(waiting, finished, current, expected):
    assert time_left(waiting, finished, current) == (
        None if expected is None else pytest.approx(expected)
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125.4, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7790, "2 h 10 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
