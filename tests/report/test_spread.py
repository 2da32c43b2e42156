"""By how much a repetition on another processor may differ, and what the verdict says of it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.analysis.agreement import allowances, other_seeds, split_images
from benchmarks.cli.rerun import judge, read_original
from benchmarks.records.identity.origin import kernel_changes
from benchmarks.records.row import Row
from benchmarks.records.store import read_rows, write_rows
from benchmarks.records.verification import seal

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
AVX2 = {
    "type": "cpu",
    "instruction_set": {"torch": "AVX2", "mkl": "AVX2"},
    "blas": "mkl 2024.2",
    "float32_matmul_precision": "highest",
}
AVX512 = {**AVX2, "instruction_set": {"torch": "AVX512", "mkl": "AVX512"}}
TEST = ("top1", "test", "full")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three seeds of a real method, all computed with AVX2."""
    shutil.copytree(PUBLISHED / "quickstart", tmp_path / "results")
    runs = tmp_path / "results" / "runs"
    for folder in runs.iterdir():
        change_manifest(folder, device={**manifest_of(folder)["device"], **AVX2})
    return runs


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def change_manifest(folder: Path, **changes: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps({**manifest_of(folder), **changes}))
    seal(folder)


def one(runs: Path, seed: int = 0, method: str = "end_to_end") -> Path:
    (found,) = runs.glob(f"digits-cifar_resnet26-{method}-s{seed}-*")
    return found


def repeated(folder: Path, device: dict[str, Any], change: dict[tuple[str, str], float]) -> Path:
    """A repetition on another device with some other values."""
    copy = Path(shutil.copytree(folder, folder.parents[2] / "again" / folder.name))
    rows = [
        replace(row, value=change.get((row.metric, row.phase), row.value))
        for row in read_rows(folder / "rows.csv")
    ]
    write_rows(copy / "rows.csv", rows)
    change_manifest(copy, device=device)
    return copy


def value(rows: list[Row], key: tuple[str, str, str] = TEST) -> float:
    (found,) = [r.value for r in rows if (r.metric, r.phase, r.variant) == key]
    assert found is not None
    return found


def test_images_of_the_splits_come_from_the_manifest(results: Path) -> None:
    assert split_images(manifest_of(one(results))) == {"val": 143, "test": 364}
    data = {"images": {"train": 9, "val": 5}, "val_is_test": True}
    assert split_images({"fingerprint": {"data": data}}) == {"val": 5, "test": 5}
    assert split_images({"fingerprint": {"data": {"images": "many"}}}) == {}
    assert split_images({}) == {}


def test_other_seeds_of_the_same_run_are_found_and_nothing_else(results: Path) -> None:
    folder = one(results)
    assert {rows[0].seed for rows in other_seeds(folder, manifest_of(folder))} == {1, 2}
    assert {rows[0].method for rows in other_seeds(folder, manifest_of(folder))} == {"end_to_end"}
    (one(results, 1) / "rows.csv").write_text("damaged")
    other = manifest_of(one(results, 2))["fingerprint"]
    change_manifest(one(results, 2), fingerprint={**other, "threads": 7})
    assert other_seeds(folder, manifest_of(folder)) == []


def test_the_larger_of_both_spreads_counts_and_never_less_than_an_image(results: Path) -> None:
    folder = one(results)
    manifest, rows = manifest_of(folder), read_rows(folder / "rows.csv")
    share = (value(rows) / 100 * 364 + 1) / 366
    binomial = 300 * math.sqrt(2 * share * (1 - share) / 364)
    alone, basis = allowances(rows, manifest, [])
    assert alone[TEST] == pytest.approx(binomial)
    assert basis == "the number of images (143 val, 364 test)"
    far = [[replace(row, value=row.value - 20) if row.value else row for row in rows]]
    spread, basis = allowances(rows, manifest, far)
    assert spread[TEST] == pytest.approx(3 * math.sqrt(2) * 20 / math.sqrt(2))
    assert basis.startswith("the std over 2 seeds and the number of images")
    perfect = [replace(row, value=100.0) if row.metric == "top1" else row for row in rows]
    assert allowances(perfect, manifest, [])[0][TEST] >= 100 / 364
    assert allowances(rows, {}, []) == ({}, ""), "nothing is known: nothing is made up"


def test_within_the_spread_another_instruction_set_agrees_and_it_is_said(results: Path) -> None:
    folder = one(results)
    rows = read_rows(folder / "rows.csv")
    image = 100 / 364
    near = repeated(folder, AVX512, {("top1", "test"): value(rows) - image})
    found = judge(read_original(folder), near, [], None)
    assert found["verdict"] == "agree"
    assert found["bit_by_bit"] is False
    assert "(kernels changed)" in found["sentence"]
    assert (
        "within what the std over 3 seeds and the number of images (143 val, 364 test) allow"
        in (found["sentence"])
    )
    assert (
        ": equal bits are not expected, and the farthest is top1 (test, full): "
        in (found["sentence"])
    )
    assert [each["told"] for each in found["changed"]] == [
        "torch AVX2 -> AVX512",
        "MKL AVX2 -> AVX512",
    ]
    # On the same kernels one image is a difference.
    change_manifest(near, device=AVX2)
    found = judge(read_original(folder), near, [], None)
    assert found["verdict"] == "differ"
    assert "not deterministic here, or the run's numbers were changed" in found["sentence"]


def test_beyond_the_spread_it_differs_and_nobody_is_accused(results: Path) -> None:
    folder = one(results)
    far = repeated(folder, AVX512, {("top1", "test"): 70.0})
    found = judge(read_original(folder), far, [], None)
    assert found["verdict"] == "differ"
    assert {each["metric"] for each in found["differing"]} == {"top1"}
    assert found["sentence"].endswith("points that are allowed (kernels changed).")
    assert "not deterministic" not in found["sentence"]
    assert judge(read_original(folder), far, [], 50.0)["verdict"] == "agree"


def test_a_run_that_did_not_record_its_kernels_is_not_accused_either(results: Path) -> None:
    folder = one(results)
    old = {"type": "cpu", "name": "AMD EPYC"}
    change_manifest(folder, device=old)
    rows = read_rows(folder / "rows.csv")
    near = repeated(folder, AVX512, {("top1", "test"): value(rows) - 0.2})
    found = judge(read_original(folder), near, [], None)
    assert found["verdict"] == "agree"
    assert "(not all kernels of both are recorded)" in found["sentence"]
    # Neither of two old runs recorded them: as before, the same device is the same.
    assert kernel_changes(old, old) == []
