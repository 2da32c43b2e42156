"""Checkpoints that run code when they are unpickled: nothing of theirs is imported or called."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import pickle
import re
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks import (
    ATTACKS,
    archive,
    by_exec,
    by_instance,
    by_loading_again,
    by_stack_global,
    by_system,
)
from mmengine.logging import HistoryBuffer

from tasks.errors import UserError
from tasks.files.checkpoints import load_foreign, load_plain
from tasks.openmmlab.checkpoint import read_tensors

ROOT = Path(__file__).resolve().parents[2]
EVIL = ROOT.parent / "shared" / "cases" / "attack" / "evil_checkpoint.py"


def attempt(reader: Callable[[Path], Any], path: Path) -> None:
    """Read, and take the reader's word for it that there is nothing to read."""
    told = ""
    with contextlib.suppress(UserError):
        try:
            reader(path)
        except UserError as error:
            told = str(error)
            raise
    assert not told or (path.name in told and "\n" not in told)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, where an attack would leave the file ``ran``."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("reader", [load_plain, load_foreign, read_tensors])
def test_nothing_runs(here: Path, attack: Callable[[str], bytes], reader: Any) -> None:
    command = f"open({str(here / 'ran')!r}, 'w')"
    attempt(reader, archive(here / "evil.pth", attack(command)))
    (here / "bare.pth").write_bytes(b"\x80\x02" + attack(command) + b".")
    attempt(reader, here / "bare.pth")
    assert not (here / "ran").exists()
    good = here / "good.pth"
    torch.save({"x": torch.ones(2, requires_grad=True)}, good)
    assert torch.equal(read_tensors(good)["x"], torch.ones(2)), "the attack changed the reader"


@pytest.mark.parametrize(
    "attack",
    [by_system, by_exec, by_stack_global, by_instance, by_loading_again],
    ids=lambda each: each.__name__,
)
def test_the_attacks_are_ones(here: Path, attack: Callable[[str], bytes]) -> None:
    """Python's own unpickler runs those that need no more than it has."""
    pickle.loads(b"\x80\x02" + attack(f"open({str(here / 'ran')!r}, 'w').close()") + b".")
    assert (here / "ran").exists()


def test_the_known_attack_runs_nothing(here: Path) -> None:
    if not EVIL.is_file():
        pytest.skip("no attack in ../shared/cases")
    spec = importlib.util.spec_from_file_location("evil_checkpoint", EVIL)
    assert spec is not None
    assert spec.loader is not None
    evil = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(evil)
    with zipfile.ZipFile(here / "evil.pth", "w") as file:
        file.writestr("archive/data.pkl", evil.pickle_bytes("open('ran', 'w')"))
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
    for reader in (load_plain, load_foreign, read_tensors):
        attempt(reader, here / "evil.pth")
    assert not (here / "ran").exists()


def test_nothing_was_added_to_what_torch_makes() -> None:
    added = torch.serialization.get_safe_globals()
    own = {"torch", "builtins", "traceback"}  # of builtins the exceptions, by torch itself
    assert {each.__module__.partition(".")[0] for each in added} <= own
    assert not {getattr, eval, exec, HistoryBuffer} & set(added)


def test_a_program_is_refused(here: Path) -> None:
    class Program(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.jit.script(Program()).save(str(here / "program.pth"))
    with pytest.raises(UserError, match=r"program of TorchScript"):
        read_tensors(here / "program.pth")


def test_tensors_beside_objects_are_read_and_the_objects_named(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = {
        "weight": torch.arange(6.0).reshape(2, 3).t(),  # strides that are not contiguous
        "half": torch.ones(3, dtype=torch.bfloat16)[1:],
        "count": torch.tensor(3),
        "none": torch.empty(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    buffer = HistoryBuffer([1.0], [1])
    objects = {"log": buffer, "array": np.arange(3), "scalar": np.float64(2), "kept": deque([1])}
    torch.save({"state_dict": OrderedDict(weights), "message_hub": objects}, here / "other.pth")
    with caplog.at_level("INFO", logger="depthbench"):
        read = read_tensors(here / "other.pth")
    assert set(read) == set(weights)
    for key, value in weights.items():
        assert torch.equal(read[key], value)
        assert read[key].dtype == value.dtype
    for dropped in ("HistoryBuffer", "numpy", "deque"):
        assert dropped in caplog.text


@pytest.mark.parametrize("size", [(3, 10**6), (-1,), (2**40, 2**40)])
def test_a_tensor_larger_than_its_bytes_is_refused(here: Path, size: tuple[int, ...]) -> None:
    class Claim:
        def __reduce__(self) -> Any:
            strides = (1,) * len(size)
            return torch._utils._rebuild_tensor_v2, (storage, 0, size, strides, False, {})

    storage = torch.ones(4).storage()
    torch.save({"x": Claim()}, here / "claim.pth")
    # One object beside the tensors, so that it is not torch that reads it.
    with pytest.raises(UserError, match=r"claim.pth is damaged"):
        read_tensors(here / "claim.pth")


def test_every_file_of_torch_is_read_in_one_place() -> None:
    places = {
        str(path.relative_to(ROOT))
        for package in ("benchmarks", "methods", "tasks")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"torch\.(jit\.|hub\.)?load\(|pickle\.loads?\(|Unpickler\(", path.read_text())
        if not path.name.endswith("local.py")  # between a run's own processes
    }
    assert places <= {
        "tasks/files/checkpoints.py",
        "tasks/files/inert.py",
        "benchmarks/launch/server.py",
    }


def test_reading_from_memory() -> None:
    file = io.BytesIO()
    torch.save({"x": torch.ones(2)}, file)
    file.seek(0)
    assert torch.equal(load_plain(file)["x"], torch.ones(2))
