"""Pictures as people have them: read as their 8-bit twins, or refused by name, in every family."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from picture_data import (
    FAMILIES,
    HEIGHT,
    WIDTH,
    check_data,
    checked,
    mask_path,
    noise,
    picture_path,
    saving,
    seen,
    task_of,
    write_annotations,
    write_data,
    write_mask,
)
from PIL import Image

from benchmarks.engine.run import warnings_as_notes
from tasks.errors import UserError
from tasks.files.decoding import rgb
from tasks.files.listing import warn_once
from tasks.openmmlab.pictures import bgr

GREY, COLOUR = noise(5, 1)[..., 0], noise(6)
family = pytest.mark.parametrize("family", FAMILIES)


def encoded(kind: str, pixels: np.ndarray) -> Callable[[Path], object]:
    """OpenCV's file of BGR pixels, of 16 bits where the pixels are."""
    return lambda path: path.write_bytes(cv2.imencode(kind, pixels)[1].tobytes())


def deep(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * 257


def palette_with_transparency(path: Path) -> None:
    _PALETTE.save(path, format="PNG", transparency=bytes(range(0, 256, 16)))


def decoded(save: Callable[[Any], object]) -> Image.Image:
    file = BytesIO()
    save(file)
    return Image.open(file).convert("RGB")


_PALETTE = Image.fromarray(COLOUR).quantize(16)
_ALPHA = Image.fromarray(GREY)
READ: dict[str, tuple[Any, Any]] = {
    "16-bit grey PNG": (encoded(".png", deep(GREY)), Image.fromarray(GREY)),
    "16-bit RGB PNG": (encoded(".png", deep(COLOUR[..., ::-1])), Image.fromarray(COLOUR)),
    "16-bit RGBA PNG": (
        encoded(".png", deep(np.dstack([COLOUR[..., ::-1], GREY]))),
        Image.fromarray(COLOUR),
    ),
    "16-bit grey TIFF": (encoded(".tif", deep(GREY)), Image.fromarray(GREY)),
    "16-bit RGB TIFF": (encoded(".tif", deep(COLOUR[..., ::-1])), Image.fromarray(COLOUR)),
    "16-bit grey PGM": (encoded(".pgm", deep(GREY)), Image.fromarray(GREY)),
    "palette": (_PALETTE, _PALETTE.convert("RGB")),
    "palette with transparency": (palette_with_transparency, _PALETTE.convert("RGB")),
    "1-bit PNG": (Image.fromarray(GREY > 99), Image.fromarray((GREY > 99).astype(np.uint8) * 255)),
    "1-bit TIFF": (
        saving(Image.fromarray(GREY > 99), "TIFF"),
        Image.fromarray((GREY > 99).astype(np.uint8) * 255),
    ),
    "LA": (Image.merge("LA", (Image.fromarray(GREY), _ALPHA)), Image.fromarray(GREY)),
    "RGBA": (
        Image.merge("RGBA", (*Image.fromarray(COLOUR).split(), _ALPHA)),
        Image.fromarray(COLOUR),
    ),
    "CMYK TIFF": (
        saving(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"),
        Image.fromarray(COLOUR).convert("CMYK").convert("RGB"),
    ),
    "CMYK JPEG": (  # which OpenCV rounds otherwise
        saving(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        decoded(saving(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")),
    ),
    "BMP": (saving(Image.fromarray(COLOUR), "BMP"), Image.fromarray(COLOUR)),
    "WebP": (saving(Image.fromarray(COLOUR), "WEBP", lossless=True), Image.fromarray(COLOUR)),
}


@family
def test_pictures_of_any_depth_and_mode_are_read_as_in_8_bits(family: str, tmp_path: Path) -> None:
    odd = write_data(family, tmp_path / "odd", [given for given, _ in READ.values()])
    plain = write_data(family, tmp_path / "plain", [same for _, same in READ.values()])
    pairs = list(zip(seen(family, odd), seen(family, plain), strict=True))
    if family == "classification":  # classes come one after the other
        numbers = [*range(0, len(READ), 2), *range(1, len(READ), 2)]
    else:
        numbers = list(range(len(READ)))
    assert len(pairs) == len(READ)
    for number, (one, other) in zip(numbers, pairs, strict=True):
        assert torch.equal(one, other), list(READ)[number]
        assert one.float().std() > 0.1, list(READ)[number]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        Image.fromarray(COLOUR).save(path, format=kind)
        path.write_bytes(path.read_bytes()[:-400])

    return write


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone.png"))


REFUSED: dict[str, tuple[Any, str]] = {
    "float TIFF": (encoded(".tif", GREY.astype(np.float32) / 255), "mode F, whose range of values"),
    "float RGB TIFF": (encoded(".tif", COLOUR.astype(np.float32)), "cannot be read as a picture"),
    "32-bit TIFF": (saving(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "mode I, whose range"),
    "LAB TIFF": (saving(Image.fromarray(COLOUR).convert("LAB"), "TIFF"), "mode LAB"),
    "8 bits stored as 16": (encoded(".png", GREY.astype(np.uint16)), "no value above 255 of 65535"),
    "several frames": (
        saving(_ALPHA, "TIFF", save_all=True, append_images=[_ALPHA]),
        "holds 2 frames",
    ),
    "empty": (empty, "is empty"),
    "cut PNG": (cut("PNG"), "cannot be read as a picture"),
    "cut JPEG": (cut("JPEG"), r"cannot be read as a picture \(image file is truncated"),
    "cut TIFF": (cut("TIFF"), "cannot be read as a picture"),
    "text": (lambda path: path.write_text("nothing to see"), "it is of no known format"),
    "link to nothing": (dangling, "is a link to nothing"),
    "pipe": (os.mkfifo, "is not a file"),
}


@family
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused_by_name_before_training(
    family: str, kind: str, tmp_path: Path
) -> None:
    written, message = REFUSED[kind]
    root = write_data(family, tmp_path)
    picture_path(family, root, "train", 1).unlink()
    written(picture_path(family, root, "train", 1))
    with pytest.raises(UserError, match=rf"p01\S*\.png .*{message}") as caught:
        check_data(family, root)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


@family
def test_unreadable_files_are_refused_by_name(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data(family, tmp_path)
    real = Path.read_bytes

    def denied(path: Path) -> bytes:  # root may read anything
        if path == picture_path(family, root, "train", 1):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError, match=r"p01\S*\.png cannot be read \(Permission denied\)"):
        check_data(family, root)


_METHODS = Image.Transpose
TURNS = {
    2: (_METHODS.FLIP_LEFT_RIGHT, _METHODS.FLIP_LEFT_RIGHT),
    3: (_METHODS.ROTATE_180, _METHODS.ROTATE_180),
    4: (_METHODS.FLIP_TOP_BOTTOM, _METHODS.FLIP_TOP_BOTTOM),
    5: (_METHODS.TRANSPOSE, _METHODS.TRANSPOSE),
    6: (_METHODS.ROTATE_90, _METHODS.ROTATE_270),
    7: (_METHODS.TRANSVERSE, _METHODS.TRANSVERSE),
    8: (_METHODS.ROTATE_270, _METHODS.ROTATE_90),
}
"""By Exif orientation what a camera does to a picture, and what shows it upright again."""


@family
def test_exif_orientation_is_applied(family: str, tmp_path: Path) -> None:
    turned, upright = [], []
    for kind, (orientation, (turn, back)) in product(("JPEG", "PNG", "TIFF"), TURNS.items()):
        stored = Image.fromarray(noise(orientation)).transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.append(saving(stored, kind, exif=exif))
        file = BytesIO()
        stored.save(file, format=kind)
        upright.append(Image.open(file).convert("RGB").transpose(back))
    some = seen(family, write_data(family, tmp_path / "turned", turned))
    others = seen(family, write_data(family, tmp_path / "upright", upright))
    assert len(some) == len(turned)
    assert all(map(torch.equal, some, others))


def test_annotations_of_a_picture_as_stored_do_not_fit_the_turned_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saving(Image.new("RGB", (HEIGHT, WIDTH)), "JPEG", exif=exif)
    for family in FAMILIES[1:]:
        write_data(family, tmp_path / family, [turned])
        check_data(family, tmp_path / family)
    write_annotations(tmp_path / "detection", "val", 2, (HEIGHT, WIDTH))
    with pytest.raises(
        UserError, match=r"p00.png has 64x48 pixels as its Exif orientation has it, but .* 48x64"
    ):
        check_data("detection", tmp_path / "detection")
    write_mask(mask_path(tmp_path / "segmentation"), (HEIGHT, WIDTH))
    with pytest.raises(UserError, match=r"p00_gt\S* has 48x64 pixels and its picture 64x48"):
        check_data("segmentation", tmp_path / "segmentation")


def test_masks_that_would_be_read_otherwise_are_refused(tmp_path: Path) -> None:
    root = write_data("segmentation", tmp_path)
    labels = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3
    labels.save(mask_path(root), exif=exif)
    with pytest.raises(UserError, match=r"p00_gt\S* has an Exif orientation"):
        check_data("segmentation", root)
    two_bits = bytearray(cv2.imencode(".png", np.zeros((HEIGHT, WIDTH), np.uint8))[1].tobytes())
    two_bits[24] = 2
    mask_path(root).write_bytes(_with_header_checksum(two_bits))
    with pytest.raises(UserError, match=r"p00_gt\S* .* masks have one channel of 8 bits"):
        check_data("segmentation", root)


def _with_header_checksum(png: bytearray) -> bytes:
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


@family
def test_names_in_upper_case_and_links_are_data_and_hidden_files_are_not(
    family: str, tmp_path: Path
) -> None:
    plain = write_data(family, tmp_path / "plain", count=4)
    root = write_data(family, tmp_path / "odd", count=4)
    for split in ("train", "val"):
        folder = picture_path(family, root, split).parent
        elsewhere = tmp_path / f"elsewhere-{split}"
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
        linked = picture_path(family, root, split, 2)
        linked.rename(tmp_path / f"{split}-2")
        linked.symlink_to(tmp_path / f"{split}-2")
        for junk in (".DS_Store", "._p00_leftImg8bit.png", "._p00.png", "Thumbs.db"):
            (folder / junk).write_bytes(b"junk")
        for junk in (".ipynb_checkpoints", "__MACOSX"):
            (folder / junk).mkdir()
            (folder / junk / "p09_leftImg8bit.png").write_bytes(b"junk")
        if family == "classification":
            (folder.parent / ".ipynb_checkpoints").mkdir()
        if family != "detection":  # whose annotations name the files
            path = picture_path(family, root, split, 1)
            path.rename(path.with_suffix(".PNG"))
    assert all(map(torch.equal, seen(family, root), seen(family, plain)))
    assert checked(family, root)["images"] == checked(family, plain)["images"]


@pytest.mark.parametrize("family", ["classification", "segmentation"])
def test_folders_that_contain_themselves_are_refused(family: str, tmp_path: Path) -> None:
    root = write_data(family, tmp_path)
    folder = picture_path(family, root).parent
    (folder / "again").symlink_to(folder)
    with pytest.raises(UserError, match="again links to a folder that contains it"):
        check_data(family, root)
    (folder / "again").unlink()
    (folder / "again").symlink_to(folder / "nowhere")
    with pytest.raises(UserError, match="again is a link to nothing"):
        check_data(family, root)


@family
def test_names_that_are_not_utf_8_are_refused(family: str, tmp_path: Path) -> None:
    root = write_data(family, tmp_path)
    path = picture_path(family, root, "train", 1)
    odd = path.with_name(os.fsdecode(b"p\xff") + path.name)
    path.rename(odd)
    if family == "detection":
        file = root / "annotations/instances_train.json"
        file.write_text(file.read_text().replace("p01.png", r"p\udcffp01.png"))
    with pytest.raises(UserError, match=r"p\\udcffp01\S* is not UTF-8: rename it") as caught:
        check_data(family, root)
    str(caught.value).encode()


@pytest.mark.parametrize("family", ["classification", "segmentation"])
def test_a_folder_that_cannot_be_listed_is_refused(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data(family, tmp_path)
    closed = picture_path(family, root).parent
    real = os.scandir

    def denied(path: Any) -> Any:  # root may list anything
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"/a cannot be listed \(Permission denied\)"):
        check_data(family, root)


def test_class_folders_hold_pictures_and_are_those_of_train(tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        return write_data("classification", tmp_path / name)

    root = fresh("empty")
    (root / "train/c").mkdir()
    with pytest.raises(UserError, match=r"train/c holds no pictures"):
        check_data("classification", root)
    root = fresh("lacks")
    shutil.rmtree(root / "val/b")
    with pytest.raises(UserError, match=r"val lacks the class b, which train/ has"):
        check_data("classification", root)
    root = fresh("beside")
    shutil.copy(root / "val/a/p00.png", root / "val/stray.PNG")
    with pytest.raises(UserError, match=r"val/stray.PNG lies in none of the folders"):
        check_data("classification", root)
    root = fresh("gif")
    Image.fromarray(GREY).save(root / "val/a/p09.gif")
    with pytest.raises(UserError, match=r"p09.gif is of a format that is not read"):
        check_data("classification", root)


@pytest.mark.parametrize("family", ["classification", "segmentation"])
def test_other_files_are_left_out_with_a_warning(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_data(family, tmp_path)
    (picture_path(family, root).parent / "notes.txt").write_text("a note")
    check_data(family, root)
    assert "1 of " in caplog.text
    assert "notes.txt" in caplog.text


@family
def test_a_picture_of_two_splits_is_told(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_data(family, tmp_path, count=4)
    task_of(family, root).check()
    assert "too" not in caplog.text
    shutil.copy(picture_path(family, root, "train", 1), picture_path(family, root, "val", 1))
    task_of(family, root).check()
    assert " pictures of the " in caplog.text
    assert caplog.text.count("p01") >= 2


def test_opencv_reads_upright_jpegs_as_pillow_does(tmp_path: Path) -> None:
    for quality, pixels in ((60, COLOUR), (95, GREY)):
        path = tmp_path / f"{quality}.jpg"
        Image.fromarray(pixels).save(path, quality=quality)
        assert np.array_equal(bgr(path)[..., ::-1], np.asarray(rgb(path)))


def test_what_a_task_warns_of_becomes_notes_of_the_run(tmp_path: Path) -> None:
    root = write_data("classification", tmp_path)
    (root / "train/a/notes.txt").write_text("a note")
    events: list[dict[str, Any]] = []
    with warnings_as_notes(events.append):
        task_of("classification", root).check()
    (event,) = events
    assert event["event"] == "note"
    assert "notes.txt" in event["text"]
    warn_once("after the run was built")
    assert len(events) == 1
