"""Single test images are those of the batches, whatever task they are of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tasks.base import Task
from tasks.classification.task import ClassificationTask
from tasks.detection.task import DetectionTask

CPU = torch.device("cpu")


class Listed(ClassificationTask):
    """A task that only has the contract's own ways."""

    eval_size, eval_images = Task.eval_size, Task.eval_images


@pytest.mark.parametrize("kind", [ClassificationTask, Listed])
def test_images_of_a_classifier(kind: type[ClassificationTask]) -> None:
    task = kind(dataset="digits", arch="cifar_resnet8", train_size=50)
    images = torch.cat([batch["inputs"] for batch in task.eval_batches("test", CPU)])
    labels = torch.cat([batch["data_samples"] for batch in task.eval_batches("test", CPU)])
    assert task.eval_size("test", CPU) == len(images)
    found = list(task.eval_images("test", [0, 7, 363], CPU))
    for number, batch in zip([0, 7, 363], found, strict=True):
        assert torch.equal(batch["inputs"], images[number : number + 1])
        assert torch.equal(batch["data_samples"], labels[number : number + 1])


@pytest.mark.parametrize("own", [True, False])
def test_images_of_a_detector(own: bool, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    task = DetectionTask(
        dataset={"name": "digit_scenes", "train": 2, "val": 2, "test": 5, "size": 48},
        arch="retinanet_tiny",
        pretrained="random",
        image_size=[48, 48],
        eval_batch_size=2,
    )

    def ids(batches: Any) -> list[Any]:
        return [sample.img_id for batch in batches for sample in batch["data_samples"]]

    every = ids(task.eval_batches("test", CPU))
    size, images = (
        (task.eval_size, task.eval_images)
        if own
        else (Task.eval_size.__get__(task), Task.eval_images.__get__(task))
    )
    assert size("test", CPU) == len(every) == 5
    found = list(images("test", [1, 4], CPU))
    assert [len(batch["inputs"]) for batch in found] == [1, 1]
    assert ids(found) == [every[1], every[4]]
