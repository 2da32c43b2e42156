"""Data is identified by its content, which is read once and remembered."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_data import FAMILIES, checked, mask_path, noise, picture_path, saving, write_data
from PIL import Image

from benchmarks.budget import Budget
from benchmarks.launch.planning import plan_runs
from benchmarks.spec import RunSpec
from tasks.base import TASKS
from tasks.classification.splits import ArraySplit
from tasks.errors import UserError
from tasks.files import contents as module
from tasks.files.cache import cache_folder
from tasks.files.contents import contents

family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, in which files of this instant are kept, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    assert cache_folder() == tmp_path / "cache" / "depthbench"
    return cache_folder() / "contents"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are read."""
    names: list[str] = []

    def counting(reader: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def counted(path: Path) -> Any:
            names.append(path.name)
            return reader(path)

        return counted

    readers = {kind: counting(reader) for kind, reader in module._READERS.items()}
    monkeypatch.setattr(module, "_READERS", readers)
    return names


def restore_times(path: Path, write: Callable[[Path], object]) -> None:
    """Give a file other content of the same length and the same time of change."""
    before = path.stat()
    write(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


@family
def test_other_pixels_of_the_same_size_and_time_are_other_data(family: str, tmp_path: Path) -> None:
    bitmaps = [saving(Image.fromarray(noise(n)), "BMP") for n in range(2)]
    root = write_data(family, tmp_path / "data", bitmaps)
    first = checked(family, root)["sha256"]
    assert checked(family, root)["sha256"] == first
    restore_times(picture_path(family, root), saving(Image.fromarray(noise(9)), "BMP"))
    second = checked(family, root)["sha256"]
    assert second != first
    if family == "segmentation":
        labels = np.zeros(noise().shape[:2], np.uint8)
        saving(Image.fromarray(labels), "BMP")(mask_path(root))
        third = checked(family, root)["sha256"]
        restore_times(mask_path(root), saving(Image.fromarray(labels + 1), "BMP"))
        assert len({str(each) for each in (second, third, checked(family, root)["sha256"])}) == 3


def test_other_arrays_of_the_same_size_and_time_are_other_data(
    tmp_path: Path, read: list[str]
) -> None:
    images, labels = noise(0).reshape(-1, 8, 8), np.arange(noise(0).size // 64) % 2
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", images)
        np.save(tmp_path / f"{part}_labels.npy", labels)

    def facts(**options: Any) -> dict[str, Any]:
        factory, _ = TASKS.find("classification")
        task = factory({"name": "npy", "root": str(tmp_path)}, "cifar_resnet8", **options)
        return task.fingerprint()["sha256"]

    first = facts()
    assert facts() == first
    assert len(read) == 4
    assert facts(split_seed=1)["train"] != first["train"]
    restore_times(tmp_path / "train_images.npy", lambda path: np.save(path, images[::-1]))
    second = facts()
    assert second["train"] != first["train"]
    assert second["test"] == first["test"]
    assert read[4:] == ["train_images.npy"]


def test_arrays_of_known_origin_are_not_hashed_again() -> None:
    pixels, labels = np.zeros((6, 1, 4, 4), np.uint8), np.arange(6)
    split = ArraySplit(pixels, labels, origin="checksum of the files")
    same = ArraySplit(pixels + 1, labels, origin="checksum of the files")
    chosen = np.array([4, 1])
    assert split.take(chosen).digest() == same.take(chosen).digest()
    assert split.take(chosen).digest() != split.take(chosen[::-1]).digest()
    assert split.take(chosen).digest() != split.digest()


@family
def test_files_are_read_once(family: str, tmp_path: Path, read: list[str]) -> None:
    root = write_data(family, tmp_path / "data")
    first = checked(family, root)
    once = list(read)
    assert len(once) >= 4
    assert checked(family, root) == first
    assert read == once
    os.utime(picture_path(family, root))
    assert checked(family, root) == first
    assert read[len(once) :] == [picture_path(family, root).name]


def test_reading_for_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    contents(tmp_path, ["a", "b"])
    assert not caplog.text
    monkeypatch.setattr(module, "_SILENT", -1)
    contents(tmp_path, ["b", "a"])
    assert "reading 2 files in " in caplog.text


def test_other_pixels_are_another_run(tmp_path: Path) -> None:
    bitmaps = [saving(Image.fromarray(noise(n)), "BMP") for n in range(2)]
    root = write_data("classification", tmp_path / "data", bitmaps)
    dataset = {"name": "imagefolder", "root": str(root), "image_size": 32, "workers": 0}
    spec = RunSpec(
        suite="mine", profile="smoke", task="classification",
        task_options={"dataset": dataset, "arch": "cifar_resnet8", "val_size": 1},
        method="end_to_end", method_options={}, seed=0, budget=Budget({"steps": 1}), device="cpu",
    )  # fmt: skip

    def planned() -> str:
        (plan,) = plan_runs([spec.to_dict()], lambda event: None)
        return plan["run_id"]

    first = planned()
    assert planned() == first
    restore_times(picture_path("classification", root), bitmaps[1])
    assert planned() != first


def test_a_file_that_has_just_changed_is_read_again(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within a tick of the file system's clock have the same time."""
    monkeypatch.setattr(module, "SETTLED_NS", 2_000_000_000)
    (tmp_path / "a").write_text("a")
    for _ in range(2):
        contents(tmp_path, ["a"])
    assert read == ["a", "a"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"\xff" + content,
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'"a"', b'"b"'),
        lambda content: content.replace(b"Pillow", b"Willow"),
        lambda content: b"[]\n[]",
    ],
)
def test_a_damaged_cache_is_ignored(
    damage: Callable[[bytes], bytes], tmp_path: Path, cache: Path, read: list[str]
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = contents(tmp_path, ["a", "b"])
    (kept,) = cache.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert contents(tmp_path, ["a", "b"]) == first
    assert len(read) == 4
    assert contents(tmp_path, ["a", "b"]) == first
    assert len(read) == 4


def test_a_cache_that_cannot_be_written_is_told_and_no_obstacle(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.parent.write_text("a file where a folder should be")
    (tmp_path / "a").write_text("a")
    assert contents(tmp_path, ["a"])["a"].sha256.startswith("ca978112ca1bbdca")
    assert "set XDG_CACHE_HOME" in caplog.text


def test_writers_at_once_leave_a_whole_cache(tmp_path: Path, cache: Path, read: list[str]) -> None:
    names = [f"{n:03}" for n in range(60)]
    for name in names:
        (tmp_path / name).write_text(name)
    parts = [names[n::6] for n in range(6)]
    threads = [threading.Thread(target=contents, args=(tmp_path, part)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.suffix for path in cache.iterdir()) == [".jsonl"]
    contents(tmp_path, names)
    del read[:]
    contents(tmp_path, names)
    assert read == []


def test_what_was_read_before_a_fault_is_kept(tmp_path: Path, read: list[str]) -> None:
    for name in "abcd":
        (tmp_path / name).write_text(name)
    with pytest.raises(UserError, match=r"/x does not exist.*; so it is with 2 of 6 files$"):
        contents(tmp_path, [*"abxyc", "d"])
    assert sorted(read) == list("abcd")
    contents(tmp_path, list("abcd"))
    assert sorted(read) == list("abcd")
