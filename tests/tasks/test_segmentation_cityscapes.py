from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image
from shared_data import shared_data

from tasks.errors import UserError
from tasks.segmentation.cityscapes import (
    CITYSCAPES,
    check_cityscapes,
    check_labels,
)

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write pictures of 16x12 pixels in two cities, with masks of labels 0, 3 and void."""

    def write(
        splits: tuple[str, ...] = ("train", "val"),
        images: str = "_leftImg8bit.png",
        masks: str = "_gtFine_labelTrainIds.png",
        label: int = 3,
    ) -> Path:
        for split in splits:
            for city, number in (("ulm", 0), ("ulm", 1), ("jena", 0)):
                stem = f"{split}/{city}/{city}_{number}"
                save(tmp_path / "leftImg8bit" / f"{stem}{images}", np.zeros((12, 16, 3), np.uint8))
                labels = np.zeros((12, 16), np.uint8)
                labels[4:8], labels[8:] = label, 255
                save(tmp_path / "gtFine" / f"{stem}{masks}", labels)
        return tmp_path

    return write


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def mask_of(root: Path, split: str = "train") -> Path:
    return root / f"gtFine/{split}/ulm/ulm_1_gtFine_labelTrainIds.png"


def test_splits_are_found_and_summed_up(make: Make) -> None:
    found = check_cityscapes(make())
    assert list(found) == ["train", "val"]
    assert found["train"].images == 3
    assert found["train"].labels == {0, 3}


def test_a_labelled_test_split_counts_and_a_void_one_does_not(make: Make) -> None:
    root = make(("train", "val", "test"))
    assert list(check_cityscapes(root)) == ["train", "val", "test"]
    for path in (root / "gtFine/test").rglob("*.png"):
        save(path, np.full((12, 16), 255, np.uint8))
    assert list(check_cityscapes(root)) == ["train", "val"]
    for path in (root / "gtFine/test").rglob("*.png"):
        path.rename(path.with_name(path.name.replace("TrainIds", "Ids")))
    assert list(check_cityscapes(root)) == ["train", "val"]


def test_other_sets_name_classes_and_suffixes(make: Make) -> None:
    root = make(images=".png", masks="_labels.png", label=1)
    options: dict[str, Any] = {"image_suffix": ".png", "mask_suffix": "_labels.png"}
    found = check_cityscapes(root, classes=["ground", "crop"], **options)
    assert found["val"].labels == {0, 1}
    with pytest.raises(UserError, match=r"holds no pictures .*_leftImg8bit.png: .* image_suffix"):
        check_cityscapes(root)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["road"], "2 to 255 classes, not 1"), (["a", "b", "a"], "has a twice")],
)
def test_classes_that_cannot_be_labels_are_refused(make: Make, classes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_cityscapes(make(), classes=classes)


def test_absent_folders_are_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        check_cityscapes(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"leftImg8bit.train is not a folder"):
        check_cityscapes(tmp_path)
    with pytest.raises(UserError, match=r"leftImg8bit.val is not a folder"):
        check_cityscapes(make(("train",)))


def test_a_picture_without_its_mask_is_named(make: Make) -> None:
    root = make()
    mask_of(root).unlink()
    with pytest.raises(UserError, match=r"ulm_1_leftImg8bit.png has no mask .* 1 of 3 pictures"):
        check_cityscapes(root)


def test_raw_label_ids_are_told_apart(make: Make) -> None:
    with pytest.raises(UserError, match=r"has .*_labelIds.png .*run csCreateTrainIdLabelImgs"):
        check_cityscapes(make(masks="_gtFine_labelIds.png"))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((12, 17), np.uint8), "ulm_1.* has 17x12 pixels and its picture 16x12"),
        (np.full((12, 16), 19, np.uint8), "ulm_1.* has the label 19, but there are 19 classes"),
        (np.zeros((12, 16, 3), np.uint8), "ulm_1.* is a picture of mode RGB"),
        (np.zeros((12, 16), np.uint16), "ulm_1.* is a picture of mode I;16"),
    ],
)
def test_masks_that_cannot_be_labels_are_named(
    make: Make, pixels: np.ndarray, message: str
) -> None:
    root = make()
    save(mask_of(root, "val"), pixels)
    with pytest.raises(UserError, match=message) as caught:
        check_cityscapes(root)
    assert "\n" not in str(caught.value)


def grey_of(bits: int, width: int, height: int) -> bytes:
    """A grey PNG whose pixels are all 1."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    row = int("".join(f"{1:0{bits}b}" for _ in range(width)), 2).to_bytes(width * bits // 8, "big")
    pixels = compress((b"\0" + row) * height)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return begin + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_grey_of_few_bits_is_scaled_by_readers_and_refused(make: Make, bits: int) -> None:
    root = make()
    mask_of(root).write_bytes(grey_of(bits, 16, 12))
    if bits == 8:
        assert check_cityscapes(root)["train"].labels == {0, 1, 3}
        return
    with pytest.raises(UserError, match=r"ulm_1.* less than 8 bits"):
        check_cityscapes(root)


def test_masks_that_were_compressed_with_loss_are_refused(make: Make) -> None:
    root = make(images=".png", masks="_labels.jpg")
    with pytest.raises(UserError, match=r"_labels.jpg is a JPEG file"):
        check_cityscapes(root, image_suffix=".png", mask_suffix="_labels.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "jpeg"}, "TIFF file that is compressed with loss"),
        ({"tiffinfo": {262: 0}}, "or inverted ones"),
        ({"compression": "tiff_lzw"}, None),
    ],
)
def test_tiff_masks_keep_their_labels_or_are_refused(
    make: Make, options: dict[str, Any], message: str | None
) -> None:
    root = make()
    mask = Image.fromarray(np.full((12, 16), 7, np.uint8))
    mask.save(mask_of(root), format="TIFF", **options)
    if message is None:
        assert check_cityscapes(root)["train"].labels == {0, 3, 7}
        return
    with pytest.raises(UserError, match=rf"ulm_1.* {message}"):
        check_cityscapes(root)


@pytest.mark.parametrize("kind", ["P2", "P5"])
@pytest.mark.parametrize("largest", [18, 255])
def test_grey_maps_of_another_maximum_are_scaled_by_readers_and_refused(
    make: Make, kind: str, largest: int
) -> None:
    root = make()
    pixels = b"7 " * 192 if kind == "P2" else bytes([7]) * 192
    mask_of(root).write_bytes(f"{kind} 16 12 {largest}\n".encode() + pixels)
    if largest == 255:
        assert check_cityscapes(root)["train"].labels == {0, 3, 7}
        return
    with pytest.raises(UserError, match=r"ulm_1.* less than 8 bits"):
        check_cityscapes(root)


@pytest.mark.parametrize("size", [(12, 16), (16, 12)])
def test_a_mask_has_the_size_of_its_picture_as_it_is_seen(
    make: Make, size: tuple[int, int]
) -> None:
    """Pictures are turned as the camera noted when they are loaded, masks are not."""
    root = make()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = root / "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png"
    Image.new("RGB", (16, 12)).save(picture, exif=exif)
    save(mask_of(root), np.zeros(size[::-1], np.uint8))
    if size == (12, 16):
        assert check_cityscapes(root)["train"].images == 3
    else:
        with pytest.raises(UserError, match=r"ulm_1.* has 16x12 pixels and its picture 12x16"):
            check_cityscapes(root)


def test_damaged_masks_are_named(make: Make) -> None:
    root = make()
    content = mask_of(root).read_bytes()
    mask_of(root).write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"ulm_1.* cannot be read as a picture"):
        check_cityscapes(root)


def test_void_alone_cannot_be_learned(make: Make) -> None:
    root = make()
    for path in (root / "gtFine/val").rglob("*.png"):
        save(path, np.full((12, 16), 255, np.uint8))
    with pytest.raises(UserError, match=r"gtFine.val label no pixel"):
        check_cityscapes(root)


def test_palette_masks_hold_their_indices(make: Make) -> None:
    root = make()
    with Image.open(mask_of(root)) as mask:
        painted = mask.convert("L")
    painted.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    painted.save(mask_of(root))
    with Image.open(mask_of(root)) as mask:
        assert mask.mode == "P"
    assert check_cityscapes(root)["train"].labels == {0, 3}


def test_the_digest_follows_masks_and_pictures(make: Make) -> None:
    root = make()
    first = check_cityscapes(root)["train"].digest
    assert check_cityscapes(root)["train"].digest == first
    save(mask_of(root), np.full((12, 16), 1, np.uint8))
    second = check_cityscapes(root)["train"].digest
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    save(root / "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png", noise)
    assert len({first, second, check_cityscapes(root)["train"].digest}) == 3


def test_labels_are_checked_when_loaded() -> None:
    labels = np.array([[0, 18], [255, 3]], np.uint8)
    check_labels(labels, "a.png", 19)
    with pytest.raises(UserError, match=r"a.png has the label 3, but there are 3 classes"):
        check_labels(labels, "a.png", 3)


@pytest.mark.slow
def test_classes_and_colours_are_mmsegmentations() -> None:
    pytest.importorskip("mmseg")
    from tasks.openmmlab.ops import install

    install()
    from mmseg.datasets import CityscapesDataset

    assert tuple(CITYSCAPES) == CityscapesDataset.METAINFO["classes"]
    assert [list(colour) for colour in CITYSCAPES.values()] == CityscapesDataset.METAINFO["palette"]


def test_real_data_passes() -> None:
    found = check_cityscapes(shared_data("camvid_cityscapes"))
    assert [split.images for split in found.values()] == [48, 24]
    assert found["train"].labels == {0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13}
