"""Segmentors of mmsegmentation: data, sizes, models, metrics, inference, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from shared_data import shared_data

from tasks.base import Score, as_score
from tasks.errors import UserError
from tasks.openmmlab.config import set_classes
from tasks.segmentation import metrics
from tasks.segmentation.cityscapes import CITYSCAPES
from tasks.segmentation.models import SCHEDULES
from tasks.segmentation.sliding import windows
from tasks.segmentation.task import SegmentationTask

CPU = torch.device("cpu")
SCENES = {"name": "digit_scenes", "train": 8, "val": 3, "test": 4, "size": 48}
ADE = "mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py"
THINNER = {
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.decode_head.channels": 16,
    "model.auxiliary_head.in_channels": 128,
    "model.auxiliary_head.channels": 16,
}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def scenes(data_root: Path, **options: Any) -> SegmentationTask:
    """Four tiny pictures of digits: 11 classes, and a test split with labels."""
    small = {"arch": "fcn_tiny", "image_size": [48, 48], "crop_size": [48, 32], "schedule": "small"}
    return SegmentationTask(
        **{"dataset": SCENES, "data_root": str(data_root), "eval_batch_size": 2} | small | options
    )


def camvid(**options: Any) -> SegmentationTask:
    root = str(shared_data("camvid_cityscapes").parent)
    small = {"arch": "fcn_tiny", "image_size": [120, 90], "schedule": "small"}
    return SegmentationTask(**{"dataset": "camvid_cityscapes", "data_root": root} | small | options)


def test_a_checked_task_says_what_decides_its_numbers() -> None:
    task = camvid()
    task.check()
    facts = task.fingerprint()
    assert facts["images"] == {"train": 48, "val": 24}
    assert facts["classes"] == list(CITYSCAPES)
    assert facts["val_is_test"] is True
    assert task.split("test") is task.split("val")
    assert task.train_samples() == 48
    assert camvid(inference="slide").fingerprint()["config_sha256"] != facts["config_sha256"]


def test_labels_and_pictures_reach_the_model_as_they_are_on_disk() -> None:
    task = camvid()
    batch = next(task.eval_batches("val", CPU))
    (sample,) = batch["data_samples"]
    mask = np.array(Image.open(sample.seg_map_path))
    assert torch.equal(sample.gt_sem_seg.data[0], torch.from_numpy(mask).long())
    assert batch["inputs"][0].shape == (3, 90, 120)


def test_a_config_of_another_data_set_takes_labels_as_they_are(data_root: Path) -> None:
    """ADE20K's pipelines make label 0 void and shift the others."""
    task = scenes(data_root, arch=ADE, pretrained="random", image_size=None, crop_size=None)
    assert task.build_model().decode_head.num_classes == 11
    (sample,) = next(scenes(data_root, arch=ADE, eval_batch_size=1).eval_batches("val", CPU))[
        "data_samples"
    ]
    mask = np.array(Image.open(sample.seg_map_path))
    assert (mask == 0).any()
    assert torch.equal(sample.gt_sem_seg.data[0], torch.from_numpy(mask).long())


def test_crops_keep_their_share_of_the_picture_and_smaller_pictures_are_padded() -> None:
    task = camvid()
    assert task.test_size() == (120, 90)
    assert task.config.model.data_preprocessor["size"] == (45, 60)
    model = task.build_model()
    for batch in task.batches(16, 0, CPU).epoch(0):
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            assert image.shape[1] <= 45
            assert image.shape[2] <= 60
            assert image.shape[1:] == sample.gt_sem_seg.data.shape[1:]
        padded = model.data_preprocessor(batch, True)
        assert padded["inputs"].shape == (16, 3, 45, 60)


def test_crop_size_and_cost_size_are_width_and_height() -> None:
    task = camvid(crop_size=[96, 64], cost_size=[64, 32])
    batch = next(task.batches(2, 0, CPU).epoch(0))
    assert task.build_model().data_preprocessor(batch, True)["inputs"].shape == (2, 3, 64, 96)
    assert task.example_input(3, CPU).shape == (3, 3, 32, 64)
    assert camvid().example_input(1, torch.device("meta")).shape == (1, 3, 90, 120)


def test_a_choice_of_sizes_becomes_a_range_around_the_one_asked_for() -> None:
    """Mask2Former trains on short sides of 512 to 2048, and tests on 1024."""
    task = camvid(
        arch="mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py",
        image_size=[256, 128],
    )
    resize = task.config.train_dataloader["dataset"]["pipeline"][2]
    assert resize["type"] == "RandomResize"
    assert resize["scale"] == (256, 128)
    assert resize["ratio_range"] == (0.5, 2.0)
    assert task.example_input(1, torch.device("meta")).shape[-2:] == (128, 256)


def test_the_40k_recipe_is_the_one_of_the_configs() -> None:
    told = camvid(arch="deeplabv3_r101_d8", schedule=None, pretrained="random").recipe
    named = SCHEDULES["40k_iterations"]
    assert told.optimizer == named.optimizer
    assert told.schedule == named.schedule
    assert told.batch_size == named.batch_size == 8


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    pictures = zip(one["inputs"], other["inputs"], strict=True)
    samples = zip(one["data_samples"], other["data_samples"], strict=True)
    return all(torch.equal(a, b) for a, b in pictures) and all(
        torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data) for a, b in samples
    )


def test_batches_depend_on_seed_and_epoch_alone(data_root: Path) -> None:
    task = scenes(data_root)
    first = list(task.batches(2, 5, CPU).epoch(3))
    np.random.seed(99)
    torch.manual_seed(99)
    source = task.batches(2, 5, CPU)
    next(source.epoch(0))
    again = list(source.epoch(3))
    assert len(first) == len(source) == 4
    assert all(map(same, first, again))
    assert all(map(same, first[2:], source.epoch(3, start=2)))
    assert not same(first[0], next(source.epoch(4)))
    assert not same(first[0], next(task.batches(2, 6, CPU).epoch(3)))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by (label, prediction), one by one."""
    matrix = np.zeros((classes, classes), np.int64)
    for label, guess in zip(labels.ravel(), predicted.ravel(), strict=True):
        if label != 255:
            matrix[label, guess] += 1
    return matrix


def expected(matrix: np.ndarray) -> dict[str, Any]:
    """Metrics in % by their definitions; a class without pixels has None."""
    classes = range(len(matrix))
    right = {c: matrix[c, c] for c in classes}
    labelled = {c: matrix[c, :].sum() for c in classes}
    union = {c: labelled[c] + matrix[:, c].sum() - right[c] for c in classes}
    iou = {c: 100 * right[c] / union[c] if union[c] else None for c in classes}
    accuracy = [100 * right[c] / labelled[c] for c in classes if labelled[c]]
    present = [value for value in iou.values() if value is not None]
    return {
        "miou": sum(present) / len(present),
        "aacc": 100 * sum(right.values()) / matrix.sum(),
        "macc": sum(accuracy) / len(accuracy),
        **{f"iou@{c}": value for c, value in iou.items()},
    }


def predictions(predicted: np.ndarray, labels: np.ndarray) -> Any:
    sample = SegDataSample()
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(predicted)[None])
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
    return {}, [sample]


def test_metrics_are_those_of_a_confusion_matrix() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        images = [
            (random.choice([0, 1, 3, 4], (9, 7)), random.choice([0, 1, 2, 3, 255], (9, 7)))
            for _ in range(3)
        ]
        found = metrics.intersection_over_union("012345", [predictions(*image) for image in images])
        wanted = expected(sum(confusion(*image, 6) for image in images))
        values = {name: as_score(score).value for name, score in found.items()}
        assert values == {
            k: None if v is None else pytest.approx(v, abs=1e-10) for k, v in wanted.items()
        }
        assert values["iou@5"] is None
        assert values["iou@4"] == 0
        assert "no pixel" in as_score(found["iou@5"]).note
        assert "5 of 6 classes" in as_score(found["miou"]).note
        assert "4 of 6 classes" in as_score(found["macc"]).note


def test_a_split_that_is_all_void_has_no_quality() -> None:
    pixels, void = np.zeros((4, 4), int), np.full((4, 4), 255)
    found = metrics.intersection_over_union("ab", [predictions(pixels, void)] * 2)
    reason = Score(None, "no pixel of the split is labelled: all are void")
    assert found == dict.fromkeys(("miou", "aacc", "macc", "iou@a", "iou@b"), reason)
    found = metrics.intersection_over_union("ab", [])
    assert set(found.values()) == {reason}


def test_scores_that_are_no_numbers_have_no_quality() -> None:
    pixels = np.zeros((4, 4), int)
    outputs = [predictions(pixels, pixels) for _ in range(3)]
    for number, (_, (sample,)) in enumerate(outputs):
        sample.seg_logits = PixelData(data=torch.randn(2, 4, 4))
        if number:
            sample.seg_logits.data[0, 1, 2] = (0, float("nan"), float("inf"))[number]
    found = metrics.intersection_over_union("ab", outputs)
    reason = Score(None, "the outputs for 2 of 3 images are NaN or infinite")
    assert found == dict.fromkeys(("miou", "aacc", "macc", "iou@a", "iou@b"), reason)
    assert not any(as_score(score).diverged for score in found.values())
    every = metrics.intersection_over_union("ab", outputs[1:])
    assert all(as_score(score).diverged for score in every.values())


def test_every_pixel_counts_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong pixel beside 20,000,000: more than float32 can tell apart."""
    large, one = (torch.tensor([count, 0.0]) for count in (1e7, 1.0))
    counts = iter([(large,) * 4, (large,) * 4, (0 * one, torch.ones(2), one.flip(0), one)])
    monkeypatch.setattr(metrics.IoUMetric, "intersect_and_union", lambda *_: next(counts))
    pixel = np.zeros((1, 1), np.uint8)
    found = metrics.intersection_over_union("ab", [predictions(pixel, pixel)] * 3)
    assert found["aacc"] == pytest.approx(100 * 20_000_000 / 20_000_001, rel=1e-12)


def test_evaluation_agrees_with_the_predictions_and_leaves_the_model_as_it_was(
    data_root: Path,
) -> None:
    task = scenes(data_root, eval_batch_size=1)
    torch.manual_seed(0)
    model = task.build_model().train()
    model.backbone.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = task.evaluate(model, "test", CPU)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert as_score(task.evaluate(model, "test", CPU)["miou"]) == as_score(found["miou"])

    model.eval()
    matrix = np.zeros((11, 11), np.int64)
    for index in range(4):
        info = task.split("test").get_data_info(index)
        pixels = torch.from_numpy(np.array(Image.open(info["img_path"]))).permute(2, 0, 1).float()
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        inputs = ((pixels - mean[:, None, None]) / std[:, None, None])[None]
        with torch.no_grad():
            scores = torch.nn.functional.interpolate(
                model(inputs, mode="tensor"), (48, 48), mode="bilinear"
            )
        labels = np.array(Image.open(info["seg_map_path"]))
        matrix += confusion(scores[0].argmax(0).numpy(), labels, 11)
    wanted = expected(matrix)
    for name in ("miou", "aacc", "macc"):
        assert as_score(found[name]).value == pytest.approx(wanted[name], abs=1e-9)
    names = ["iou@ground", *(f"iou@{name}" for name in ("zero", "nine"))]
    assert set(names) < set(found)


def predicted(task: SegmentationTask, model: Any) -> list[torch.Tensor]:
    model.eval()
    with torch.no_grad():
        return [
            sample.seg_logits.data
            for batch in task.eval_batches("val", CPU)
            for sample in model.test_step(batch)
        ]


def test_one_window_as_large_as_the_picture_is_whole_inference(data_root: Path) -> None:
    whole = scenes(data_root)
    torch.manual_seed(0)
    model = whole.build_model()
    by_mode = {"whole": predicted(whole, model)}
    for side in (48, 64, 32):
        task = scenes(data_root, inference={"name": "slide", "crop_size": [side, side]})
        model.test_cfg = task.config.model.test_cfg
        by_mode[str(side)] = predicted(task, model)
        picture = torch.rand(1, 3, 48, 48)
        assert (side < 48) != torch.equal(next(windows(model, picture)), picture)
    for side in ("48", "64"):
        assert all(map(torch.equal, by_mode["whole"], by_mode[side]))
    assert not torch.equal(by_mode["whole"][0], by_mode["32"][0])


def test_costing_sees_the_windows_of_sliding_inference(data_root: Path) -> None:
    option = {"name": "slide", "crop_size": [32, 24], "stride": [20, 18]}
    task = scenes(data_root, inference=option, cost_size=[72, 40])
    model = task.build_model().eval()
    inputs = task.example_input(1, CPU)
    seen: list[torch.Tensor] = []

    class Kept(type(model)):  # type: ignore[misc]
        def encode_decode(self, inputs: torch.Tensor, metas: Any) -> torch.Tensor:
            seen.append(inputs)
            return super().encode_decode(inputs, metas)

    model.__class__ = Kept
    with torch.no_grad():
        task.infer(model, inputs)
        inferred, seen = seen, []
        task.forward(model, inputs)
    assert len(inferred) == 3 * 2
    assert all(map(torch.equal, inferred, seen))
    assert all(map(torch.equal, inferred, windows(model, inputs)))
    assert {tuple(window.shape) for window in seen} == {(1, 3, 24, 32)}


def test_windows_of_a_config_keep_their_share_unless_crops_are_asked_for() -> None:
    slides = "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"
    shared = camvid(arch=slides, image_size=[256, 128]).config.model.test_cfg
    assert shared == {"mode": "slide", "crop_size": (128, 128), "stride": (96, 96)}
    asked = camvid(arch=slides, image_size=[256, 128], crop_size=[90, 60]).config.model.test_cfg
    assert asked == {"mode": "slide", "crop_size": (60, 90), "stride": (40, 60)}
    assert camvid(arch=slides, inference="whole").config.model.test_cfg == {"mode": "whole"}
    assert camvid(inference="slide").config.model.test_cfg["crop_size"] == (45, 60)


def test_a_label_that_was_not_met_before_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    task = scenes(tmp_path)
    task.check()
    for split in ("train", "val"):
        path = Path(task.split(split).get_data_info(0)["seg_map_path"])
        mask = np.array(Image.open(path))
        mask[:] = 11
        Image.fromarray(mask).save(path)
        batches: Iterator[Any] = (
            task.batches(8, 0, CPU).epoch(0) if split == "train" else task.eval_batches("val", CPU)
        )
        with pytest.raises(UserError, match=f"{path.name} has the label 11, but there are 11"):
            list(batches)


@pytest.mark.parametrize("arch", ["pspnet_tiny", "deeplabv3_tiny", "deeplabv3plus_tiny"])
def test_ready_segmentors_train_with_their_auxiliary_head(arch: str, data_root: Path) -> None:
    train_a_little(scenes(data_root, arch=arch))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (
            "upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py",
            {**THINNER, "model.decode_head.in_channels": [32, 64, 128, 256]},
        ),
        ("segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py", {}),
        ("ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py", {}),
    ],
)
def test_a_segmentor_that_the_project_never_mentions_trains_by_its_name(
    config: str, changes: dict[str, Any], data_root: Path
) -> None:
    arch = {"name": f"mmseg::{config}", **changes}
    options = {"pretrained": "random", "schedule": None, "inference": "whole"}
    train_a_little(scenes(data_root, arch=arch, **options))


def train_a_little(task: SegmentationTask) -> None:
    """Two steps, an evaluation, and what costing runs."""
    task.check()
    torch.manual_seed(0)
    model = task.build_model().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for batch in list(task.batches(4, 0, CPU).epoch(0))[:2]:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        loss, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    assert any(p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    if model.with_auxiliary_head:
        assert losses["aux.loss_ce"] > 0
        assert all(p.grad is not None for p in model.auxiliary_head.parameters())
    assert 0 <= as_score(task.evaluate(model, "val", CPU)["miou"]).value <= 100
    with torch.no_grad():
        (scores,) = task.forward(model.eval(), task.example_input(1, CPU))
    assert scores.shape == (1, 11, 48, 48)


def test_losses_weigh_as_many_classes_as_there_are() -> None:
    weights = [1.0] * 19 + [0.1]
    head = {"num_classes": 19, "loss_cls": {"type": "CE", "class_weight": weights}}
    set_classes(head, 3)
    assert head["loss_cls"]["class_weight"] == [1.0, 1.0, 1.0, 0.1]
    single = {"num_classes": 2, "loss": {"type": "CE", "class_weight": [0.2, 0.8]}}
    set_classes(single, 2)
    with pytest.raises(UserError, match="weighs each of its 2 classes, but there are 3"):
        set_classes(single, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "fcn_r50_d8"}, "open-mmlab://resnet50_v1c.*'pretrained'.*or to random"),
        ({"arch": "fcn"}, "unknown arch 'fcn'"),
        ({"arch": "mmseg::fcn/fcn_r50-d8_cityscapes.py"}, "has no config"),
        ({"arch": {"name": "fcn_tiny", "model.decode_hed.channels": 8}}, "did you mean"),
        ({"arch": {"name": "fcn_tiny", "model.decode_head.in_channels": "x"}}, "cannot be built"),
        ({"crop_size": 64}, r"crop_size must be \[width, height\]"),
        ({"image_size": [64, 0]}, r"image_size must be \[width, height\]"),
        ({"inference": "sliding"}, r"unknown inference 'sliding' \(did you mean 'slide'"),
        ({"inference": {"name": "whole", "stride": [1, 1]}}, "unknown option of whole inference"),
        (
            {"inference": {"name": "slide", "crop_size": [32, 32], "stride": [32, 40]}},
            "leaves gaps",
        ),
        ({"inference": {"name": "slide", "stride": [32, 50]}}, "leaves gaps"),
        ({"schedule": "80k_iterations"}, "unknown schedule '80k_iterations'"),
        ({"dataset": {"name": "camvid_cityscapes", "clases": ["a"]}}, "unknown option of dataset"),
        ({"dataset": {"name": "camvid_cityscapes", "classes": "road"}}, "must be a list of names"),
        (
            {"dataset": {"name": "camvid_cityscapes", "classes": ["road", "sky"]}},
            "but there are 2 classes",
        ),
        ({"dataset": "camvid"}, "camvid is not a folder"),
        ({"arch": "mmseg::psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py"}, "psamask"),
        ({"arch": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"}, "is not of mmseg"),
    ],
)
def test_bad_input_is_told_before_training(options: dict[str, Any], message: str) -> None:
    if str(options.get("arch")).startswith("mmseg::psanet"):
        options = {**options, "pretrained": "random"}
    with pytest.raises(UserError, match=message) as error:
        camvid(**options).check()
    assert "\n" not in str(error.value)


def test_pictures_of_several_sizes_are_evaluated_one_by_one(tmp_path: Path) -> None:
    task = scenes(tmp_path)
    folder = task.split("val").get_data_info(0)
    for key in ("img_path", "seg_map_path"):
        Image.open(folder[key]).crop((0, 0, 40, 48)).save(folder[key])
    with pytest.raises(UserError, match="2 different sizes: set eval_batch_size to 1"):
        scenes(tmp_path).check()
    scenes(tmp_path, eval_batch_size=1).check()
