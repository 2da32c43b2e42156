"""``depthbench show`` and what it rests on: a finished run's model, rebuilt from its folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.test_command import depthbench
from PIL import Image

from benchmarks.cli import main
from benchmarks.conformance.subject import contained
from benchmarks.engine.run import execute
from benchmarks.engine.trained import trained_model
from benchmarks.launch.planning import plan_runs
from benchmarks.records.row import FAILED
from benchmarks.records.run_folder import find_run
from benchmarks.records.store import RUNNING, read_rows
from benchmarks.records.verification import seal
from tasks.classification.pictures import CELL
from tasks.errors import UserError
from tasks.pictures import READABLE, STRIP

OPTIONS: dict[str, dict[str, Any]] = {
    "end_to_end": {},
    # Several deployable networks.
    "adaptive_depth": {},
    # Phases that go back to kept weights, the second of which leaves a network of its own.
    "optimal_depth": {
        "target_accuracy": 99.9,
        "warmup_epochs": 1,
        "lr_first": 1e-6,
        "patience": 1,
        "max_depth": 2,
    },
}


def spec(method: str, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "suite": "tiny",
        "profile": "smoke",
        "task": "classification",
        "task_options": {"dataset": "digits", "arch": {"name": "cifar_resnet14", "width": 8}},
        "method": method,
        "method_options": options,
        "seed": 0,
        "budget": {"epochs": 4} if method == "optimal_depth" else {"steps": 6},
        "device": "cpu",
        "threads": 1,
    }


def carry_out(results: Path, *specs: dict[str, Any]) -> list[Path]:
    """The folders of runs, carried out as ``depthbench run`` does, in this process."""
    with contained():
        folders = []
        for planned in plan_runs(specs, lambda event: None):
            folders.append(results / "runs" / planned["run_id"])
            execute(planned, str(folders[-1]), lambda event: None)
    return folders


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    results = tmp_path_factory.mktemp("results")
    folders = carry_out(results, *(spec(name, given) for name, given in OPTIONS.items()))
    return dict(zip(OPTIONS, folders, strict=True))


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run, to be spoilt."""
    folder = tmp_path / "results" / "runs" / runs["end_to_end"].name
    return Path(shutil.copytree(runs["end_to_end"], folder))


def rebuilt(folder: Path, notes: list[str] | None = None) -> tuple[Any, Any]:
    with contained():
        return trained_model(folder, ([] if notes is None else notes).append)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def metrics(folder: Path) -> dict[tuple[str, str, str], float | None]:
    rows = read_rows(folder / "rows.csv")
    return {(r.variant, r.phase, r.metric): r.value for r in rows if r.phase in ("val", "test")}


def judged(built: Any, model: Any) -> dict[tuple[str, str, str], float | None]:
    with contained():
        torch.set_num_threads(1)
        return {
            (variant, split, metric): getattr(value, "value", value)
            for variant, network in built.method.variants(model).items()
            for split in ("val", "test")
            for metric, value in built.task.evaluate(network, split, built.device).items()
        }


@pytest.mark.parametrize("method", OPTIONS)
def test_the_rebuilt_model_gives_the_very_numbers_of_its_rows(
    runs: dict[str, Path], method: str
) -> None:
    folder, notes = runs[method], []
    before = contents(folder)
    found = judged(*rebuilt(folder, notes))
    written = metrics(folder)
    assert len(found) >= 8  # four metrics on two splits, for every variant
    assert found == {key: written[key] for key in found}
    assert contents(folder) == before
    assert len({variant for variant, _, _ in found}) >= {"end_to_end": 1}.get(method, 2)
    assert not notes


def test_a_run_is_found_by_folder_prefix_and_alone(runs: dict[str, Path], run: Path) -> None:
    folder = runs["end_to_end"]
    results = folder.parents[1]
    assert find_run(folder) == find_run(results / "digits-end_to_end-s0") == folder
    assert find_run(folder.parent / "end_to") == folder
    assert find_run(run.parents[1]) == run
    with pytest.raises(UserError, match=r"any of 3 runs .*-adaptive_depth"):
        find_run(results)
    with pytest.raises(UserError, match="any of 3 runs"):
        find_run(results / "digits")
    with pytest.raises(UserError, match="did you mean 'digits-cifar_resnet14"):
        find_run(results / folder.name.replace("digits", "digist"))
    with pytest.raises(UserError, match="there is no run"):
        find_run(results / "none" / "at" / "all")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a manifest as if the run had written it so."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    seal(folder)
    if manifest["status"] == RUNNING:
        (folder / "digest.json").unlink()


def change_checkpoint(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "checkpoints" / "latest.pth"
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)


def cut_checkpoint(folder: Path) -> None:
    path = folder / "checkpoints" / "latest.pth"
    path.write_bytes(path.read_bytes()[:-1000])


def rename_phase(folder: Path) -> None:
    change_manifest(folder, lambda m: m["phases"][0].update(name="earlier"))
    change_checkpoint(folder, lambda s: s["depthbench"]["finished"][0].update(name="earlier"))


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "nothing": (lambda f: [p.unlink() for p in f.glob("*.*")], "is not the folder of a run"),
    "cut manifest": (lambda f: (f / "manifest.json").write_text("{"), "not the file that the run"),
    "changed rows": (
        lambda f: (f / "rows.csv").write_text((f / "rows.csv").read_text().replace("ok", "OK")),
        "rows.csv is not the file that the run wrote",
    ),
    "unfinished": (
        lambda f: change_manifest(f, lambda m: m.update(status=RUNNING)),
        "is not finished: give the command 'depthbench run'",
    ),
    "failed": (lambda f: change_manifest(f, lambda m: m.update(status=FAILED)), "has failed"),
    "published": (lambda f: shutil.rmtree(f / "checkpoints"), "has no checkpoint"),
    "cut checkpoint": (cut_checkpoint, "is damaged"),
    "not a checkpoint": (
        lambda f: torch.save([1], f / "checkpoints" / "latest.pth"),
        "is damaged",
    ),
    "in the middle": (
        lambda f: change_checkpoint(f, lambda s: s.update(phase_done=False)),
        "not of the end",
    ),
    "a phase left": (
        lambda f: change_manifest(f, lambda m: m["phases"].append({"name": "later", "batches": 1})),
        "not of the end",
    ),
    "another network": (
        lambda f: change_manifest(
            f, lambda m: m["spec"]["task_options"].update(arch="cifar_resnet14")
        ),
        "the code or the data changed.*go back to",
    ),
    "another phase": (
        rename_phase,
        "the code or the data changed.*next phase is 'train', but 'earlier' was trained",
    ),
    "a method gone": (
        lambda f: change_manifest(f, lambda m: m["spec"].update(method="endtoend")),
        "did you mean 'end_to_end'",
    ),
    "data gone": (
        lambda f: change_manifest(
            f,
            lambda m: m["spec"]["task_options"].update(
                dataset={"name": "imagefolder", "root": "gone"}, data_root=str(f)
            ),
        ),
        "gone/train holds no class folders",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_run_that_cannot_be_rebuilt_is_refused_in_one_sentence(run: Path, how: str) -> None:
    spoil, told = SPOILT[how]
    spoil(run)
    before = contents(run)
    with pytest.raises(UserError, match=told) as refusal:
        rebuilt(run)
    assert "\n" not in str(refusal.value)
    assert contents(run) == before


def test_a_changed_code_that_still_fits_is_noted(run: Path) -> None:
    change_manifest(run, lambda m: m["fingerprint"]["code"].update(method="0" * 64))
    notes: list[str] = []
    rebuilt(run, notes)
    assert notes == [f"since {run.name} was trained, the code of the method changed"]


def test_a_picture_is_written_and_named(runs: dict[str, Path]) -> None:
    folder = runs["adaptive_depth"]
    before = contents(folder)
    done = depthbench("show", folder.parents[1] / "digits-adaptive", "--images", "7", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["run"], told["split"]) == (str(folder), "test")
    (picture,) = map(Path, told["pictures"])
    assert picture.parent == folder / "pictures" / told["variant"]
    after = contents(folder)
    assert after.keys() - before.keys() == {str(picture)}
    assert all(after[path] == digest for path, digest in before.items())
    with Image.open(picture) as sheet:
        assert sheet.height > 2 * CELL  # seven are a row of six and one more


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """The command in this process: what it prints, or its one error."""
    threads = torch.get_num_threads()
    # Set, so that it is given back: a run on the CPU hides GPUs from its process.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))

    def call(*arguments: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["depthbench", "show", *map(str, arguments), "--pictures"])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        if not ended.value.code:
            return printed.out
        assert ended.value.code == 2
        (line,) = printed.err.strip().splitlines()
        assert line.startswith("error: ")
        return line

    yield call
    torch.set_num_threads(threads)


def test_variant_split_and_folder_can_be_chosen(
    show: Any, runs: dict[str, Path], tmp_path: Path
) -> None:
    folder, out = runs["adaptive_depth"], tmp_path / "elsewhere"
    variants = sorted({key[0] for key in metrics(folder)})
    pictures = []
    for variant in variants[0], variants[-1]:
        printed = show(folder, "--variant", variant, "--split", "val", "--out", out)
        assert printed.split() == [str(out / "val.png")]
        pictures.append((out / "val.png").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "arch"), [("detection", "mask_rcnn_tiny"), ("segmentation", "fcn_tiny")]
)
def test_detectors_and_segmentors_are_rebuilt_and_drawn(
    show: Any, tmp_path: Path, task: str, arch: str
) -> None:
    scenes = {"name": "digit_scenes", "train": 8, "val": 2, "test": 3, "size": 48}
    options = {
        "dataset": scenes,
        "arch": arch,
        "data_root": str(tmp_path / "data"),
        "image_size": [64, 64],
        "schedule": "small",
        "pretrained": "random",
        "eval_batch_size": 1,
    }
    changes = {"task": task, "task_options": options, "recipe": {"batch_size": 4}}
    (folder,) = carry_out(tmp_path / "results", spec("end_to_end", {}) | changes)
    found, written = judged(*rebuilt(folder)), metrics(folder)
    assert found == {key: written[key] for key in found}
    pictures = [Path(line) for line in show(tmp_path / "results", "--images", 2).split()]
    assert [picture.name[:10] for picture in pictures] == ["test-00000", "test-00002"]
    for picture in pictures:
        pixels = np.asarray(Image.open(picture))
        left, right = pixels[2 * STRIP :, :READABLE], pixels[2 * STRIP :, -READABLE:]
        assert (left[:READABLE] != right[:READABLE]).any()


def test_what_show_cannot_do_is_told_in_one_line(show: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "name another folder with --out" in show(run, "--out", tmp_path / "file")
    told = show(run, "--variant", "ful")
    assert "unknown variant of end_to_end 'ful' (did you mean 'full'?)" in told
    assert "there is no run" in show(tmp_path / "none")
    assert "device must be auto" in show(run, "--device", "gpu")
    shutil.rmtree(run / "checkpoints")
    assert "has no checkpoint" in show(run)
    assert not (run / "pictures").exists()
