"""Results and suites of strangers: whatever verb reads them, no code of theirs runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attacks import ATTACKS, archive
from cli.test_command import depthbench
from cli.test_show_command import carry_out, change_manifest, spec
from end_to_end.end_to_end_helpers import write_suite

from benchmarks.cli import OLD_NAMES, VERBS
from benchmarks.records.store import RUNNING


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carry_out(tmp_path_factory.mktemp("results"), spec("end_to_end", {}))[0]


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    folder = tmp_path / "results" / "runs" / original.name
    return Path(shutil.copytree(original, folder))


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A Python file that leaves the file ``ran`` wherever it is imported."""
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    return path


READ: dict[str, Callable[[Path], list[str | Path]]] = {
    "compare": lambda run: [run.parents[1]],
    "explain": lambda run: [run],
    "gate": lambda run: [run.parents[1], "--against", run.parents[1]],
    "publish": lambda run: [run.parents[1], "--to", run.parents[2] / "site"],
    "report": lambda run: [run.parents[1]],
    "rerun": lambda run: [run, "--out", run.parents[2] / "again"],
    "show": lambda run: [run, "--pictures"],
    "table": lambda run: [run.parents[1]],
}
"""The verbs that read a results folder, and how."""


def test_every_verb_is_thought_of() -> None:
    training = {"check", "check-method", "list", "reproduce", "run", "verify"}
    assert set(READ) | training == {*VERBS, *OLD_NAMES}


def name_method_file(run: Path, evil: Path) -> None:
    change_manifest(run, lambda manifest: manifest["spec"].update(method_file=str(evil)))


def name_config(run: Path, evil: Path) -> None:
    options = {"dataset": "coco", "arch": {"name": str(evil)}}
    change_manifest(
        run, lambda manifest: manifest["spec"].update(task="detection", task_options=options)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name_method_file, name_config])
def test_python_that_a_manifest_names_runs_in_no_verb(
    run: Path, evil: Path, tmp_path: Path, name: Callable[[Path, Path], None]
) -> None:
    name(run, evil)
    for verb, arguments in READ.items():
        done = depthbench(verb, *arguments(run), cwd=tmp_path)
        assert "Traceback" not in done.stderr, verb
        assert not (tmp_path / "ran").exists(), verb
        if verb in ("rerun", "show"):
            assert done.returncode == 2
            assert str(evil) in done.stderr
            assert "--trust" in done.stderr
    depthbench("show", run, "--trust", cwd=tmp_path)
    assert (tmp_path / "ran").exists(), "the file would have run"


@pytest.mark.slow
def test_a_checkpoint_runs_in_no_verb(run: Path, tmp_path: Path) -> None:
    attack = ATTACKS[0](f"open({str(tmp_path / 'ran')!r}, 'w')")
    archive(run / "checkpoints" / "latest.pth", attack, key="depthbench")
    for verb in ("explain", "show"):
        done = depthbench(verb, *READ[verb](run), cwd=tmp_path)
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "ran").exists(), verb
    assert "latest.pth is damaged" in done.stderr


@pytest.mark.slow
def test_going_on_from_a_strangers_checkpoint_runs_nothing(run: Path, tmp_path: Path) -> None:
    """The checkpoint says that mmengine shall read a config, which is Python."""
    checkpoint = run / "checkpoints" / "latest.pth"
    change_manifest(run, lambda manifest: manifest.update(status=RUNNING))
    (run / "rows.csv").unlink()
    saved = torch.load(checkpoint, weights_only=True)
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    optimizer = torch.optim.SGD([torch.ones(1)], lr=0.1).state_dict()
    meta = {"iter": 2, "epoch": 0, "config": code}
    saved |= {"phase_done": False, "meta": meta, "optimizer": optimizer, "param_schedulers": []}
    torch.save(saved, checkpoint)
    carry_out(run.parents[1], spec("end_to_end", {}))
    assert not (tmp_path / "ran").exists()


HUB = "def entry(*args, **kwargs):\n    open('ran', 'w').close()\n\n\nopen('ran', 'w').close()\n"
SUITES: dict[str, dict[str, str]] = {
    "schedule": {
        "recipe": "{schedule: [{type: torch.hub.load, repo_or_dir: ., model: entry, "
        "source: local}]}"
    },
    "optimizer": {"recipe": "{optimizer: {type: torch.hub.load, repo_or_dir: ., model: entry}}"},
    "a module": {"recipe": "{optimizer: {type: hubconf}}"},
    "a scope": {"recipe": "{optimizer: {type: hubconf.SGD, lr: 0.1}}"},
    "scope key": {"recipe": "{optimizer: {type: SGD, lr: 0.1, _scope_: hubconf}}"},
    "inside": {"recipe": "{optimizer: {type: SGD, lr: 0.1, params: {type: torch.hub.load}}}"},
    "backbone": {
        "task": "{name: detection, dataset: bccd, arch: {name: retinanet_tiny, "
        "model.backbone.type: torch.hub.load}}"
    },
    "neck": {
        "task": "{name: detection, dataset: bccd, arch: {name: retinanet_tiny, "
        "model.neck: {type: hubconf}}}"
    },
    "transform": {
        "task": "{name: segmentation, dataset: camvid_cityscapes, arch: {name: pspnet_tiny, "
        "train_dataloader.dataset.pipeline: [{type: torch.hub.load}]}}"
    },
    "way out": {"task": "{name: detection, dataset: bccd, arch: 'mmdet::../../../../hubconf.py'}"},
    "absolute": {"task": "{name: detection, dataset: bccd, arch: 'mmdet::HERE/hubconf.py'}"},
}


@pytest.mark.slow
@pytest.mark.parametrize("key", SUITES)
def test_a_suite_alone_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    from end_to_end.test_bad_input import plan

    from tasks.errors import UserError

    (tmp_path / "hubconf.py").write_text(HUB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    changes = {k: v.replace("HERE", str(tmp_path)) for k, v in SUITES[key].items()}
    with pytest.raises(UserError, match=r"hub|type|mmdet"):
        plan(write_suite(tmp_path, **changes))
    assert not (tmp_path / "ran").exists()


def test_a_suites_python_is_listed_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "my_config.py").write_text("raise RuntimeError('it runs')\n")
    task: dict[str, Any] = {"task": "{name: detection, dataset: bccd, arch: my_config.py}"}
    done = depthbench("run", write_suite(tmp_path, **task), "--plan", cwd=tmp_path)
    lines = (done.stdout + done.stderr).splitlines()
    assert "runs Python: my_config.py" in lines
    assert lines.index("runs Python: my_config.py") < len(lines) - 1
    assert "it runs" in lines[-1]
