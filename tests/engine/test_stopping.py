"""A signal ends a run between two optimizer steps, with a checkpoint from which it goes on."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.test_resume import STEPS, Noisy, TwoPhases, final
from engine.training_helpers import session

from benchmarks.engine import checkpoint as checkpoint_module
from benchmarks.engine.checkpoint import plain, write_checkpoint
from benchmarks.engine.session import load_checkpoint
from benchmarks.engine.stopping import PROCESS, StopRun
from tasks.errors import UserError


class Told(Noisy):
    """A method whose process gets a signal in the middle of a step."""

    def __init__(self, told_at: int | None = None) -> None:
        super().__init__()
        self.told_at = told_at
        self.done = 0

    def train_step(self, model: Any, data: Any, optim_wrapper: Any) -> Any:
        self.done += 1
        if self.done == self.told_at:
            PROCESS.number = signal.SIGTERM
        return super().train_step(model, data, optim_wrapper)


class ToldInPhases(Told, TwoPhases):
    """The same in several phases."""


@pytest.fixture(autouse=True)
def told_nothing() -> Any:
    yield
    PROCESS.__init__()  # type: ignore[misc]


def stopped(folder: Path, method: Told, steps: int, **recipe: Any) -> StopRun:
    with pytest.raises(StopRun) as stop:
        session(folder, method, steps, **recipe).run()
    PROCESS.__init__()  # type: ignore[misc]
    return stop.value


@pytest.mark.parametrize(
    ("told_at", "accumulate"), [(1, 1), (7, 4), (20, 1), (20, 4), (21, 4), (STEPS, 1)]
)
def test_it_goes_on_to_the_same_weights_and_curve(
    tmp_path: Path, told_at: int, accumulate: int
) -> None:
    """In the middle, at the end of an epoch (20) and of the phase (46)."""
    recipe = {"accumulate": accumulate}
    whole, curve, _ = final(session(tmp_path / "whole", Noisy(), STEPS, **recipe))
    method = Told(told_at)
    stop = stopped(tmp_path / "cut", method, STEPS, **recipe)
    step = told_at + -told_at % accumulate
    assert (stop.batch, stop.phase, method.done) == (step, "train", step)
    second = Told()
    resumed, resumed_curve, _ = final(session(tmp_path / "cut", second, STEPS, **recipe))
    assert second.done == STEPS - step
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert resumed_curve == curve


@pytest.mark.parametrize("told_at", [20, 21, 40, 60])
def test_it_goes_on_in_the_same_phase(tmp_path: Path, told_at: int) -> None:
    whole, curve, state = final(session(tmp_path / "whole", TwoPhases(), 60))
    assert stopped(tmp_path / "cut", ToldInPhases(told_at), 60).batch
    second = ToldInPhases()
    resumed, resumed_curve, again = final(session(tmp_path / "cut", second, 60))
    assert second.done == 60 - told_at
    assert [p.name for p in again.finished] == [p.name for p in state.finished]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert resumed_curve == curve


class FullDisk:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: Any, room: int, number: int) -> None:
        self._file, self._room, self._number = file, room, number

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(self._number, os.strerror(self._number))
        return int(self._file.write(data))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("room", [0, 30_000])
def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, room: int
) -> None:
    path = tmp_path / "latest.pth"
    write_checkpoint(path, {"x": torch.zeros(9)})
    before = path.read_bytes()
    monkeypatch.setattr(
        checkpoint_module,
        "open",
        lambda *args: FullDisk(open(*args), room, number),  # noqa: SIM115
        raising=False,
    )
    why = "Input/output error" if number == errno.EIO else "the disk is full"
    with pytest.raises(UserError, match=rf"cannot write .*latest\.pth: .*{why}"):
        write_checkpoint(path, {"x": torch.zeros(100_000)})
    assert [each.name for each in tmp_path.iterdir()] == ["latest.pth"]
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        write_checkpoint(disk / "latest.pth", {"x": torch.zeros(9)})
        with pytest.raises(UserError, match="the disk is full"):
            write_checkpoint(disk / "latest.pth", {"x": torch.zeros(1_000_000)})
        assert [each.name for each in disk.iterdir()] == ["latest.pth"]
        saved = load_checkpoint(disk / "latest.pth")
        assert saved is not None
        assert torch.equal(saved["x"], torch.zeros(9))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_a_checkpoint_cannot_hold_is_named() -> None:
    with pytest.raises(UserError, match=r"checkpoint\['hook'\]\[1\] is a pathlib\.\w+, and a"):
        plain({"hook": [1, Path("x")]}, "checkpoint")
