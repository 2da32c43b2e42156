from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.papers.claims import COLUMNS, papers, read_claims, read_claims_file
from tasks.errors import UserError

GOOD = "odn,I,classification,MNIST,resnet18-cifar,end_to_end,depth=8/8,params,11.17,,M,,"


def write(folder: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "odn.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def test_all_papers_are_read_whole() -> None:
    assert papers() == ["adn", "mind", "odn", "repl", "swn"]
    counts = {paper: len(read_claims([paper])) for paper in papers()}
    assert counts == {"adn": 181, "mind": 107, "odn": 45, "repl": 2, "swn": 114}
    assert len(read_claims()) == sum(counts.values())


def test_a_claim_keeps_its_digits_and_its_note(tmp_path: Path) -> None:
    line = 'odn,I,classification,MNIST,r,m,,top1,96.0,0.28,%,"RTX 3090, batch 64","said ""so"""'
    (claim,) = read_claims_file(write(tmp_path, line))
    assert str(claim.value) == "96.0"
    assert claim.half_unit == 0.05
    assert replace(claim, value=Decimal("146")).half_unit == 0.5
    assert claim.as_dict()["spread"] == 0.28
    assert (claim.hardware, claim.note) == ("RTX 3090, batch 64", 'said "so"')


PRINTED_SHORTER = {
    ("adn", "2", "ImageNet-1k", "gmacs"): "2.8 2.3 2.0 2.6 2.3 2.6 3.0 3.3 2.7",
    ("mind", "2", "CIFAR-100", "params"): "25.6 66",
    ("mind", "2", "CIFAR-100", "top1"): "69.9 84.4",
    ("mind", "2", "ImageNet-1k", "params"): "25.6 66",
    ("mind", "2", "ImageNet-1k", "top5"): "91.6",
    ("mind", "4", "CIFAR-100", "layers"): "4 9 16",
    ("mind", "4", "CIFAR-100", "gflops"): "0.8 1.5 2.0",
    ("mind", "6", "CIFAR-100", "latency"): "25 148 186 20",
    ("mind", "6", "ImageNet-1k", "top1"): "68.5 78.5 81.8 88.2",
    ("mind", "11", "CIFAR-100", "gflops"): "1.3",
    ("swn", "5", "CIFAR-100", "params"): "146 120",
    ("swn", "1", "CIFAR-10-C", "top1"): "77.5 76.6 76.6",
    ("swn", "1", "CIFAR-10-C", "nll"): "1.02",
}
"""Figures that the papers themselves print with fewer decimals than others of their column."""
FINER_SPREADS = {("swn", "5", "top1"), ("swn", "5", "ece")}
"""Columns whose spreads are printed with more decimals than their values."""


def decimals(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def test_no_figure_has_lost_a_digit() -> None:
    """2.80 stored as 2.8 would be judged with ten times the tolerance."""
    columns = defaultdict(list)
    for claim in read_claims():
        columns[claim.paper, claim.table, claim.dataset, claim.metric].append(claim.value)
    shorter = {}
    for column, values in columns.items():
        most = max(map(decimals, values))
        found = [str(value) for value in values if decimals(value) < most]
        if found:
            shorter[column] = " ".join(found)
    assert shorter == PRINTED_SHORTER
    finer = {
        (claim.paper, claim.table, claim.metric)
        for claim in read_claims()
        if claim.spread is not None and decimals(claim.spread) > decimals(claim.value)
    }
    assert finer == FINER_SPREADS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.removesuffix(","), "12 fields instead of 13"),
        (GOOD.replace("11.17", "11,17"), "14 fields instead of 13"),
        (GOOD.replace("11.17", "about 11"), "value 'about 11' is not a number"),
        (GOOD.replace("11.17", "nan"), "value 'nan' is not a number"),
        (GOOD.replace("11.17", ""), "column value is empty"),
        (GOOD.replace("11.17,,", "11.17,small,"), "spread 'small' is not a number"),
        (GOOD.replace("params", "param"), "unknown metric 'param' (did you mean 'params'?)"),
        (GOOD.replace(",M,", ",G,"), "params is given in M, not in G"),
        (GOOD.replace("odn,", "adn,"), "paper 'adn' in the file of 'odn'"),
        (GOOD.replace("MNIST", " MNIST"), "spaces around 'MNIST' in the column dataset"),
        (GOOD.replace("11.17", "11.71"), "the same figure as in line 2"),
        (GOOD.replace("MNIST", '"MNIST"x'), "expected after"),
        ("", "0 fields instead of 13"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, GOOD, line)
    with pytest.raises(UserError) as caught:
        read_claims_file(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)


def test_a_wrong_header_an_empty_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, header=",".join(COLUMNS[:-1]))
    with pytest.raises(UserError, match=r"odn\.csv:1: the header must be paper,table"):
        read_claims_file(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"odn\.csv:1: the header"):
        read_claims_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"odn\.csv is not UTF-8"):
        read_claims_file(path)
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*odn\.csv"):
        read_claims_file(path)


def test_an_unknown_paper_gets_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown paper 'adm' \(did you mean 'adn'\?\)"):
        read_claims(["adm"])
