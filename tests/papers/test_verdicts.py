from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from functools import cache

import pytest

from benchmarks.cli.verify import verify as command
from benchmarks.meters.operations import COUNTINGS
from benchmarks.papers.cautions import INCONSISTENT, NOT_COMPARABLE, NOT_RUN
from benchmarks.papers.claims import EXACT, Claim, papers, read_claims
from benchmarks.papers.paper import paper_of
from benchmarks.papers.quantity import PLAIN, Quantity
from benchmarks.papers.verdicts import CONTRADICTED, REPRODUCED, Checked, check, compare, verify
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError


@cache
def timed() -> tuple[list[Checked], float]:
    """All claims, and the CPU time of checking them: others may be busy."""
    began = time.process_time()
    return verify(read_claims()), time.process_time() - began


def checked() -> list[Checked]:
    return timed()[0]


def one(paper: str, **columns: str) -> Checked:
    (found,) = [
        each
        for each in checked()
        if each.claim.paper == paper
        and all(getattr(each.claim, name) == value for name, value in columns.items())
    ]
    return found


def failing(verdict: str) -> list[tuple[str, ...]]:
    return [
        (c.paper, c.table, c.dataset, c.arch, c.variant, c.metric)
        for c in (e.claim for e in checked() if e.verdict == verdict and e.computed is not None)
    ]


def test_every_claim_has_a_verdict_in_order() -> None:
    assert [each.claim for each in checked()] == read_claims()
    verdicts = {REPRODUCED, CONTRADICTED, INCONSISTENT, NOT_RUN, NOT_COMPARABLE}
    assert {each.verdict for each in checked()} == verdicts
    for each in checked():
        assert each.reason or each.verdict == REPRODUCED
        assert (each.computed is None) == (each.plain is None) == (not each.counting)
        if each.verdict in (REPRODUCED, CONTRADICTED):
            assert each.claim.metric in EXACT
            within = abs(each.difference or 0) <= each.claim.half_unit + 1e-9
            assert within == (each.verdict == REPRODUCED)
        if each.claim.metric in ("params", "gmacs", "mflops", "disk_size"):
            assert each.counting in {"", "templates", *COUNTINGS}


@pytest.mark.slow
def test_the_command_checks_all_papers_together_in_under_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert timed()[1] < 60
    command(as_json=True)
    assert json.loads(capsys.readouterr().out) == [each.as_dict() for each in checked()]


@pytest.mark.parametrize("paper", papers())
def test_every_caution_is_about_some_claim_and_says_why(paper: str) -> None:
    cautions = paper_of(paper).cautions
    for number, caution in enumerate(cautions):
        meant = [
            claim
            for claim in read_claims([paper])
            if caution.concerns(claim) and not any(c.concerns(claim) for c in cautions[:number])
        ]
        assert meant, caution
        assert all(caution.reason or claim.note for claim in meant), caution


@pytest.mark.parametrize(
    ("arch", "method", "variant", "metric", "computed", "counting"),
    [
        ("resnet50", "adaptive_depth", "super", "params", 25.583144, "plain"),
        ("resnet50", "end_to_end", "full", "params", 25.557032, "plain"),
        ("resnet50", "end_to_end", "base", "params", 17.112360, "plain"),
        ("resnet50", "adaptive_depth", "base", "gmacs", 2.576, "fvcore"),
        ("resnet50", "end_to_end", "full", "gmacs", 4.112, "fvcore"),
        ("vit_b_16", "adaptive_depth", "super", "params", 86.592, "plain"),
        ("vit_b_16", "adaptive_depth", "base", "gmacs", 11.761, "unfused_attention"),
        ("swin_t", "adaptive_depth", "super", "params", 28.303, "plain"),
        ("swin_t", "adaptive_depth", "super", "gmacs", 4.491, "plain"),
        ("swin_t", "adaptive_depth", "base", "gmacs", 2.690, "plain"),
        ("mobilenet_v2", "end_to_end", "full", "params", 3.504872, "plain"),
    ],
)
def test_adaptive_depth_table_1(
    arch: str, method: str, variant: str, metric: str, computed: float, counting: str
) -> None:
    found = one("adn", table="1", arch=arch, method=method, variant=variant, metric=metric)
    assert found.verdict == REPRODUCED
    assert found.computed == pytest.approx(computed, abs=6e-4)
    assert found.counting == counting


@pytest.mark.parametrize(
    ("arch", "base", "computed", "counting", "plain"),
    [
        ("faster_rcnn_r50_fpn", False, 207.065, "mmcv", 206.330),
        ("faster_rcnn_r50_fpn", True, 175.658, "mmcv", 175.135),
        ("mask_rcnn_r50_fpn", False, 260.138, "mmcv", 259.316),
        ("mask_rcnn_r50_fpn", True, 228.730, "mmcv", 228.121),
        ("retinanet_r50_fpn", False, 151.540, "plain", 151.540),
        ("retinanet_r50_fpn", True, 132.043, "plain", 132.043),
    ],
)
def test_adaptive_depth_detectors(
    arch: str, base: bool, computed: float, counting: str, plain: float
) -> None:
    for method, variant in (("end_to_end", "full"), ("adaptive_depth", "super")):
        name = "base" if base else variant
        found = one("adn", arch=arch, method=method, variant=name, metric="gmacs")
        assert (found.verdict, found.counting) == (REPRODUCED, counting)
        assert found.computed == pytest.approx(computed, abs=6e-4)
        assert found.plain == pytest.approx(plain, abs=6e-4)
        assert ("1280x800" in found.reason) == (arch != "retinanet_r50_fpn")
        assert ("torchvision" in found.reason) == (arch == "retinanet_r50_fpn")


def test_retinanets_figure_is_the_one_that_torchvision_prints() -> None:
    from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

    printed = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["_ops"]
    found = one("adn", arch="retinanet_r50_fpn", variant="super", metric="gmacs")
    assert float(found.claim.value) == printed


def test_a_package_that_does_not_work_leaves_its_claims_unrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.papers import adn
    from tasks.openmmlab import scope

    def broken(scope: str) -> None:
        raise UserError(f"{scope} cannot be imported")

    monkeypatch.setattr(scope, "openmmlab", broken)
    adn.detector_macs.cache_clear()
    wanted = one("adn", arch="mask_rcnn_r50_fpn", variant="super", metric="gmacs").claim
    found = check(wanted)
    assert (found.verdict, found.computed) == (NOT_RUN, None)
    assert found.reason == "mmdet cannot be imported"


def test_the_plain_count_stands_beside_the_papers_own() -> None:
    found = one("adn", arch="resnet50", method="end_to_end", variant="full", metric="gmacs")
    assert (round(found.computed, 4), round(found.plain, 4)) == (4.1115, 4.0892)


@pytest.mark.parametrize(
    ("dataset", "variant", "params", "mflops"),
    [
        ("MNIST", "depth=8/8", 11.172810, 458.21),
        ("MNIST", "depth=2/8", 0.149, 117.36),
        ("Fashion-MNIST", "depth=6/16", 1.045, 337.08),
        ("SVHN", "depth=5/16", 0.751, 365.63),
        ("CIFAR-10", "depth=16/16", 23.521, 1315.02),
        ("CIFAR-10", "depth=11/16", 6.311, 906.19),
    ],
)
def test_optimal_depth_table_1(dataset: str, variant: str, params: float, mflops: float) -> None:
    count = one("odn", dataset=dataset, variant=variant, metric="params")
    assert count.verdict == REPRODUCED
    assert count.computed == pytest.approx(params, abs=6e-4)
    flops = one("odn", dataset=dataset, variant=variant, metric="mflops")
    assert (flops.verdict, flops.counting) == (REPRODUCED, "fvcore_train")
    assert flops.computed == pytest.approx(mflops, abs=6e-3)


@pytest.mark.parametrize(
    ("variant", "templates", "stored"),
    [
        ("SWN-HO 36.5M", 36.480432, 36.81),
        ("SWN-HE 36.5M", 36.499888, 36.82),
        ("SWN-HO 120M", 119.993216, 120.32),
    ],
)
def test_superweight_banks(variant: str, templates: float, stored: float) -> None:
    found = one("swn", variant=variant, metric="params")
    assert (found.verdict, found.counting) == (REPRODUCED, "templates")
    assert found.computed == pytest.approx(templates, abs=1e-6)
    assert found.plain == pytest.approx(stored, abs=5e-3)


def test_what_is_stored_for_an_ensemble_is_what_its_model_stores() -> None:
    import torch
    from mmengine.model import BaseModel

    from benchmarks.meters.parameters import parameters
    from benchmarks.papers.counts import network
    from benchmarks.papers.swn import ensemble
    from methods.superweight.banks import depth_bins, plan_banks
    from methods.superweight.ensemble import share_banks, weight_shapes

    class Member(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = network("wrn_16_1", 100, 3, 32)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.backbone(inputs)

    with torch.device("meta"):
        members = [Member(), Member()]
        shapes = weight_shapes(members)
        plan = plan_banks(shapes, depth_bins(shapes, 4), 200_000)
        model = share_banks(members, plan, shared_coefficients=False, init="official")
    found = ensemble(("wrn_16_1", "wrn_16_1"), 200_000)
    assert found.values["plain"] == parameters(model).stored


def test_contradicted_claims_are_these_and_no_others() -> None:
    small, whole = "ImageNet-1k", "CIFAR-100"
    assert set(failing(CONTRADICTED)) == {
        ("adn", "1", small, "mobilenet_v2", "super", "gmacs"),
        ("adn", "1", small, "mobilenet_v2", "full", "gmacs"),
        ("adn", "1", small, "mobilenet_v2", "base", "gmacs"),
        ("adn", "2", small, "MV2-ADN (base)", "adaptive depth", "gmacs"),
        ("adn", "2", small, "MV2-ADN (base)", "adaptive depth", "gmacs_reduction"),
        ("adn", "README", small, "mobilenet_v2", "FFFFF", "gmacs"),
        ("adn", "README", small, "mobilenet_v2", "TTTTT", "gmacs"),
        ("adn", "README", small, "vit_b_16", "FFFT", "gmacs"),
        ("adn", "README", small, "vit_b_16", "TTFT", "gmacs"),
        ("adn", "README", small, "resnet50", "TFFF", "gmacs"),
        ("adn", "README", small, "resnet50", "TTFF", "gmacs"),
        ("adn", "README", small, "resnet50", "TTTF", "gmacs"),
        ("swn", "2", whole, "wrn28_10", "Deep Ensemble", "params"),
    }
    for each in checked():
        if each.verdict == CONTRADICTED:
            assert f"printed {each.claim.value} ± {each.claim.half_unit:g}" in each.reason


def test_disk_sizes_differ_by_the_files_container_only() -> None:
    verdicts = Counter()
    for each in checked():
        if each.claim.metric == "disk_size":
            assert each.computed == pytest.approx(float(each.claim.value), rel=4e-3)
        if each.claim.metric.startswith("disk_size") and each.verdict != INCONSISTENT:
            verdicts[each.verdict] += 1
            if each.verdict == NOT_COMPARABLE:
                assert "the file's name, move the size by up to 0.2%" in each.reason
    assert CONTRADICTED not in verdicts
    assert verdicts[NOT_COMPARABLE] >= 9


@pytest.mark.parametrize(
    ("value", "band", "verdict"),
    [
        (44.78, 0.0, REPRODUCED),
        (44.79, 0.0, CONTRADICTED),
        (44.78, 0.09, NOT_COMPARABLE),  # equal by chance: the name of the file decides the digits
        (44.87, 0.09, NOT_COMPARABLE),
        (44.88, 0.09, CONTRADICTED),
        (44.781, 0.001, REPRODUCED),
        (44.786, 0.001, CONTRADICTED),
    ],
)
def test_a_figure_within_the_reach_of_an_unstated_convention_is_not_judged(
    value: float, band: float, verdict: str
) -> None:
    (claim,) = (
        each
        for each in read_claims(["odn"])
        if (each.dataset, each.variant, each.metric) == ("MNIST", "depth=8/8", "disk_size")
    )
    found = compare(claim, Quantity({PLAIN: value}, band=band, convention="what is pickled"))
    assert found.verdict == verdict
    assert ("what is pickled" in found.reason) == (verdict == NOT_COMPARABLE)


def test_a_count_for_1000_classes_in_a_table_of_100_is_inconsistent_in_every_paper() -> None:
    for arch in ("resnet50", "efficientnet_b7"):
        found = one("mind", arch=arch, dataset="CIFAR-100", metric="params")
        assert found.verdict == INCONSISTENT
        assert "1,000-class" in found.reason


def test_what_explains_a_contradiction_is_said() -> None:
    assert (
        "4 times the rounded 36.5 M"
        in one("swn", table="2", arch="wrn28_10", method="deep_ensemble", metric="params").reason
    )
    assert (
        "ptflops"
        in one(
            "adn",
            table="1",
            arch="mobilenet_v2",
            method="end_to_end",
            variant="full",
            metric="gmacs",
        ).reason
    )


@pytest.mark.parametrize(
    ("columns", "computed", "words"),
    [
        ({"paper": "adn", "arch": "vit_b_16", "variant": "base"}, 58.216, "no block count"),
        ({"paper": "adn", "arch": "swin_t", "variant": "base"}, 22.401, "mixes two"),
        (
            {"paper": "adn", "arch": "mobilenet_v2", "method": "adaptive_depth"},
            3.528,
            "official code",
        ),
        (
            {"paper": "odn", "dataset": "EMNIST-letters", "variant": "depth=8/8"},
            11.181,
            "10-class network",
        ),
        ({"paper": "mind", "arch": "mind-cnn", "dataset": "CIFAR-100"}, 2.243, "classifiers"),
    ],
)
def test_inconsistent_claims_show_what_was_computed(
    columns: dict[str, str], computed: float, words: str
) -> None:
    found = one(**columns, metric="params")
    assert found.verdict == INCONSISTENT
    assert words in found.reason
    assert found.computed == pytest.approx(computed, abs=6e-4)


def test_what_is_not_computed_says_why() -> None:
    def reason(paper: str, **columns: str) -> tuple[str, str]:
        found = one(paper, **columns)
        assert found.computed is None
        return found.verdict, found.reason

    super_net = {"table": "1", "arch": "resnet50", "method": "adaptive_depth", "variant": "super"}
    assert reason("adn", **super_net, metric="top1") == (NOT_RUN, "needs training on ImageNet-1k")
    verdict, why = reason("adn", **super_net, metric="latency")
    assert verdict == NOT_COMPARABLE
    assert "RTX 3090" in why
    assert reason("adn", arch="ResNet50-ADN (base)", metric="top1")[1].startswith("needs training")
    verdict, why = reason("mind", table="11", variant="full", metric="top1")
    assert verdict == INCONSISTENT
    assert "91.3" in why
    assert reason("repl", metric="ppl")[0] == reason("repl", metric="top1")[0] == NOT_COMPARABLE
    for each in checked():
        claim = each.claim
        if claim.metric in ("box_ap", "mask_ap"):
            assert (each.verdict, each.computed) == (NOT_RUN, None)
            known = claim.task in TASKS.names()
            assert ("needs training on COCO" if known else claim.task) in each.reason
        elif claim.task not in TASKS.names() and claim.paper == "adn":
            assert claim.metric in EXACT
        elif "(base)" not in claim.method and claim.method not in METHODS.names():
            if claim.method != "deep_ensemble" or claim.metric not in EXACT:
                assert each.verdict == NOT_RUN
                assert claim.method in each.reason


def claim(value: str, metric: str = "gmacs") -> Claim:
    found = one("adn", arch="resnet50", method="end_to_end", variant="full", metric=metric)
    return replace(found.claim, value=Decimal(value))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("4.11", REPRODUCED),
        ("4.112", REPRODUCED),
        ("4.1", REPRODUCED),
        ("4", REPRODUCED),
        ("4.12", CONTRADICTED),
        ("4.113", CONTRADICTED),
        ("4.10", CONTRADICTED),
    ],
)
def test_a_claim_broken_on_purpose_is_contradicted(value: str, verdict: str) -> None:
    assert check(claim(value)).verdict == verdict


def test_the_papers_own_counting_comes_first_where_several_meet_the_figure() -> None:
    assert check(claim("4.1")).counting == "fvcore"


def test_a_figure_met_by_another_counting_names_both() -> None:
    found = check(claim("4.09"))
    assert (found.verdict, found.counting) == (REPRODUCED, "plain")
    assert "fvcore, the paper's own counting, gives 4.112" in found.reason


@pytest.mark.parametrize(
    ("printed", "computed", "verdict"),
    [
        ("0.3", 0.25, REPRODUCED),
        ("0.3", 0.35, REPRODUCED),
        ("0.3", 0.3501, CONTRADICTED),
        ("37", 37.5, REPRODUCED),
        ("37", 37.51, CONTRADICTED),
        ("98.64", 98.6449, REPRODUCED),
        ("98.64", 98.6451, CONTRADICTED),
    ],
)
def test_tolerance_is_half_a_unit_of_the_last_digit(
    printed: str, computed: float, verdict: str
) -> None:
    assert compare(claim(printed), Quantity({"plain": computed})).verdict == verdict
