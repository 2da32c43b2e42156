"""Operations of deployable networks: by batch, by image, and by whose count."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from meters.variant_helpers import CPU, Exits, built_around, digits, reasons, values
from mmengine.model import BaseModel
from torch import nn

from benchmarks.engine.costing import variant_costs, variant_operations
from benchmarks.meters.variant_operations import VariantOperations, batch_cost
from methods.mind import Mind, executed, together
from tasks.classification.classifier import Classifier
from tasks.detection.task import DetectionTask
from tasks.errors import UserError


def operations(model: BaseModel) -> VariantOperations:
    return variant_operations(digits(), model, CPU)


@pytest.mark.parametrize(
    ("counts", "cost"),
    [((10, 20, 30), (10, 0)), ((13, 23, 33), (10, 3)), ((7, 7, 7), (0, 7))],
)
def test_a_cost_lies_on_a_line(counts: tuple[int, ...], cost: tuple[int, int]) -> None:
    found = batch_cost(lambda size: counts[size - 1])
    assert (found.each, found.per_pass) == cost
    assert found.alone == counts[0]


@pytest.mark.parametrize(
    "counts",
    [
        (0, 20, 30),  # nothing is seen of a single image
        (5, 20, 30),  # a path of its own
        (10, 20, 40),
        (25, 15, 5),  # a batch costs less than its images
        (1, 11, 21),  # a pass costs less than nothing
    ],
)
def test_another_path_for_some_sizes_of_batch_is_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"batches of 1, 2 and 3 images take [\d,]+, [\d,]+, [\d,]"):
        batch_cost(lambda size: counts[size - 1])


def test_composed_weights_are_paid_once_a_pass() -> None:
    class Composed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bank, self.mix = nn.Parameter(torch.randn(5, 640)), nn.Parameter(torch.randn(1, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ (self.mix @ self.bank).view(64, 10)

    rows = operations(Classifier(Composed())).rows()
    assert values(rows)["macs_per_pass"] == 5 * 640
    assert values(rows)["macs"] == 640 + 5 * 640
    assert reasons(rows)["macs"] == "83.3 % of it once per forward pass, whatever the batch"
    assert "macs_executed" not in values(rows)


def test_a_path_of_single_images_leaves_no_count() -> None:
    class Single(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return super().forward(x[:, :64]) if len(x) > 1 else x[:, :10] @ self.weight[:, :10].T

    rows = operations(Classifier(Single(64, 10))).rows()
    assert values(rows)["macs"] is None
    assert values(rows)["macs_per_pass"] is None
    assert "take 100, 1,280, 1,920 multiply-adds" in reasons(rows)["macs"]


def test_exits_are_costed_over_the_test_images() -> None:
    task = digits()
    images = torch.cat([batch["inputs"] for batch in task.eval_batches("test", CPU)])
    model = Classifier(Exits(float(images.flatten(1).mean(1).quantile(0.7))))
    found = operations(model)
    rows = found.rows()
    assert found.depends
    leaves = model.backbone.leaves(images).numpy()
    costs = Exits.FIRST + np.where(leaves, Exits.OUT, Exits.ON)
    expected = {
        "macs_executed": costs.mean(),
        "macs_executed@p10": np.quantile(costs, 0.1),
        "macs_executed@p90": np.quantile(costs, 0.9),
        "macs_executed@min": Exits.FIRST + Exits.OUT,
        "macs_executed@max": Exits.FIRST + Exits.ON,
    }
    assert {k: v for k, v in values(rows).items() if "executed" in k} == pytest.approx(expected)
    assert reasons(rows)["macs_executed"] == "364 of 364 test images, one by one"
    for metric in ("macs", "macs_per_pass", "macs@fvcore"):
        assert values(rows)[metric] is None
        assert reasons(rows)[metric] == "the operations depend on the image: see macs_executed"


def test_at_most_so_many_images_are_counted_evenly_spread(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.meters.variant_operations.EXECUTED", 10)
    rows = operations(Classifier(Exits(0.0))).rows()
    assert reasons(rows)["macs_executed"] == "10 of 364 test images, one by one"


def test_values_that_are_read_to_no_effect_leave_a_count() -> None:
    class Looks(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert bool((x < 1e6).all())
            return super().forward(x.flatten(1))

    rows = operations(Classifier(Looks(64, 10))).rows()
    assert values(rows)["macs"] == 640
    assert reasons(rows)["macs"] == "the same for 128 of 364 test images"
    assert "macs_executed" not in values(rows)


def test_a_network_that_reads_no_value_is_counted_once_more_for_each_batch() -> None:
    calls: list[int] = []

    class Plain(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return super().forward(x.flatten(1))

    rows = operations(Classifier(Plain(64, 10))).rows()
    assert values(rows) == {"macs": 640, "macs_per_pass": 0, "macs@fvcore": 640}
    assert sorted(calls) == [1, 1, 1, 2, 3]


@pytest.mark.parametrize("options", [{"lam": 0.0}, {"mode": "random", "rate": 0.5}])
def test_what_mind_executes_is_what_its_choices_cost(options: dict) -> None:
    """Two ways that know nothing of each other: dispatched operations, and steps times blocks."""
    task = digits()
    torch.manual_seed(0)
    method = Mind(k_max=4, norm=0.5, **options)
    model = method.prepare(task.build_model("cifar_resnet14"))
    if model.mind.introspection is not None:
        nn.init.normal_(model.mind.introspection.mlp[-1].weight, std=3.0)
    model.train()
    model(**next(iter(task.batches(32, 0, CPU).epoch(0))), mode="loss")
    model.eval()
    rows = variant_operations(task, model, CPU).rows()
    parts = list(executed(model, task.eval_images("test", range(0, 364, 1), CPU)))
    macs = together([done for _, done, _ in parts]).macs
    assert values(rows)["macs_executed"] == float(macs.mean())
    assert values(rows)["macs_executed@p10"] == float(macs.quantile(0.1))
    assert values(rows)["macs_executed@max"] == float(macs.max())
    assert macs.min() < macs.max()
    assert not set(method.analyse("full", model, task.eval_batches("test", CPU))) & set(
        values(rows)
    )


def test_a_two_stage_detector_costs_every_image_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    task = DetectionTask(
        dataset={"name": "digit_scenes", "train": 2, "val": 2, "test": 17, "size": 48},
        arch="mask_rcnn_tiny",
        pretrained="random",
        image_size=[48, 48],
    )
    task.check()
    model = task.build_model()
    rows = variant_operations(task, model, CPU).rows()
    assert values(rows)["macs"] > values(rows)["macs_backbone"] > 0
    assert values(rows)["macs_per_pass"] == 0
    assert reasons(rows)["macs"] == "the same for 17 of 17 test images"
    assert not [metric for metric in values(rows) if "executed" in metric]

    chosen = copy.deepcopy(model)
    images = list(variant_operations(task, model, CPU).images.evenly(17))
    usual = torch.stack([image.mean() for image in images]).median()
    stem = chosen.backbone.forward
    # A backbone that looks twice at bright pictures.
    chosen.backbone.forward = lambda x: (stem(x) if x.mean() > usual else None, stem(x))[1]
    rows = variant_operations(task, chosen, CPU).rows()
    whole, part = values(rows)["macs_executed"], values(rows)["macs_executed_backbone"]
    assert values(rows)["macs_backbone"] is None
    assert reasons(rows)["macs_backbone"].endswith("see macs_executed_backbone")
    least, most = (values(rows)[f"macs_executed_backbone@{end}"] for end in ("min", "max"))
    assert most == 2 * least
    assert least < part < most
    assert whole - part == pytest.approx(values(rows)["macs_executed@max"] - most)


def test_operations_without_a_count_are_compared_by_name() -> None:
    class Fourier(nn.Linear):
        """Transforms bright images alone, or reads a value to no effect."""

        def __init__(self, depends: bool) -> None:
            super().__init__(64, 10)
            self.depends = depends

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = bool(x.mean() > 0)
            x = x.flatten(1)
            return super().forward(torch.fft.fft(x).real if bright or not self.depends else x)

    for depends in (True, False):
        found = operations(Classifier(Fourier(depends)))
        assert "no count is known for the operation 'aten._fft" in reasons(found.rows())["macs"]
        assert found.depends is depends


def test_times_of_such_networks_are_of_test_images() -> None:
    task = digits()
    model = Classifier(Exits(0.0))
    seen: list[torch.Tensor] = []
    plain = task.infer
    task.infer = lambda network, x: (seen.append(x), plain(network, x))  # type: ignore[method-assign]
    rows = variant_costs(built_around(task, (1, 4)), model)
    assert reasons(rows)["latency@1"].startswith("mean over 64 batches of test images")
    assert reasons(rows)["latency@4"].startswith("mean over 16 batches of test images")
    assert values(rows)["latency@4"] > 0
    images = torch.cat([batch["inputs"] for batch in task.eval_batches("test", CPU)])
    known = {image.numpy().tobytes() for image in images}
    assert all(image.numpy().tobytes() in known for batch in seen for image in batch)
    assert len({image.numpy().tobytes() for batch in seen for image in batch}) >= 64
