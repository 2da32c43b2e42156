"""Average precision under two conventions, and of detectors that give no numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.base import Score, as_score
from tasks.detection.metrics import average_precision
from tasks.detection.task import DetectionTask

CPU = torch.device("cpu")
NAN = float("nan")
IMAGES, CLASSES, DETECTIONS = 3, 2, 300


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes of every size, in three images of 400 pixels."""
    random = np.random.default_rng(0)
    annotations = []
    for image in range(1, IMAGES + 1):
        for number in range(24):
            side = float((12, 50, 150)[number % 3] * random.uniform(0.8, 1.2))
            x, y = random.uniform(0, 400 - side, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": number % CLASSES + 1,
                    "bbox": [float(x), float(y), side, side],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
    file = tmp_path_factory.mktemp("truth") / "annotations.json"
    file.write_text(
        json.dumps(
            {
                "images": [
                    {"id": n, "file_name": f"{n}.png", "width": 400, "height": 400}
                    for n in range(1, IMAGES + 1)
                ],
                "annotations": annotations,
                "categories": [{"id": n, "name": f"c{n}"} for n in range(1, CLASSES + 1)],
            }
        )
    )
    return file


def guesses(file: Path) -> list[DetDataSample]:
    """More than 100 detections of a class in an image; many of the right ones score low."""
    random = np.random.default_rng(1)
    annotations = json.loads(file.read_text())["annotations"]
    samples = []
    for image in range(1, IMAGES + 1):
        boxes, scores, labels = [], [], []
        for each in annotations:
            if each["image_id"] == image:
                x, y, w, h = each["bbox"]
                shift = random.normal(0, 0.04, 4) * w
                boxes.append(np.array([x, y, x + w, y + h]) + shift)
                scores.append(random.uniform(0, 1))
                labels.append(each["category_id"] - 1)
        for _ in range(DETECTIONS * CLASSES):
            side = random.uniform(10, 150)
            x, y = random.uniform(0, 400 - side, 2)
            boxes.append(np.array([x, y, x + side, y + side]))
            scores.append(random.uniform(0, 0.9))
            labels.append(int(random.integers(CLASSES)))
        samples.append(sample(image, np.array(boxes), scores, labels))
    return samples


def sample(image: int, boxes: Any, scores: Any, labels: Any) -> DetDataSample:
    made = DetDataSample(metainfo={"img_id": image, "ori_shape": (400, 400)})
    made.pred_instances = InstanceData(
        bboxes=torch.as_tensor(np.asarray(boxes, np.float32)).reshape(-1, 4),
        scores=torch.as_tensor(scores, dtype=torch.float32),
        labels=torch.as_tensor(labels, dtype=torch.long),
    )
    return made


def measured(file: Path, samples: list[Any]) -> dict[str, Score]:
    classes = tuple(f"c{n}" for n in range(1, CLASSES + 1))
    found = average_precision(file, {"classes": classes}, [({}, [s]) for s in samples], ["bbox"])
    return {name: as_score(score) for name, score in found.items()}


def plain_coco(file: Path, samples: list[DetDataSample], most: int) -> list[float]:
    """AP, AP50, AP75 and AP by size of pycocotools itself."""
    results = []
    for each in samples:
        found = each.pred_instances
        for box, score, label in zip(found.bboxes, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = box.tolist()
            results.append(
                {
                    "image_id": each.img_id,
                    "category_id": int(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                }
            )
    coco = COCO(str(file))
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.params.maxDets = [1, 100, most]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [100 * float(value) for value in evaluation.stats[:6]]


def test_each_convention_is_what_pycocotools_gives_under_it(truth: Path) -> None:
    samples = guesses(truth)
    found = measured(truth, samples)
    names = ("50", "75", "_small", "_medium", "_large")
    official, wide = (plain_coco(truth, samples, most) for most in (100, 1000))
    assert found["box_ap"].value == pytest.approx(official[0], abs=1e-9)
    for name, narrow, more in zip(names, official[1:], wide[1:], strict=True):
        assert found[f"box_ap{name}@100"].value == pytest.approx(narrow, abs=1e-9)
        assert found[f"box_ap{name}"].value == pytest.approx(more, abs=1e-9)
        assert found[f"box_ap{name}"].note == "maxDets 1000"
        assert found[f"box_ap{name}@100"].note == "maxDets 100"
    assert found["box_ap"].note == "maxDets 100"
    assert found["box_ap50"].value > found["box_ap50@100"].value


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        ([[float("nan")] * 4], [0.9]),
        ([[0.0, 0.0, float("inf"), 9.0]], [0.9]),
        ([[0.0, 0.0, 9.0, 9.0]], [float("nan")]),
    ],
)
def test_a_box_that_is_no_number_finds_nothing(truth: Path, boxes: Any, scores: Any) -> None:
    samples = [*guesses(truth)[1:], sample(1, boxes, scores, [0])]
    found = measured(truth, samples)
    reason = "the outputs for 1 of 3 images are NaN or infinite"
    assert set(found.values()) == {Score(None, reason)}
    assert found.keys() == measured(truth, guesses(truth)).keys()


@pytest.mark.parametrize(
    ("arch", "layer", "value"),
    [
        ("faster_rcnn_tiny", "backbone.conv1", NAN),
        ("faster_rcnn_tiny", "neck.fpn_convs.0.conv", NAN),
        ("faster_rcnn_tiny", "rpn_head.rpn_cls", NAN),
        ("faster_rcnn_tiny", "rpn_head.rpn_reg", NAN),
        ("faster_rcnn_tiny", "roi_head.bbox_head.fc_cls", NAN),
        ("faster_rcnn_tiny", "roi_head.bbox_head.fc_reg", NAN),
        ("mask_rcnn_tiny", "roi_head.mask_head.conv_logits", NAN),
        ("retinanet_tiny", "bbox_head.retina_cls", NAN),
        ("retinanet_tiny", "bbox_head.retina_reg", NAN),
        ("retinanet_tiny", "bbox_head.retina_reg", float("inf")),
    ],
)
def test_a_detector_has_no_precision_where_one_layer_diverged(
    arch: str, layer: str, value: float
) -> None:
    """NaN scores are above no threshold, which must not read as nothing detected."""
    task = DetectionTask(
        dataset={"name": "digit_scenes", "train": 4, "val": 2, "test": 2, "size": 64},
        arch=arch,
        pretrained="random",
        image_size=[64, 64],
    )
    model = task.build_model()
    with torch.no_grad():
        model.get_submodule(layer).weight[0] = value
    hooks = [len(m._forward_hooks) for m in model.modules()]
    found = task.evaluate(model, "val", CPU)
    reason = "the outputs for 2 of 2 images are NaN or infinite"
    assert set(found.values()) == {Score(None, reason)}
    assert all(as_score(score).diverged for score in found.values())
    assert ("mask_ap" in found) is (arch == "mask_rcnn_tiny")
    assert hooks == [len(m._forward_hooks) for m in model.modules()]
