"""The kit on the tiny detector and the tiny segmentor: methods pass, broken ones are found out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conformance.kit_helpers import whole_and_short
from PIL import Image
from torch import nn

from benchmarks.conformance.checking import CHECK_NAMES, check_method, run_check
from benchmarks.conformance.finding import FAILED, PASSED
from benchmarks.conformance.report import as_document, as_text
from benchmarks.conformance.subject import Subject
from methods import METHODS, Method
from tasks.base import as_score
from tasks.errors import UserError


@pytest.fixture(autouse=True, scope="module")
def data_root(tmp_path_factory):
    """Scenes are made beside the tests, and once."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("data")
        patch.setenv("DEPTHBENCH_DATA", str(root))
        yield root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("end_to_end", "detection"),
        ("adaptive_depth", "detection"),
        ("adaptive_depth", "segmentation"),
        ("replacement", "segmentation"),
    ],
)
def test_a_method_passes(name, task):
    findings = whole_and_short(name, task=task)
    assert {finding.status for finding in findings} == {PASSED}, findings


@pytest.mark.slow
def test_a_method_is_reported():
    checked = check_method("replacement", task="detection", epochs=1)
    # In one epoch it learns a little; how much it learns in all is checked on a segmentor.
    status = {finding.check: finding.status for finding in checked.findings}
    assert list(status) == list(CHECK_NAMES)
    del status["learns"]
    assert set(status.values()) == {PASSED}, as_text(checked, True)
    first, *_ = as_text(checked).splitlines()
    # With two blocks a stage, as in ResNet-18, there is none between two of its own shape.
    assert first.startswith("replacement on digit_scenes(train=64")
    assert "retinanet_tiny (depth 34 and " in first
    (method,) = as_document([checked])["methods"]
    assert method["task"] == "detection"
    figures = {figure["metric"]: figure for figure in method["figures"]}
    assert figures["params"]["method"] < figures["params"]["end_to_end"]
    assert figures["box_ap"]["variant"] == "folded"


class Plain(Method):
    """Plain training, the ground that the others spoil."""

    def prepare(self, model):
        return model


class Stuck(Plain):
    """Computes the losses and leaves the optimizer alone."""

    def train_step(self, model, data, optim_wrapper):
        losses = model(**model.data_preprocessor(data, True), mode="loss")
        return {"loss": model.parse_losses(losses)[0].detach()}


class Blank(Plain):
    """Trains well and hands out a network of other weights."""

    def variants(self, model):
        drawn = copy.deepcopy(model)
        for module in drawn.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return {"small": drawn}


class Alternating(Plain):
    """Depends on a number of steps that no checkpoint holds."""

    steps = 0

    def train_step(self, model, data, optim_wrapper):
        self.steps += 1
        if self.steps % 3:
            return super().train_step(model, data, optim_wrapper)
        return Stuck.train_step(self, model, data, optim_wrapper)


class Scaled(nn.Module):
    """A backbone whose features are multiplied by a number outside the state."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = 0.5 + float(torch.rand(()))

    def forward(self, x):
        return tuple(self.scale * level for level in self.inner(x))


class Forgetful(Plain):
    def prepare(self, model):
        model.backbone = Scaled(model.backbone)
        return model


class Unused(Plain):
    """Leaves a layer of the backbone without a gradient."""

    def prepare(self, model):
        model.backbone.spare = nn.Linear(3, 3)
        return model


class Destroying(Plain):
    """Makes its variant out of the training model itself."""

    def variants(self, model):
        with torch.no_grad():
            next(model.parameters()).mul_(0.5)
        return {"folded": model}


FAULTS = [
    (Stuck, "detection", "learns", "the loss went from"),
    (Blank, "detection", "learns", "box AP on test is 0.0 % (small)"),
    (Blank, "segmentation", "learns", "mIoU on test is"),
    (Alternating, "detection", "resumes", "resumed ends with other weights"),
    (Forgetful, "detection", "saves", "answers otherwise in 'full'"),
    (Forgetful, "segmentation", "saves", "answers otherwise in 'full'"),
    (Unused, "detection", "gradients", "2 of 86 parameters never had a gradient other than zero"),
    (Destroying, "segmentation", "exports", "changed the state (backbone."),
    (Plain, "detection", "changes", "are those of end_to_end"),
]


@pytest.fixture
def register():
    """Register methods for one test."""
    names = []

    def by_name(kind):
        names.append(f"broken_{kind.__name__.lower()}")
        METHODS.register(names[-1])(kind)
        return names[-1]

    yield by_name
    for name in names:
        del METHODS._objects[name]


@pytest.mark.parametrize(
    ("kind", "task", "check", "seen"),
    [
        # To learn takes the whole run; other faults show at once.
        pytest.param(*fault, marks=[pytest.mark.slow] if fault[0] is Blank else [])
        for fault in FAULTS
    ],
    ids=[f"{kind.__name__}-{task}" for kind, task, _, _ in FAULTS],
)
def test_a_broken_method_is_found_out(register, kind, task, check, seen):
    finding = run_check(
        Subject(register(kind), epochs=None if kind is Blank else 1, task=task), check
    )
    assert finding.status == FAILED, finding
    assert seen in finding.seen
    assert finding.fix
    assert "\n" not in finding.seen + finding.fix


def test_nothing_but_ground_would_not_pass_for_learning(data_root):
    """Every pixel called ground: the IoU of ground is its share, that of each digit 0."""
    subject = Subject("end_to_end", task="segmentation")
    files = sorted(data_root.glob("digit_scenes*-64px-*/gtFine/test/**/*_labelTrainIds.png"))
    labels = np.stack([np.asarray(Image.open(file)) for file in files])
    assert len(files) == subject.ground.options["dataset"]["test"]
    assert np.unique(labels).tolist() == list(range(11))
    ground_alone = 100 * (labels == 0).mean() / 11
    assert f"{ground_alone:.1f} %" in subject.ground.untrained
    assert ground_alone + 0.5 < subject.ground.learnt


def test_an_untrained_detector_finds_nothing():
    subject = Subject("end_to_end", task="detection")
    built = subject.build()
    found = built.task.evaluate(built.task.build_model(), "test", built.device)
    assert as_score(found["box_ap"]).value == 0


def test_a_family_that_the_kit_has_no_ground_for_is_told():
    with pytest.raises(UserError, match="did you mean 'segmentation'"):
        Subject("end_to_end", task="segmentaton")


def test_a_method_without_meaning_for_detectors_says_so():
    with pytest.raises(UserError, match="has no meaning for detection"):
        Subject("optimal_depth", task="detection")
