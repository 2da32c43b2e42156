from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.records.row import COLUMNS, FAILED, OK, UNAVAILABLE, Row
from benchmarks.records.rows import format_rows, parse_rows
from benchmarks.records.store import read_rows, write_rows
from tasks.errors import UserError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
IDENTITY = {
    name: TEXT for name in COLUMNS if name not in ("seed", "value", "status", "metric", "reason")
}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.one_of(
    st.builds(
        Row, **IDENTITY, metric=TEXT, seed=st.integers(), value=NUMBERS, status=st.just(OK),
        reason=TEXT,
    ),
    st.builds(
        Row, **IDENTITY, metric=TEXT, seed=st.integers(), value=st.none(),
        status=st.sampled_from([UNAVAILABLE, FAILED]), reason=TEXT,
    ),
)  # fmt: skip

ROW = Row(
    suite="mine", run_id="digits-plain-s0-0123456789ab", task="classification", dataset="digits",
    arch="small", method="shrink(by=4, where=a)", variant="full", seed=0, phase="test",
    metric="top1", value=93.25, unit="%", status=OK, reason='a "note",\nover two lines, 5 µs',
)  # fmt: skip
MISSING = replace(ROW, value=None, status=UNAVAILABLE, reason="no NVML device")


def bits(value: float | None) -> bytes:
    return b"" if value is None else struct.pack("<d", value)


@given(st.lists(ROWS, max_size=5))
def test_rows_come_back_bit_for_bit(rows: list[Row]) -> None:
    back = parse_rows(format_rows(rows).encode(), "rows.csv")
    assert back == rows
    assert [bits(row.value) for row in back] == [bits(row.value) for row in rows]


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [ROW, MISSING, replace(ROW, seed=1)]
    write_rows(path, rows)
    whole = path.read_bytes()
    assert read_rows(path) == rows
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            found = read_rows(path)
        except UserError:
            continue
        # Only a cut between two rows passes, which the digest finds: nothing is ever half a row.
        assert found == rows[: len(found)]
        assert whole[:length] == format_rows(found).encode()


LINE = "a,b,c,d,e,f,g,0,test,top1,{value},%,{status},"


@pytest.mark.parametrize(
    ("lines", "number", "says"),
    [
        (["suite,metric,value", "a,b,1"], 1, "header"),
        (["", ""], 1, "header"),
        ([",".join(COLUMNS), "a,b,c"], 2, "3 fields instead of 14"),
        ([",".join(COLUMNS), LINE.format(value="1", status="ok") + ",more"], 2, "15 fields"),
        ([",".join(COLUMNS), LINE.format(value="12x", status="ok")], 2, "12x"),
        ([",".join(COLUMNS), LINE.format(value="nan", status="ok")], 2, "finite"),
        ([",".join(COLUMNS), LINE.format(value="1", status="fine")], 2, "status 'fine'"),
        ([",".join(COLUMNS), LINE.format(value="", status="ok")], 2, "status 'ok' with"),
        ([",".join(COLUMNS), LINE.format(value="0", status="unavailable")], 2, "with the value"),
        (
            [
                ",".join(COLUMNS),
                LINE.format(value="1", status="ok"),
                LINE.format(value="1", status="ok").replace(",0,", ",zero,"),
            ],
            3,
            "zero",
        ),
    ],
)
def test_a_foreign_file_is_told_with_its_line(lines: list[str], number: int, says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_rows(("\n".join(lines) + "\n").encode(), "rows.csv")
    assert str(caught.value).startswith(f"rows.csv:{number}: ")
    assert says in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_overwritten_bytes_are_rows_or_a_user_error(junk: bytes, at: int) -> None:
    whole = format_rows([ROW, MISSING]).encode()
    try:
        rows = parse_rows(whole[:at] + junk + whole[at + len(junk) :], "rows.csv")
    except UserError:
        return
    assert all(row.value is None or math.isfinite(row.value) for row in rows)


def test_text_that_no_file_can_hold_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, [replace(MISSING, reason="file \udcff has a \0 in it")])
    assert read_rows(path)[0].reason == "file \\udcff has a \\0 in it"


def test_an_absent_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_rows(tmp_path / "rows.csv")


@given(st.lists(ROWS))
def test_of_the_lines_kept_the_rows_are_those_of_the_whole_file(rows: list[Row]) -> None:
    content = format_rows(rows).encode()
    status = COLUMNS.index("status")
    kept = parse_rows(content, "rows.csv", lambda cells: cells[status] == OK)
    assert kept == [row for row in parse_rows(content, "rows.csv") if row.status == OK]


def test_a_line_cut_short_is_told_though_it_is_not_wanted() -> None:
    with pytest.raises(UserError, match="cut short"):
        parse_rows(format_rows([ROW]).encode()[:-3], "rows.csv", lambda cells: False)
