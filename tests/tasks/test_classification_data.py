from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.classification.registry import DATASETS
from tasks.classification.task import ClassificationTask, split_indices
from tasks.errors import UserError

SIBLING = Path(__file__).resolve().parents[3] / "shared" / "data"
CPU = torch.device("cpu")


def sibling(name: str) -> Path:
    folder = SIBLING / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in ../shared/data")
    return folder


def unpacked_copy(name: str, root: Path) -> Path:
    folder = sibling(name)
    (root / name / "raw").mkdir(parents=True)
    for path in (folder / "raw").glob("*.gz"):
        shutil.copyfile(path, root / name / "raw" / path.name)
    return root


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail at once, as they do without a network."""
    from urllib.error import URLError

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def write_npy(folder: Path, channels: int | None = 3, size: int = 6, images: int = 40) -> None:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (size, size) if channels is None else (size, size, channels)
    for split, count in (("train", images), ("test", images // 2)):
        pixels = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        np.save(folder / f"{split}_images.npy", pixels)
        np.save(folder / f"{split}_labels.npy", np.arange(count) % 4)


def test_digits_are_the_real_ones_split_by_class() -> None:
    train, test = DATASETS.get("digits")(Path("unused")).load()
    assert train.images.shape == (1433, 1, 8, 8)
    assert test.images.shape == (364, 1, 8, 8)
    assert train.images.dtype == np.uint8
    assert train.images.max() == 255
    shares = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.abs(shares - 0.2).max() < 0.005
    mean, std = train.channel_stats()
    assert mean == pytest.approx(DATASETS.get("digits").stats[0], abs=1e-3)
    assert std == pytest.approx(DATASETS.get("digits").stats[1], abs=1e-3)


@pytest.mark.parametrize(
    ("folder", "name"), [("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist")]
)
def test_idx_archives_are_verified_unpacked_and_read(
    folder: str, name: str, tmp_path: Path, no_network: None
) -> None:
    task = ClassificationTask(name, data_root=str(unpacked_copy(folder, tmp_path)))
    task.check()
    print_ = task.fingerprint()
    assert print_["images"] == {"train": 50_000, "val": 10_000, "test": 10_000}
    train, _ = DATASETS.get(name)(tmp_path).load()
    mean, std = train.channel_stats()
    stats = DATASETS.get(name).stats
    assert mean == pytest.approx(stats[0], abs=1e-3)
    assert std == pytest.approx(stats[1], abs=1e-3)
    assert sorted(set(train.labels)) == list(range(10))


def test_a_damaged_archive_is_named(tmp_path: Path, no_network: None) -> None:
    root = unpacked_copy("MNIST", tmp_path)
    damaged = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        ClassificationTask("mnist", data_root=str(root)).check()


def test_a_damaged_unpacked_file_is_told_apart(tmp_path: Path, no_network: None) -> None:
    root = unpacked_copy("MNIST", tmp_path)
    raw = root / "MNIST" / "raw"
    for path in raw.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes())[:-10])
    with pytest.raises(UserError, match="delete the unpacked files"):
        ClassificationTask("mnist", data_root=str(root)).check()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("kmnist", "KMNIST/raw"),
        ("emnist_letters", "gzip.zip"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("svhn", "train_32x32.mat"),
        ("stl10", "stl10_binary.tar.gz"),
    ],
)
def test_an_absent_data_set_says_what_to_put_where(
    name: str, wanted: str, tmp_path: Path, no_network: None
) -> None:
    with pytest.raises(UserError) as caught:
        ClassificationTask(name, data_root=str(tmp_path)).check()
    message = str(caught.value)
    assert wanted in message
    assert str(tmp_path) in message
    assert "DEPTHBENCH_DATA" in message
    assert "\n" not in message


def test_a_damaged_download_of_cifar_is_named(tmp_path: Path, no_network: None) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is damaged"):
        ClassificationTask("cifar10", data_root=str(tmp_path)).check()


def test_a_root_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    root = tmp_path / "file" / "data"
    with pytest.raises(UserError, match="cannot be written to") as caught:
        ClassificationTask("cifar10", data_root=str(root)).check()
    assert str(root) in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        ClassificationTask("cifar10", data_root=str(tmp_path)).check()


def test_the_root_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npy(tmp_path)
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    assert ClassificationTask("npy").train_samples() == 36


@pytest.mark.slow
def test_cifar_arrays_are_read_as_they_were_unpacked(tmp_path: Path) -> None:
    script = sibling("cifar10") / "unpack.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the CIFAR-10 mosaics cannot be unpacked: {done.stderr[-200:]!r}")
    task = ClassificationTask(
        {"name": "npy", "root": str(tmp_path), "label": "cifar10"},
        augment={"pad": 4, "flip": True},
        val_size=5000,
        split="first",
    )
    task.check()
    assert task.dataset == "cifar10"
    assert task.fingerprint()["images"] == {"train": 45_000, "val": 5_000, "test": 10_000}
    raw = np.load(tmp_path / "test_images.npy")
    batch = next(iter(task.eval_batches("test", CPU)))
    assert batch["inputs"].shape == (500, 3, 32, 32)
    mean, std = DATASETS.get("npy")(tmp_path).stats
    assert mean == pytest.approx(DATASETS.get("cifar10").stats[0], abs=1e-3)
    assert std == pytest.approx(DATASETS.get("cifar10").stats[1], abs=1e-3)
    pixels = batch["inputs"][7].numpy().transpose(1, 2, 0) * std + mean
    np.testing.assert_allclose(pixels * 255, raw[7], atol=1e-3)


@pytest.mark.parametrize(("channels", "expected"), [(None, 1), (1, 1), (3, 3)])
def test_arrays_may_be_grey_or_coloured(
    channels: int | None, expected: int, tmp_path: Path
) -> None:
    write_npy(tmp_path, channels)
    task = ClassificationTask({"name": "npy", "root": str(tmp_path)}, arch="cifar_resnet8")
    task.check()
    assert task.example_input(2, CPU).shape == (2, expected, 6, 6)
    assert task.build_model()(task.example_input(2, CPU)).shape == (2, 4)


def test_array_files_may_be_named(tmp_path: Path) -> None:
    write_npy(tmp_path)
    (tmp_path / "train_images.npy").rename(tmp_path / "x.npy")
    (tmp_path / "train_labels.npy").rename(tmp_path / "y.npy")
    options = {"train_images": "x.npy", "train_labels": str(tmp_path / "y.npy")}
    task = ClassificationTask({"name": "npy", "root": str(tmp_path), **options})
    assert task.train_samples() == 36


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train_images", np.zeros((40, 6, 6, 3), np.float32), "save it as uint8"),
        ("train_images", np.zeros((40, 6, 7, 3), np.uint8), "make them square"),
        ("train_labels", np.zeros(39, np.int64), "one integer for each of the 40"),
        ("train_labels", np.full(40, -1), "from 0 upwards"),
        ("test_images", np.zeros((20, 5, 5, 3), np.uint8), "make them the same"),
        ("train_images", None, "does not exist"),
        ("train_images", b"junk", "cannot be read"),
    ],
)
def test_senseless_arrays_are_refused(
    file: str, content: object, said: str, tmp_path: Path
) -> None:
    write_npy(tmp_path)
    path = tmp_path / f"{file}.npy"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=said):
        ClassificationTask({"name": "npy", "root": str(tmp_path)}).check()


def test_labels_beyond_the_stated_classes_are_refused(tmp_path: Path) -> None:
    write_npy(tmp_path)
    with pytest.raises(UserError, match="label 3 does not fit 3 classes"):
        ClassificationTask({"name": "npy", "root": str(tmp_path), "classes": 3}).check()


def test_checksums_follow_the_data(tmp_path: Path) -> None:
    write_npy(tmp_path)
    task = {"dataset": {"name": "npy", "root": str(tmp_path)}}
    before = ClassificationTask(**task).fingerprint()
    assert ClassificationTask(**task).fingerprint() == before
    labels = np.load(tmp_path / "test_labels.npy")
    labels[3] = 0
    np.save(tmp_path / "test_labels.npy", labels)
    after = ClassificationTask(**task).fingerprint()["sha256"]
    assert after["test"] != before["sha256"]["test"]
    assert after["train"] == before["sha256"]["train"]


@pytest.mark.parametrize("rule", ["random", "first"])
def test_training_and_validation_share_no_image(rule: str) -> None:
    train, val = split_indices(103, 20, rule, seed=1)
    assert len(val) == 20
    assert sorted([*train, *val]) == list(range(103))
    again = split_indices(103, 20, rule, seed=1)
    assert np.array_equal(again[0], train)
    if rule == "first":
        assert train.tolist() == list(range(83))
    else:
        assert not np.array_equal(split_indices(103, 20, rule, seed=2)[0], train)


@pytest.mark.parametrize("held_out", [0, 10, 11, -1])
def test_a_split_without_images_is_refused(held_out: int) -> None:
    with pytest.raises(UserError, match="set val_size from 1 to 9"):
        split_indices(10, held_out, "random", 0)
