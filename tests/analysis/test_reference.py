"""``main.csv``: what it holds, that it reads back equal, and what it does not take."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_helpers import Conditions, Values, seeds, write_folder
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis.compare.conditions import Conditions as Told
from benchmarks.analysis.compare.reference import (
    COLUMNS,
    Entry,
    Key,
    Reference,
    read_reference,
    summarise_folders,
    write_reference,
)
from tasks.errors import UserError

VALUES: Values = {
    "plain": {"top1": seeds(90, 91.25), "train_time": seeds(10, None)},
    "ours(by=2, at=[0 1])": {"top1": seeds(92, 93), "train_time": seeds(None, None)},
}


def test_it_holds_values_by_seed_with_their_conditions_and_what_is_missing(tmp_path: Path) -> None:
    found = summarise_folders([write_folder(tmp_path / "a", VALUES)])
    file = tmp_path / "main.csv"
    assert write_reference(file, found) == 4
    lines = file.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    cpu = '"Some CPU, 1 thread",float32,short,4 epochs,'
    digest = lines[1].split(",")[-2]
    assert lines[1:] == [
        f'mine,classification,digits,small,"ours(by=2, at=[0 1])",,training,train_time,s,0,,{cpu}'
        f"{digest},no meter",
        'mine,classification,digits,small,"ours(by=2, at=[0 1])",full,test,top1,%,2,'
        f"0=92.0 1=93.0,{cpu}{digest},",
        f"mine,classification,digits,small,plain,,training,train_time,s,1,0=10.0,{cpu}{digest},"
        "no meter",
        f"mine,classification,digits,small,plain,full,test,top1,%,2,0=90.0 1=91.25,{cpu}{digest},",
    ]
    assert read_reference(file).entries == {
        key: Entry(e.unit, e.values, Told(*(getattr(e.conditions, k) for k in KEPT)), e.reason)
        for key, e in found.entries.items()
    }


KEPT = ("hardware", "precision", "profile", "budget", "data")


def test_the_same_results_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    swapped = dict(reversed(VALUES.items()))
    texts = []
    for number, values in enumerate((VALUES, VALUES, swapped)):
        found = summarise_folders([write_folder(tmp_path / str(number), values)])
        write_reference(tmp_path / f"{number}.csv", found)
        texts.append((tmp_path / f"{number}.csv").read_bytes())
    assert texts[0] == texts[1] == texts[2]


def test_writing_replaces_a_suite_and_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "main.csv"
    mine = summarise_folders([write_folder(tmp_path / "a", VALUES)])
    other = summarise_folders([write_folder(tmp_path / "b", VALUES, Conditions(suite="other"))])
    less = summarise_folders([write_folder(tmp_path / "c", {"plain": VALUES["plain"]})])
    write_reference(file, mine)
    write_reference(file, other)
    both = file.read_bytes()
    write_reference(file, mine)
    assert file.read_bytes() == both
    assert len(read_reference(file).entries) == 8
    write_reference(file, less)
    assert {(k.suite, k.method) for k in read_reference(file).entries} == {
        ("mine", "plain"),
        *(("other", method) for method in VALUES),
    }


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        min_size=7,
        max_size=7,
    ),
    st.dictionaries(st.integers(0, 99), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_names_and_values_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], values: dict[int, float]
) -> None:
    file = tmp_path_factory.mktemp("reference") / "main.csv"
    entries = {Key(*names, "top1"): Entry("%", values, Told(hardware=names[0]), "a reason")}
    write_reference(file, Reference(entries, {}))
    assert read_reference(file).entries == entries


def test_a_results_folder_is_a_reference_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, VALUES)
    assert read_reference(folder) == summarise_folders([folder])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("suite,", "suit,", r"main.csv:1: the header must be suite,task"),
        (",2,0=90.0 1=91.25,", ",3,0=90.0 1=91.25,", r"main.csv:5: n is 3, and there are 2 values"),
        ("0=90.0 ", "0=many ", r"main.csv:5: could not convert string to float: 'many'"),
        ("0=90.0 ", "0=nan ", r"main.csv:5: 'nan' is not a finite number"),
        ("mine,classification,digits,small,plain,,", "mine,", r"main.csv:4: 12 fields instead of"),
    ],
)
def test_a_damaged_file_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    file = tmp_path / "main.csv"
    write_reference(file, summarise_folders([write_folder(tmp_path / "a", VALUES)]))
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=sentence):
        read_reference(file)


def test_a_file_cut_short_or_absent_or_a_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "main.csv"
    found = summarise_folders([write_folder(tmp_path / "a", VALUES)])
    with pytest.raises(UserError, match=r"there is no .*main.csv to hold results against"):
        read_reference(file)
    write_reference(file, found)
    file.write_text(file.read_text()[:-20])
    with pytest.raises(UserError, match="cut short"):
        read_reference(file)
    with pytest.raises(UserError, match=r"is a folder: name a file such as .*main.csv"):
        write_reference(tmp_path, found)
