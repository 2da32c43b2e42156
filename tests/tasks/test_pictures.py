"""Pictures of predictions show what was predicted, where it was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from tasks.base import Drawing
from tasks.classification.pictures import CELL, sheet
from tasks.classification.task import ClassificationTask
from tasks.detection.task import DetectionTask
from tasks.openmmlab.drawing import palette
from tasks.pictures import GAP, READABLE, STRIP, readable_size, side_by_side, spread
from tasks.segmentation.pictures import overlay
from tasks.segmentation.task import SegmentationTask

CPU = torch.device("cpu")
SIDE = 96
SCALE = READABLE // SIDE
DATA: dict[str, Any] = {"name": "digit_scenes", "train": 2, "val": 2, "test": 2, "size": SIDE}


def is_like(pixel: Any, colour: Any, most: float) -> bool:
    return float(np.abs(np.asarray(pixel, float) - np.asarray(colour, float)).max()) <= most


def panels(picture: Path) -> tuple[np.ndarray, np.ndarray]:
    """The left and the right panel of a picture of two square ones."""
    with Image.open(picture) as image:
        assert image.width == 2 * READABLE + GAP
        pixels = np.asarray(image.convert("RGB"))[2 * STRIP :][:READABLE]
    return pixels[:, :READABLE], pixels[:, READABLE + GAP :]


class Fixed(torch.nn.Module):
    """Says the same of every image, in a data sample of its family."""

    def __init__(self, **said: Any) -> None:
        super().__init__()
        self.said = said
        self.images = 0

    def test_step(self, batch: dict[str, Any]) -> list[Any]:
        (sample,) = batch["data_samples"]
        for key, value in self.said.items():
            setattr(sample, key, value)
        self.images += 1
        return [sample]


@pytest.fixture(scope="module")
def detection(tmp_path_factory: pytest.TempPathFactory) -> DetectionTask:
    return DetectionTask(
        DATA,
        "mask_rcnn_tiny",
        data_root=str(tmp_path_factory.mktemp("scenes")),
        pretrained="random",
        image_size=[64, 64],
        schedule="small",
    )


def test_predicted_boxes_and_masks_lie_where_they_were_predicted(
    detection: DetectionTask, tmp_path: Path
) -> None:
    masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    masks[0, 50:70, 10:40] = True
    masks[1:, 80:90, 80:90] = True
    said = InstanceData(
        bboxes=torch.tensor([[10.0, 50, 40, 70], [80, 80, 90, 90], [80, 80, 90, 90]]),
        labels=torch.tensor([3, 4, 4]),
        scores=torch.tensor([0.9, 0.3, 0.1]),
        masks=masks,
    )
    model = Fixed(pred_instances=said)
    empty = Fixed(pred_instances=said[:0])
    found = detection.draw(model, Drawing(tmp_path / "found", min_score=0.3), CPU)
    none = detection.draw(empty, Drawing(tmp_path / "none"), CPU)
    assert model.images == len(found) == len(none) == 2
    assert [path.name for path in found] == [path.name for path in none]
    colour = palette({"classes": detection.classes})[3]
    for with_box, without in zip(found, none, strict=True):
        truth, drawn = panels(with_box)
        same_truth, plain = panels(without)
        # mmdet draws shades of its masks at random; here they are always the same.
        assert np.array_equal(truth, same_truth)
        changed = (drawn != plain).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        edge = 3
        assert abs(rows[0] - 50 * SCALE) <= edge
        assert abs(rows[-1] - 70 * SCALE) <= edge
        assert abs(columns[0] - 10 * SCALE) <= edge
        assert abs(columns[-1] - 40 * SCALE) <= edge
        assert changed[65 * SCALE, 25 * SCALE]
        mixed = 0.6 * np.array(colour) + 0.4 * plain[65 * SCALE, 25 * SCALE]
        assert is_like(drawn[65 * SCALE, 25 * SCALE], mixed, 0.6 * 96)


def test_annotated_boxes_lie_around_the_digits(detection: DetectionTask, tmp_path: Path) -> None:
    nothing = {"bboxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    empty = Fixed(pred_instances=InstanceData(**nothing))
    (picture,) = detection.draw(empty, Drawing(tmp_path, "val", 1), CPU)
    truth, plain = panels(picture)
    info = detection.split("val").get_data_info(0)
    stored = Image.open(info["img_path"]).convert("RGB").resize((READABLE,) * 2)
    assert is_like(plain, np.asarray(stored), 2)
    changed = (truth != plain).any(2)
    objects = info["instances"]
    inside = np.zeros_like(changed)
    for one in objects:
        left, top, right, bottom = (round(SCALE * side) for side in one["bbox"])
        inside[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = True
        colour = palette({"classes": detection.classes})[one["bbox_label"]]
        corner = min(bottom, READABLE) - 1, min(right, READABLE) - 1
        assert is_like(truth[corner], 0.6 * np.array(colour) + 0.4 * plain[corner], 40)
    # The names of small objects stick out to the right.
    assert changed.any()
    assert (changed & ~inside).mean() < 0.02


def test_classes_are_laid_over_the_picture(tmp_path: Path) -> None:
    task = SegmentationTask(
        DATA,
        "fcn_tiny",
        data_root=str(tmp_path),
        pretrained="random",
        image_size=[64, 64],
        schedule="small",
    )
    said = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    said[0, :, SIDE // 2 :] = 7
    model = Fixed(pred_sem_seg=PixelData(data=said))
    written = task.draw(model, Drawing(tmp_path / "pictures", "val"), CPU)
    assert len(written) == 2
    dataset = task.split("val")
    shades = [np.array(colour) for colour in palette(dataset.metainfo)]
    for number, path in enumerate(written):
        info = dataset.get_data_info(number)
        original = np.asarray(Image.open(info["img_path"]).convert("RGB").resize((READABLE,) * 2))
        labels = np.asarray(Image.open(info["seg_map_path"]))
        truth, drawn = panels(path)
        for row, column in ((40, 20), (40, 70), (90, 5), (5, 90)):
            at = row * SCALE + SCALE // 2, column * SCALE + SCALE // 2
            predicted = 0.6 * shades[7 if column >= SIDE // 2 else 0] + 0.4 * original[at]
            assert is_like(drawn[at], predicted, 16)
            assert is_like(truth[at], 0.6 * shades[labels[row, column]] + 0.4 * original[at], 16)


def test_labels_keep_their_edges_when_they_are_enlarged() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:5, 3:] = 9
    classes = {"classes": "abcdefghij"}
    drawn = np.asarray(overlay(np.zeros((8, 8, 3), np.uint8), labels, classes))
    assert drawn.shape == (READABLE, READABLE, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2


def test_wrong_classes_are_framed_in_red() -> None:
    images = torch.rand(7, 1, 8, 8)
    logits = torch.eye(10)[:7] * 9
    labels = torch.arange(7)
    labels[4] = 9
    picture = np.asarray(sheet("", images, labels, logits, "abcdefghij"))
    frames = [
        picture[STRIP + 10 + n // 6 * (CELL + 2 * STRIP), n % 6 * (CELL + GAP)] for n in range(7)
    ]
    red = [int(frame[0]) > int(frame[1]) for frame in frames]
    assert red == [False] * 4 + [True] + [False] * 2
    middle = picture[STRIP + CELL // 2 + 2, CELL // 2 + 2]
    assert is_like(middle, 255 * images[0, 0, 4, 4].expand(3), 1)


def test_a_sheet_shows_images_as_they_are_stored(tmp_path: Path) -> None:
    """Whatever normalisation the network gets."""
    pictures = []
    for normalise in ({}, {"normalise": {"mean": [0.1], "std": [3.0]}}):
        task = ClassificationTask("digits", "cifar_resnet8", augment=normalise)
        torch.manual_seed(0)
        (path,) = task.draw(task.build_model(), Drawing(tmp_path, "val", 1), CPU)
        pictures.append(np.asarray(Image.open(path))[STRIP:][:CELL, :CELL])
    inner = [picture[8:-8, 8:-8] for picture in pictures]
    assert np.array_equal(*inner)
    assert inner[0].max() > 200


def test_small_pictures_grow_and_large_ones_stay() -> None:
    assert readable_size(96, 48) == (READABLE, READABLE // 2)
    assert readable_size(2048, 1024) == (2048, 1024)
    assert spread(10, 3) == [0, 4, 9]
    assert spread(3, 10) == [0, 1, 2]


def test_captions_and_colours_take_strips_of_their_own() -> None:
    panel = Image.new("RGB", (200, 100), "blue")
    plain = side_by_side("a title", [("left", panel), ("right" * 40, panel)])
    assert plain.size == (400 + GAP, 100 + 2 * STRIP)
    pixels = np.asarray(plain)
    assert (pixels[2 * STRIP :, :200] == (0, 0, 255)).all()
    assert (pixels[2 * STRIP :, 200 : 200 + GAP] == 255).all()
    named = side_by_side("", [("", panel)], {f"class {n}": (n, 200, 0) for n in range(5)})
    assert named.height > 100 + 2 * STRIP
    swatches = np.asarray(named)[100 + 2 * STRIP :].reshape(-1, 3)
    assert {tuple(p) for p in swatches} >= {(n, 200, 0) for n in range(5)}


def test_colours_of_classes_differ() -> None:
    many = palette({"classes": range(80)})
    assert len(set(many)) == 80
    apart = np.abs(np.array(many[:12])[:, None] - np.array(many[:12])).sum(2)
    assert apart[~np.eye(12, dtype=bool)].min() > 60
    own = [(1, 2, 3), (4, 5, 6)]
    assert palette({"classes": "ab", "palette": own}) == own
    assert palette({"classes": "a", "palette": own}) == palette({"classes": "a"})
