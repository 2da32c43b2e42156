"""Naming the data of a detection or segmentation task: a folder, or the scenes of digits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.base import TASKS
from tasks.errors import UserError
from tasks.openmmlab.datasets import dataset_options
from tasks.openmmlab.scenes import DIGITS

SMALL = {"name": "digit_scenes", "train": 3, "val": 2, "test": 1, "size": 64}


def test_a_folder_lies_under_the_data_root_or_where_its_path_says(tmp_path):
    assert dataset_options("bccd", tmp_path, "mmdet") == ("bccd", {"path": tmp_path / "bccd"})
    other = {"name": "cells", "path": str(tmp_path / "x"), "label": "blood", "classes": ["a"]}
    expected = {"path": tmp_path / "x", "classes": ["a"]}
    assert dataset_options(other, tmp_path, "mmdet") == ("blood", expected)


def test_scenes_are_made_once_where_they_are_named(tmp_path):
    shown, options = dataset_options(SMALL, tmp_path, "mmdet")
    assert shown == "digit_scenes(train=3, val=2, test=1, size=64)"
    files = {path: path.stat().st_mtime_ns for path in options["path"].rglob("*.*")}
    assert len(list(options["path"].rglob("*_leftImg8bit.png"))) == 6
    assert dataset_options({**SMALL, "label": "mine"}, tmp_path, "mmdet") == ("mine", options)
    assert files == {path: path.stat().st_mtime_ns for path in options["path"].rglob("*.*")}
    assert dataset_options({**SMALL, "seed": 1}, tmp_path, "mmdet")[1]["path"] != options["path"]


def test_a_folder_of_that_name_can_still_be_given(tmp_path):
    told = {"name": "digit_scenes", "path": str(tmp_path / "mine")}
    assert dataset_options(told, tmp_path, "mmdet")[1] == {"path": tmp_path / "mine"}
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"trian": 3}, "did you mean 'train'"),
        ({"train": "many"}, "train of digit_scenes must be a whole number, not many"),
        ({"seed": True}, "seed of digit_scenes must be a whole number"),
        ({"val": 0}, "at least 1 picture for val"),
        ({"size": 8}, "48 pixels or more"),
    ],
)
def test_mistakes_are_told(tmp_path, option, told):
    with pytest.raises(UserError, match=told):
        dataset_options({**SMALL, **option}, tmp_path, "mmdet")


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*file"):
        dataset_options(SMALL, tmp_path / "file", "mmdet")


def test_detection_learns_the_digits_that_the_pixels_show(tmp_path):
    factory, _ = TASKS.find("detection")
    task = factory(SMALL, "retinanet_tiny", str(tmp_path), "random", image_size=[64, 64])
    task.check()
    assert task.classes == DIGITS
    assert task.train_samples() == 3
    (batch,) = list(task.batches(3, 0, torch.device("cpu")).epoch(0))
    (file,) = tmp_path.rglob("instances_train.json")
    wanted = [0] * 10
    for annotation in json.loads(file.read_text())["annotations"]:
        wanted[annotation["category_id"] - 1] += 1
    labels = torch.cat([sample.gt_instances.labels for sample in batch["data_samples"]])
    assert labels.bincount(minlength=10).tolist() == wanted


def test_segmentation_learns_the_ground_as_well(tmp_path):
    factory, _ = TASKS.find("segmentation")
    task = factory(SMALL, "fcn_tiny", str(tmp_path), "random", image_size=[64, 64])
    task.check()
    assert task.classes == ("ground", *DIGITS)
    (batch,) = list(task.eval_batches("test", torch.device("cpu")))
    (file,) = tmp_path.rglob("test/**/*_gtFine_labelTrainIds.png")
    (sample,) = batch["data_samples"]
    assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), np.asarray(Image.open(file)))
