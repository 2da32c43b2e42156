from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.datasets import load_digits

from tasks.detection.coco import check_coco
from tasks.errors import UserError
from tasks.openmmlab.png import write_png
from tasks.openmmlab.scenes import (
    DIGITS,
    GROUND_AND_DIGITS,
    digit_scenes,
    draw_scene,
    make_digit_scenes,
    run_lengths,
)
from tasks.segmentation.cityscapes import check_cityscapes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL: dict[str, Any] = {"train": 6, "val": 4, "test": 5, "size": 72}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digit_scenes(tmp_path_factory.mktemp("scenes"), **SMALL, seed=1)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_both_layouts_pass_their_checks(folder: Path) -> None:
    coco = check_coco(folder, masks=True)
    assert {name: split.images for name, split in coco.items()} == {
        name: SMALL[name] for name in ("train", "val", "test")
    }
    assert coco["train"].classes == DIGITS
    maps = check_cityscapes(folder, classes=GROUND_AND_DIGITS)
    assert {name: split.images for name, split in maps.items()} == {
        name: split.images for name, split in coco.items()
    }
    assert all(0 in split.labels for split in maps.values())


def test_the_seed_decides_every_byte(folder: Path, tmp_path: Path) -> None:
    make_digit_scenes(tmp_path / "again", **SMALL, seed=1)
    assert content(tmp_path / "again") == content(folder)
    make_digit_scenes(tmp_path / "other", **SMALL, seed=2)
    other = content(tmp_path / "other")
    assert other.keys() == content(folder).keys()
    assert not any(other[name] == data for name, data in content(folder).items())


def test_boxes_masks_and_label_maps_agree_by_pycocotools(folder: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    mask_tools = pytest.importorskip("pycocotools.mask")
    for split in ("train", "val", "test"):
        read = coco.COCO(str(folder / "annotations" / f"instances_{split}.json"))
        for image in read.imgs.values():
            picture = folder / image["file_name"]
            name = image["file_name"].replace("leftImg8bit/", "gtFine/", 1)
            with Image.open(
                folder / name.replace("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
            ) as stored:
                labels = np.asarray(stored)
            painted = np.zeros_like(labels)
            found = read.loadAnns(read.getAnnIds(image["id"]))
            assert 1 <= len(found) <= 5
            for each in found:
                mask = read.annToMask(each).astype(bool)
                assert each["bbox"] == mask_tools.toBbox(read.annToRLE(each)).tolist()
                assert each["area"] == mask.sum() > 0
                assert not painted[mask].any()
                painted[mask] = each["category_id"]
            assert np.array_equal(painted, labels)
            with Image.open(picture) as pixels:
                assert pixels.size == (72, 72)


def test_splits_share_no_digit_and_together_use_all_classes() -> None:
    used = {
        split: {source for n in range(60) for source in draw_scene(split, n, 96, 0).sources}
        for split in ("train", "val", "test")
    }
    assert not used["train"] & used["val"]
    assert not (used["train"] | used["val"]) & used["test"]
    for sources in used.values():
        assert set(load_digits().target[list(sources)]) == set(range(10))


def test_objects_are_their_digits_and_stand_out() -> None:
    raw = load_digits()
    for number in range(20):
        scene = draw_scene("train", number, 96, 3)
        ground = scene.image[scene.labels() == 0].mean()
        for mask, source, digit, (x, y, width, height) in zip(
            scene.masks, scene.sources, scene.digits, scene.boxes(), strict=True
        ):
            assert raw.target[source] == digit
            inside = np.zeros_like(mask)
            inside[y : y + height, x : x + width] = True
            assert not (mask & ~inside).any()
            assert 8 <= height <= 32
            assert scene.image[mask].mean() > ground + 40
            ink = np.argwhere(raw.images[source] >= 7)
            rows, columns = ink.max(0) - ink.min(0) + 1
            assert height / width == pytest.approx(rows / columns, rel=0.45)


def test_a_scene_does_not_depend_on_how_many_there_are(folder: Path) -> None:
    with Image.open(folder / "leftImg8bit/val/digits/digits_00003_leftImg8bit.png") as stored:
        assert np.array_equal(np.asarray(stored), draw_scene("val", 2, 72, 1).image)


def test_a_cached_folder_is_kept(folder: Path) -> None:
    mark = folder / "mark"
    mark.touch()
    assert digit_scenes(folder.parent, **SMALL, seed=1) == folder
    assert mark.exists()
    mark.unlink()
    assert digit_scenes(folder.parent, **(SMALL | {"size": 73}), seed=1) != folder


def test_two_may_make_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: digit_scenes(tmp_path, 2, 1, 1), range(4)))
    assert {path.name for path in tmp_path.iterdir()} == {made[0].name}
    assert check_coco(made[0])["train"].images == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 40}, "48 pixels or more: 40"), ({"val": 0}, "at least 1 picture for val, not 0")],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        digit_scenes(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=60, deadline=None)
def test_run_lengths_are_cocos(mask: np.ndarray) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    encoded = json.loads(json.dumps(run_lengths(mask)))
    decoded = mask_tools.decode(mask_tools.frPyObjects(encoded, *mask.shape))
    assert np.array_equal(decoded.astype(bool), mask)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7, 3), (200, 150, 3), (255, 256)])
def test_png_files_hold_their_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a/b.png", pixels)
    with Image.open(tmp_path / "a/b.png") as stored:
        stored.load()
        assert np.array_equal(np.asarray(stored), pixels)
