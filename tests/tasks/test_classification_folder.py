from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.classification.task import ClassificationTask
from tasks.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of noise in pictures of different shapes."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for number, name in enumerate(("ape", "bee", "cat")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                shape = (40 + 3 * i, 50 - 2 * i, 3)
                pixels = random.integers(80 * number, 80 * number + 60, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


def folder_task(pictures: Path, **options: object) -> ClassificationTask:
    return ClassificationTask(
        **{
            "dataset": {"name": "imagefolder", "root": str(pictures)},
            "arch": "cifar_resnet8",
            "image_size": 16,
            "workers": 0,
            **options,
        }
    )


def test_folders_are_classes_and_val_is_the_test_split(pictures: Path) -> None:
    task = folder_task(pictures, val_size=6)
    task.check()
    print_ = task.fingerprint()
    assert print_["classes"] == 3
    assert print_["images"] == {"train": 18, "val": 6, "test": 9}
    (batch,) = task.eval_batches("test", CPU)
    assert batch["inputs"].shape == (9, 3, 16, 16)
    assert batch["data_samples"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    brightness = batch["inputs"].mean((1, 2, 3))
    assert (brightness.diff()[[2, 5]] > 0.5).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_entered_in_the_middle_goes_on_equally(pictures: Path, workers: int) -> None:
    augment = {"policy": "trivialaugment", "erase": 0.5}
    whole = list(folder_task(pictures, augment=augment).batches(5, 3, CPU).epoch(2))
    source = folder_task(pictures, augment=augment, workers=workers).batches(5, 3, CPU)
    part = list(source.epoch(2, start=2))
    assert len(whole) == len(source) == 4
    assert len(part) == 2
    for a, b in zip(whole[2:], part, strict=True):
        assert torch.equal(a["inputs"], b["inputs"])
        assert torch.equal(a["data_samples"], b["data_samples"])


def test_a_rectangle_of_every_picture_becomes_the_mean(pictures: Path) -> None:
    stats = {"mean": [0.5, 0.25, 0.75], "std": [1.0, 1.0, 1.0]}

    def empty(**augment: Any) -> torch.Tensor:
        task = folder_task(pictures, augment={"normalise": stats, **augment})
        (batch,) = task.batches(22, 0, CPU).epoch(0)
        return (batch["inputs"].abs() < 0.005).all(1).flatten(1).sum(1)

    assert not empty().any()
    erased = empty(erase=1.0)
    assert (erased >= 2).all()  # 2 % of 16 x 16 pixels at least
    assert (empty(erase=0.5) > 0).sum() in range(4, 19)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"policy": "randaug"}, "did you mean 'randaugment'"),
        ({"erase": 1.5}, "erase is a share of the pictures, not 1.5"),
    ],
)
def test_a_wrong_augmentation_is_refused(pictures: Path, augment: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        folder_task(pictures, augment=augment)._augment  # noqa: B018


def test_augmentation_changes_with_the_epoch_and_can_be_switched_off(pictures: Path) -> None:
    def by_picture(task: ClassificationTask, epoch: int) -> dict[int, torch.Tensor]:
        source = task.batches(22, 0, CPU)
        order = np.random.default_rng((0, epoch)).permutation(22)
        (batch,) = source.epoch(epoch)
        return dict(zip(order.tolist(), batch["inputs"], strict=True))

    task = folder_task(pictures)
    assert not torch.equal(by_picture(task, 0)[5], by_picture(task, 1)[5])
    unflipped = folder_task(pictures, augment={"flip": False})
    first, second = by_picture(task, 0), by_picture(unflipped, 0)
    mirrored = sum(torch.equal(first[i], second[i].flip(2)) for i in range(22))
    assert 4 <= mirrored <= 18


def test_reading_pictures_leaves_the_global_generator_alone(pictures: Path) -> None:
    source = folder_task(pictures).batches(8, 0, CPU)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(source.epoch(0))
    assert torch.rand(1) == expected


def test_a_damaged_picture_is_named(pictures: Path) -> None:
    (pictures / "val" / "bee" / "1.png").write_bytes(b"junk")
    task = folder_task(pictures)
    with pytest.raises(UserError, match=r"val/bee/1\.png cannot be read"):
        list(task.eval_batches("test", CPU))


def test_the_checksum_follows_the_files(pictures: Path) -> None:
    before = folder_task(pictures).fingerprint()
    assert folder_task(pictures).fingerprint() == before
    Image.new("RGB", (9, 9)).save(pictures / "val" / "ape" / "0.png")
    assert folder_task(pictures).fingerprint()["sha256"] != before["sha256"]


def test_mistakes_are_named(pictures: Path) -> None:
    with pytest.raises(UserError, match="holds no class folders"):
        folder_task(pictures / "absent").check()
    with pytest.raises(UserError, match="3 class folders, not 1000"):
        folder_task(pictures, dataset={"name": "imagenet", "root": str(pictures)}).check()
    with pytest.raises(UserError, match="did you mean 'flip'"):
        folder_task(pictures, augment={"flp": True}).check()
    with pytest.raises(UserError, match="two shares of the area"):
        folder_task(pictures, augment={"scale": [0.5, 2]}).check()
    (pictures / "val" / "dog").mkdir()
    with pytest.raises(UserError, match="the class dog, which train/ has not"):
        folder_task(pictures).check()


def test_imagenet_networks_are_built_without_the_pictures() -> None:
    task = ClassificationTask("imagenet", arch="mobilenet_v2", data_root="/nowhere")
    assert sum(p.numel() for p in task.build_model().parameters()) == 3_504_872
    assert task.example_input(1, CPU).shape == (1, 3, 224, 224)
