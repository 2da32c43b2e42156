"""Detectors of mmdet on real photographs: data, models, metrics, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from shared_data import shared_data

from tasks.base import Score, as_score
from tasks.detection.metrics import average_precision
from tasks.detection.task import DetectionTask
from tasks.errors import UserError

CPU = torch.device("cpu")
SMALL = {"image_size": [128, 96], "eval_batch_size": 8, "schedule": "small"}


def bccd(**options: Any) -> DetectionTask:
    shared_data("bccd")
    root = str(shared_data("bccd").parent)
    return DetectionTask(
        **{"dataset": "bccd", "data_root": root, "arch": "retinanet_tiny"} | SMALL | options
    )


def test_a_checked_task_says_what_decides_its_numbers() -> None:
    task = bccd()
    task.check()
    facts = task.fingerprint()
    assert facts["images"] == {"train": 205, "val": 87, "test": 72}
    assert facts["classes"] == list(task.classes)
    assert len(task.classes) == 3
    assert facts["weights"] == "random"
    assert not task.val_is_test
    other = bccd(
        arch={
            "name": "retinanet_tiny",
            "model.backbone.base_channels": 8,
            "model.neck.in_channels": [32, 64, 128, 256],
        }
    )
    assert other.fingerprint()["config_sha256"] != facts["config_sha256"]
    assert other.arch.startswith("retinanet_tiny(model.backbone.base_channels=8")


def test_heads_get_the_classes_of_the_data() -> None:
    task = bccd()
    assert task.build_model().bbox_head.num_classes == 3
    cascade = bccd(arch="mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py", pretrained="random")
    heads = cascade.build_model().roi_head.bbox_head
    assert [head.num_classes for head in heads] == [3, 3, 3]
    assert cascade.arch == "cascade-rcnn_r50_fpn_1x_coco"


def test_pictures_fit_the_size_asked_for_and_boxes_follow() -> None:
    task = bccd()
    batch = next(task.batches(4, 0, CPU).epoch(0))
    for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
        assert image.shape == (3, 96, 128)
        boxes = sample.gt_instances.bboxes.tensor
        assert len(boxes) > 0
        assert (boxes >= -1).all()
        assert (boxes <= torch.tensor([129.0, 97, 129, 97])).all()


def test_a_set_without_test_annotations_is_judged_on_val() -> None:
    root = str(shared_data("coco33").parent)
    task = DetectionTask("coco33", "retinanet_tiny", root, **SMALL)
    task.check()
    assert task.val_is_test
    assert task.split("test") is task.split("val")
    assert task.fingerprint()["val_is_test"] is True


def perfect(dataset: Any) -> Any:
    """The ground truth as predictions."""
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        sample = DetDataSample(
            metainfo={key: info[key] for key in ("img_id", "height", "width")}
            | {"ori_shape": (info["height"], info["width"])}
        )
        boxes = np.array([i["bbox"] for i in info["instances"]], dtype=np.float32)
        sample.pred_instances = InstanceData(
            bboxes=torch.from_numpy(boxes.reshape(-1, 4)),
            scores=torch.ones(len(boxes)),
            labels=torch.tensor([i["bbox_label"] for i in info["instances"]]),
        )
        yield {}, [sample]


def test_the_truth_has_full_precision_and_nothing_has_none() -> None:
    task = bccd()
    dataset = task.split("test")
    with_truth = task.scores(perfect(dataset), "test")
    assert as_score(with_truth["box_ap"]).value == pytest.approx(100)
    assert as_score(with_truth["box_ap75"]).value == pytest.approx(100)

    def nothing() -> Any:
        for batch, (sample,) in perfect(dataset):
            sample.pred_instances = sample.pred_instances[:0]
            yield batch, [sample]

    without = task.scores(nothing(), "test")
    assert without["box_ap"] == Score(0.0, "maxDets 100; nothing was detected")
    sizes = [f"box_ap_{size}" for size in ("small", "medium", "large")]
    absent = [name for name in sizes if as_score(with_truth[name]).value is None]
    assert absent == [name for name in sizes if as_score(without[name]).value is None]


def test_precision_of_a_hand_made_case(tmp_path: Path) -> None:
    """One object found at the second guess: half precision at full recall, by hand."""
    file = tmp_path / "annotations.json"
    file.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 4,
                        "bbox": [10, 10, 40, 40],
                        "area": 1600,
                        "iscrowd": 0,
                    }
                ],
                "categories": [{"id": 4, "name": "thing"}],
            }
        )
    )
    sample = DetDataSample(metainfo={"img_id": 1, "ori_shape": (100, 100)})
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[50.0, 50, 95, 95], [10, 10, 50, 50]]),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor([0, 0]),
    )
    found = average_precision(file, {"classes": ("thing",)}, [({}, [sample])], ["bbox"])
    for name in ("box_ap", "box_ap50", "box_ap75", "box_ap_medium"):
        assert as_score(found[name]).value == pytest.approx(50)
    assert as_score(found["box_ap_small"]).value is None
    assert as_score(found["box_ap_large"]).value is None


def test_evaluation_leaves_the_model_as_it_was() -> None:
    task = bccd(dataset={"name": "bccd", "splits": _few(shared_data("bccd"))})
    model = task.build_model().train()
    model.backbone.bn1.eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    task.evaluate(model, "val", CPU)
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def _few(root: Path) -> dict[str, Any]:
    """The test split in every role: it is the smallest."""
    entry = {"annotations": "annotations/instances_test.json", "images": "images"}
    return {"train": entry, "val": entry}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
        "mmdet::atss/atss_r50_fpn_1x_coco.py",
        "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    ],
)
def test_a_detector_that_the_project_never_mentions_trains_by_its_name(arch: str) -> None:
    task = bccd(arch=arch, pretrained="random", schedule=None, image_size=[96, 64])
    task.check()
    torch.manual_seed(0)
    model = task.build_model().train()
    batch = next(task.batches(2, 0, CPU).epoch(0))
    data = model.data_preprocessor(batch, True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    assert loss.isfinite()
    gradients = [p.grad for p in model.backbone.layer3.parameters() if p.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    with torch.no_grad():
        assert len(model.eval().test_step(batch)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "retinanet_r50_fpn"}, "'pretrained' to a local checkpoint file, or to random"),
        ({"arch": "retina"}, "unknown arch 'retina'"),
        ({"arch": {"model.backbone.depth": 18}}, "arch needs a name"),
        ({"arch": {"name": "retinanet_tiny", "model.bakbone.depth": 18}}, "did you mean"),
        ({"arch": {"name": "retinanet_tiny", "model.backbone.depth": 19}}, "cannot be built"),
        ({"image_size": 128}, r"image_size must be \[width, height\]"),
        ({"schedule": "24_epochs"}, "unknown schedule '24_epochs'"),
        ({"dataset": "bcdd"}, "bcdd is not a folder"),
        ({"dataset": {"name": "bccd", "clases": ["RBC"]}}, "unknown option of dataset 'clases'"),
        ({"pretrained": "torchvision://resnet50"}, "torchvision://resnet50"),
        ({"pretrained": "absent.pth"}, r"absent\.pth"),
        ({"arch": "mask_rcnn_tiny"}, "segmentation"),
        (
            {
                "arch": "mmdet::carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py",
                "pretrained": "random",
            },
            "carafe_forward",
        ),
    ],
)
def test_bad_input_is_told_before_training(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        bccd(**options).check()
    assert "\n" not in str(error.value)


def test_weights_come_from_a_file_under_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "bccd").symlink_to(shared_data("bccd"))
    source = bccd().build_model().backbone
    torch.save(source.state_dict(), tmp_path / "tiny.pth")
    task = bccd(data_root=str(tmp_path), pretrained="tiny.pth")
    task.check()
    loaded = task.build_model().backbone.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in source.state_dict().items())
    facts = task.fingerprint()["weights"]
    assert facts["file"] == "tiny.pth"
    assert facts["loaded"] == len(loaded)
    assert facts["missing"] == ()
    json.dumps(task.fingerprint())
