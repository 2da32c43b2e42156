"""The text plot: as wide as it may be, points where the values are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.explain.plot import ASCII, UNICODE, Ticks, beside, number, plot


def cells(lines: list[str], signs=UNICODE) -> list[str]:
    """The grid without its axis."""
    return [line.partition(f" {signs.axis}")[2] for line in lines if f" {signs.axis}" in line]


def test_points_stand_where_their_values_are() -> None:
    lines = plot([0, 1, 2], [0.0, 1.0, 0.0], "a tent", 30, height=5)
    grid = cells(lines)
    assert lines[0] == "a tent"
    assert grid[0].count("●") == 1
    assert grid[4].count("●") == 2
    assert grid[4].startswith("●")
    # The top is half way between the two ends.
    assert abs(grid[0].index("●") - grid[4].rindex("●") / 2) <= 0.5
    labels = [line.partition("┤")[0].strip() for line in lines if "┤" in line]
    assert labels == ["1", "", "0.5", "", "0"]


def test_a_gap_is_not_drawn_over() -> None:
    grid = cells(plot([0, 1, 2, 3], [1.0, None, None, 2.0], "gap", 40))
    assert sum(line.count("·") for line in grid) == 0
    assert sum(line.count("●") for line in grid) == 2


def test_wide_ranges_above_zero_are_logarithmic_and_say_so() -> None:
    lines = plot([0, 1, 2], [1000.0, 10.0, 0.1], "loss", 40, height=9)
    assert lines[0] == "loss (log axis)"
    # On a log axis the middle decade is in the middle: straight down.
    assert [i for i, line in enumerate(cells(lines)) if "●" in line] == [0, 4, 8]
    assert "log" not in plot([0, 1], [1000.0, -0.1], "signed", 40)[0]


def test_phases_are_marked_and_ends_always_labelled() -> None:
    labels = [f"e{i}" for i in range(50)]
    ticks = [Ticks("epoch", labels)]
    lines = plot(range(50), [float(i) for i in range(50)], "many", 40, ticks, marks=[25])
    assert all("┊" in line or "●" in line or "·" in line for line in cells(lines))
    shown = lines[-1].split()
    assert shown[0] == "epoch"
    assert {"e0", "e49"} <= set(shown[1:]) <= set(labels)
    order = [int(label[1:]) for label in shown[1:]]
    assert order == sorted(order)


finite = st.floats(-1e9, 1e9, allow_nan=False)


@given(st.lists(st.none() | finite, min_size=1, max_size=30), st.integers(30, 120))
@settings(max_examples=150, deadline=None)
def test_lines_are_never_too_wide_and_every_value_is_on_the_grid(
    ys: list[float | None], width: int
) -> None:
    ticks = [Ticks("epoch", [str(i) for i in range(len(ys))])]
    lines = plot(range(len(ys)), ys, "title", width, ticks, signs=ASCII)
    assert all(len(line) <= width for line in lines)
    "\n".join(lines).encode("ascii")
    known = sum(y is not None for y in ys)
    drawn = sum(line.count("o") for line in cells(lines, ASCII))
    assert drawn <= known
    if known > 0 and len(ys) <= 15:  # few enough that no two share a column
        assert drawn == known


@given(finite)
@settings(max_examples=200, deadline=None)
def test_a_number_is_told_to_four_digits(value: float) -> None:
    assert abs(float(number(value)) - value) <= 6e-3 * abs(value) + 1e-30
    assert len(number(value)) <= 10


def test_blocks_stand_beside_each_other() -> None:
    assert beside(["a", "bbb"], ["c"], gap=2) == ["a    c", "bbb"]
