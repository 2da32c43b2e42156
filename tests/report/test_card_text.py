"""Parts of the text: a curve as bars, tables that fit, numbers of four digits."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report.card.layout import number, table_lines
from benchmarks.report.card.text import curve_lines

finite = st.floats(-1e9, 1e9, allow_nan=False)


def document(tops: list[Any], losses: list[Any] | None = None, phase: str = "p") -> dict[str, Any]:
    """Of a run with so many validations; a phase after ``|``."""
    points = [
        {"phase": phase, "epoch": i + 1, "batch": i, "seconds": float(i), "top1": top}
        for i, top in enumerate(tops)
    ]
    for point, loss in zip(points, losses or [], strict=False):
        point["train_loss"] = loss
    return {"curve": {"points": points, "missing": ""}, "quality": {"headline": "top1"}}


def bars(lines: list[str]) -> list[int]:
    return [line.count("#") for line in lines[1:-1]]


def test_bars_grow_with_their_values() -> None:
    lines = curve_lines(document([0.0, 50.0, 100.0, 0.0]), 80, plain=True)
    low, middle, high, again = bars(lines)
    assert 1 == low == again
    assert abs(middle - (low + high) / 2) <= 0.5
    assert [line.split()[:3] for line in lines[1:3]] == [["1", "0", "0"], ["2", "1", "50"]]


def test_a_missing_value_has_no_bar() -> None:
    lines = curve_lines(document([1.0, None, 2.0]), 80, plain=True)
    assert [count > 0 for count in bars(lines)] == [True, False, True]
    assert lines[2].split() == ["2", "1", "-"]


def test_wide_ranges_above_zero_are_logarithmic() -> None:
    low, middle, high = bars(curve_lines(document([0.1, 10.0, 1000.0]), 80, plain=True))
    assert abs(middle - (low + high) / 2) <= 0.5
    low, middle, high = bars(curve_lines(document([-0.1, 10.0, 1000.0]), 80, plain=True))
    assert middle == low


def test_of_many_validations_the_outermost_and_some_between_are_shown() -> None:
    lines = curve_lines(document([float(i) for i in range(500)]), 80, plain=True)
    epochs = [int(line.split()[0]) for line in lines[1:-1]]
    assert len(epochs) == 16
    assert (epochs[0], epochs[-1]) == (1, 500)
    assert epochs == sorted(epochs)
    assert lines[-1].startswith("16 of 500 validations")


def test_several_phases_are_named() -> None:
    two = document([1.0], phase="first")
    two["curve"]["points"] += document([2.0], phase="second")["curve"]["points"]
    lines = curve_lines(two, 80, plain=True)
    assert [line.split()[0] for line in lines[:3]] == ["phase", "first", "second"]


@given(st.lists(st.none() | finite, min_size=1, max_size=30), st.integers(38, 130))
@settings(max_examples=150, deadline=None)
def test_lines_of_a_curve_are_never_too_wide_and_have_every_value(
    ys: list[float | None], width: int
) -> None:
    lines = curve_lines(document(ys, ys), width, plain=True)
    "\n".join(lines).encode("ascii")
    if len(lines) == min(len(ys), 16) + 2:
        assert all(len(line) <= width for line in lines[:-1])
    if len(ys) <= 16:
        assert all(number(y) in "\n".join(lines) for y in ys if y is not None)


def test_a_table_without_room_becomes_a_line_of_pairs_a_row() -> None:
    rows = [["one", "1.5", "2"], ["two", "30", "-"]]
    assert table_lines(["net", "a", "b"], rows, 40) == [
        "net    a  b",
        "one  1.5  2",
        "two   30  -",
    ]
    assert table_lines(["net", "a", "b"], rows, 8) == ["one: a 1.5, b 2", "two: a 30, b -"]


@given(finite)
@settings(max_examples=200, deadline=None)
def test_a_number_has_four_digits(value: float) -> None:
    assert abs(float(number(value)) - value) <= 6e-3 * abs(value) + 1e-30
    assert len(number(value)) <= 10
