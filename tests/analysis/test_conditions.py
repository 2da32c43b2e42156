"""What ``compare`` refuses to mix, how it says so, and what ``--allow`` lets through."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import Conditions, Values, seeds, write_folder

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.compare.conditions import MIXABLE, parse_allowed
from benchmarks.records.verification import seal
from benchmarks.report.comparison import notes
from tasks.errors import UserError

PLAIN: Values = {"plain": {"top1": seeds(90, 92, 95)}}
OURS: Values = {"ours": {"top1": seeds(91, 92, 97)}}
BOTH: Values = {**PLAIN, **OURS}


def two_folders(folder: Path, **other: Any) -> list[Path]:
    """A baseline in a, and a method in b that ran under other conditions."""
    a = write_folder(folder / "a", PLAIN, Conditions())
    return [a, write_folder(folder / "b", OURS, replace(Conditions(), **other))]


def refusal(folders: list[Path], **more: Any) -> str:
    with pytest.raises(UserError) as refused:
        compare_results(folders, ["top1"], "plain", **more)
    return str(refused.value)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "hardware": ({"hardware": "A GPU"}, "Some CPU, 1 thread in {a}; A GPU, 1 thread in {b}"),
    "precision": ({"amp": "bfloat16"}, "float32 in {a}; amp bfloat16 in {b}"),
    "profile": ({"profile": "paper"}, "short in {a}; paper in {b}"),
    "budget": ({"epochs": 8}, "4 epochs in {a}; 8 epochs in {b}"),
    "recipe": ({"batch_size": 64}, "batch_size 32 in {a}; batch_size 64 in {b}"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_difference_is_refused_by_name_and_folder_and_can_be_allowed(
    tmp_path: Path, kind: str
) -> None:
    other, told = OTHERS[kind]
    folders = two_folders(tmp_path, **other)
    sentence = refusal(folders)
    subject = "these results" if kind == "profile" else "the runs of digits, small"
    told = told.format(a=folders[0], b=folders[1])
    assert sentence == (
        f"{subject} differ in {kind} ({told}): compare like with like, or allow it with "
        f"--allow {kind}"
    )
    found = compare_results(folders, ["top1"], "plain", allowed={kind})
    assert len(found.comparisons) == 1
    assert any(f"{kind}" in note and told in note for note in notes(found))


def test_other_data_is_refused(tmp_path: Path) -> None:
    folders = two_folders(tmp_path, data="other")
    assert "the runs of digits, small differ in data (" in refusal(folders)
    assert compare_results(folders, ["top1"], "plain", allowed={"data"}).comparisons


def test_other_seeds_are_refused_and_pair_where_they_can_if_allowed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {**PLAIN, "ours": {"top1": {1: 91, 2: 92, 3: 96}}})
    assert refusal([folder]) == (
        f"the runs of digits, small differ in seeds (0, 1, 2 in {folder} (plain); 1, 2, 3 in "
        f"{folder} (ours)): compare like with like, or allow it with --allow seeds"
    )
    (pair,) = compare_results([folder], ["top1"], allowed={"seeds"}).comparisons
    assert pair.seeds == (1, 2)


def test_everything_that_differs_is_in_one_sentence(tmp_path: Path) -> None:
    sentence = refusal(two_folders(tmp_path, hardware="A GPU", epochs=8))
    assert "hardware (" in sentence
    assert " and budget (" in sentence
    assert sentence.endswith("--allow hardware,budget")
    assert "\n" not in sentence
    left = refusal(two_folders(tmp_path, hardware="A GPU", epochs=8), allowed={"hardware"})
    assert left.endswith("--allow budget")


def test_methods_are_named_where_one_folder_holds_both_conditions(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, BOTH)
    for file in folder.glob("runs/*ours*/manifest.json"):
        told = json.loads(file.read_text())
        told["device"]["name"] = "A GPU"
        file.write_text(json.dumps(told))
        seal(file.parent)
    sentence = refusal([folder])
    assert f"Some CPU, 1 thread in {folder} (plain); A GPU, 1 thread in {folder} (ours)" in sentence


def test_settings_that_are_never_compared_may_differ_in_all_but_the_profile(
    tmp_path: Path,
) -> None:
    a = write_folder(tmp_path / "a", BOTH, Conditions())
    other = Conditions(
        dataset="letters", data="x", hardware="A GPU", amp="float16", epochs=9, batch_size=8
    )
    b = write_folder(tmp_path / "b", BOTH, other)
    assert len(compare_results([a, b], ["top1"]).comparisons) == 2
    c = write_folder(tmp_path / "c", BOTH, replace(other, profile="smoke"))
    assert "these results differ in profile" in refusal([a, c])


def test_a_failed_run_without_a_full_manifest_is_no_other_condition(tmp_path: Path) -> None:
    told = Conditions(failed={("ours", 3): "out of memory", ("plain", 3): "out of memory"})
    (pair,) = compare_results([write_folder(tmp_path, BOTH, told)], ["top1"]).comparisons
    assert pair.seeds == (0, 1, 2)


def test_other_software_is_told_and_not_refused(tmp_path: Path) -> None:
    folders = two_folders(tmp_path, code="2")
    found = compare_results(folders, ["top1"], "plain")
    assert [note for note in notes(found) if "stale" not in note] == [
        "the runs of digits, small were made with different versions of depthbench or its "
        f"libraries ({folders[0]}, {folders[1]})"
    ]


def test_results_without_manifests_are_compared_and_it_is_said(tmp_path: Path) -> None:
    bare = write_folder(tmp_path / "a", BOTH, Conditions(manifests=False))
    found = compare_results([bare], ["top1"], "plain")
    assert any("have no manifest: their hardware" in note for note in notes(found))
    other = write_folder(tmp_path / "b", {"new": OURS["ours"]})
    assert "unknown in" in refusal([bare, other])


def test_copies_of_a_run_count_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", BOTH)
    copy = Path(shutil.copytree(folder, tmp_path / "b"))
    once, twice = (compare_results(f, ["top1"]).comparisons for f in ([folder], [folder, copy]))
    assert once == twice


def test_two_versions_of_one_run_are_not_pooled(tmp_path: Path) -> None:
    a = write_folder(tmp_path / "a", BOTH)
    b = write_folder(tmp_path / "b", {**PLAIN, "ours": {"top1": seeds(80, 81, 82)}})
    sentence = refusal([a, b])
    assert f"{a} and {b} both have a run of ours with seed 0 on digits, small" in sentence
    assert "--against BEFORE" in sentence


def test_allow_takes_the_names_of_differences() -> None:
    assert parse_allowed(["hardware,precision", "seeds"]) == {"hardware", "precision", "seeds"}
    assert parse_allowed([",".join(MIXABLE)]) == set(MIXABLE)
    with pytest.raises(UserError, match=r"unknown difference to allow 'hardwear' .did you mean"):
        parse_allowed(["hardwear"])


def with_device(folder: Path, **facts: Any) -> Path:
    """The same results as if their manifests held further facts of the device."""
    for file in folder.glob("runs/*/manifest.json"):
        told = json.loads(file.read_text())
        told["device"].update(facts)
        file.write_text(json.dumps(told))
        seal(file.parent)
    return folder


def test_other_instruction_sets_are_refused_on_one_device_and_unknown_ones_told(
    tmp_path: Path,
) -> None:
    a, b = two_folders(tmp_path)
    with_device(a, instruction_set={"torch": "AVX2"}, blas="mkl 2024.2")
    found = compare_results([a, b], ["top1"], "plain")
    assert f"the runs of digits, small may differ in kernels: it is unknown in {b}" in notes(found)
    with_device(b, instruction_set={"torch": "AVX512"}, blas="mkl 2024.2")
    assert refusal([a, b]) == (
        f"the runs of digits, small differ in kernels (torch AVX2, BLAS mkl 2024.2 in {a}; torch "
        f"AVX512, BLAS mkl 2024.2 in {b}): compare like with like, or allow it with --allow kernels"
    )
    assert compare_results([a, b], ["top1"], "plain", allowed={"kernels"}).comparisons
    # Another device has other kernels: that one sentence is enough.
    with_device(b, name="A GPU")
    assert refusal([a, b]).endswith("--allow hardware")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"tf32": {"matmul": True, "convolutions": True}}, "TF32 of matrix products and TF32 of"),
        ({"tf32": {"matmul": False, "convolutions": True}}, "float32 with TF32 of convolutions"),
        ({"tf32": {"convolutions": False}, "float32_matmul_precision": "medium"}, "medium matmul"),
    ],
)
def test_tf32_of_convolutions_is_a_precision_as_that_of_products(
    tmp_path: Path, facts: dict[str, Any], told: str
) -> None:
    a, b = two_folders(tmp_path)
    for folder in (a, b):
        with_device(folder, type="cuda", tf32={"matmul": False, "convolutions": False})
    assert compare_results([a, b], ["top1"], "plain").comparisons
    with_device(b, **facts)
    sentence = refusal([a, b])
    assert "differ in precision (float32 in " in sentence
    assert told in sentence
    # It was not recorded once.
    with_device(a, tf32=False)
    found = compare_results([a, b], ["top1"], "plain")
    assert f"the runs of digits, small may differ in precision: it is unknown in {a}" in notes(
        found
    )
