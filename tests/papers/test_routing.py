"""Every claim of every paper is checked somehow, and a run behind one is a run that works."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import odn_logs
import pytest
import torch

import benchmarks.papers.claims
from benchmarks.papers import adn
from benchmarks.papers.cautions import INCONSISTENT, NOT_COMPARABLE, NOT_RUN
from benchmarks.papers.claims import COLUMNS, EXACT, Claim, papers, read_claims
from benchmarks.papers.differences import differences
from benchmarks.papers.paper import paper_of
from benchmarks.papers.routes import Counted, Excluded, Measure, Setting, Trained
from benchmarks.papers.routing import route, select_claims
from benchmarks.records.row import METRICS
from benchmarks.spec import RunSpec
from methods.adaptive_depth.subnets import select_subnets
from methods.base import METHODS
from tasks.base import TASKS
from tasks.errors import UserError
from tasks.registry import build

SETTINGS = [
    Setting(profile, gpu) for profile in ("paper", "short", "smoke") for gpu in (False, True)
]
CLAIMS = read_claims()


def runs(setting: Setting) -> dict[str, tuple[RunSpec, list[tuple[Claim, Trained]]]]:
    found: dict[str, tuple[RunSpec, list[tuple[Claim, Trained]]]] = {}
    for claim in CLAIMS:
        how = route(claim, setting)
        if isinstance(how, Trained):
            key = json.dumps(how.spec.to_dict(), sort_keys=True)
            found.setdefault(key, (how.spec, []))[1].append((claim, how))
    return found


def one(paper: str, table: str, *rows: str) -> Claim:
    (claim,) = select_claims(paper, table, rows)
    return claim


def trained(claim: Claim, profile: str = "paper", gpu: bool = False) -> Trained:
    how = route(claim, Setting(profile, gpu))
    assert isinstance(how, Trained)
    return how


def test_every_paper_with_claims_has_a_module() -> None:
    for name in papers():
        assert paper_of(name).name == name


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_claim_is_counted_run_or_left_out_with_a_reason(setting: Setting) -> None:
    for claim in CLAIMS:
        how = route(claim, setting)
        assert isinstance(how, Counted) == (claim.metric in EXACT)
        if isinstance(how, Excluded):
            assert how.verdict in (NOT_RUN, NOT_COMPARABLE)
            assert len(how.reason) > 10
        elif isinstance(how, Trained):
            assert how.spec.profile == setting.profile
            assert how.spec.suite == f"reproduce-{claim.paper}-{setting.profile}"
            if isinstance(how.measure, Measure):
                own = METHODS.get(how.spec.method).metrics
                assert how.measure.metric.split("@")[0] in {**METRICS, **own}
            else:
                assert how.measure


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_whether_a_claim_is_run_does_not_depend_on_the_profile(setting: Setting) -> None:
    for claim in CLAIMS:
        assert type(route(claim, setting)) is type(route(claim, Setting("paper")))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_run_has_a_task_and_a_method_that_take_its_options(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    for spec, _ in runs(setting).values():
        build("method", METHODS.get(spec.method), dict(spec.method_options))
        if spec.task == "classification":
            build("task", TASKS.get(spec.task), dict(spec.task_options))
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def searches() -> dict[str, Trained]:
    """How each accuracy that a search of Optimally Deep Networks found is checked, by data set."""
    claims = select_claims("odn", "I", ["optimal_depth", "top1"])
    return {claim.dataset: trained(claim) for claim in claims}


PRINTED = {name: 3 + sum(map(len, depths)) for name, depths in odn_logs.VALIDATIONS.items()}
"""Epochs of warm-up, search and fine-tuning in the notebooks' logs."""


def test_a_search_may_spend_twice_what_the_printed_one_did() -> None:
    found = {name: how.spec.budget.amounts["epochs"] for name, how in searches().items()}
    assert {name: found[name] for name in PRINTED} == {n: 2 * e for n, e in PRINTED.items()}


def test_the_depth_alone_trains_as_long_as_the_printed_search_did() -> None:
    """Not for the ceiling of the budget, which a search that ends by its own rule leaves over."""
    for name, how in searches().items():
        spent = PRINTED.get(name, how.spec.budget.amounts["epochs"])
        assert how.controls[0].budget.amounts == {"epochs": spent}


def test_searches_hold_out_the_last_images_and_say_where_the_papers_are_others() -> None:
    found = searches()
    held_out = {name: how.spec.task_options["val_size"] for name, how in found.items()}
    assert {name: held_out[name] for name in ("MNIST", "SVHN")} == {"MNIST": 10_000, "SVHN": 5_000}
    assert {how.spec.task_options["split"] for how in found.values()} == {"last"}
    assert any("defines no validation split" in said for said in found["EMNIST-letters"].remarks)
    assert any("last 32 of the 26,032 test images" in said for said in found["SVHN"].remarks)
    assert not any("images" in said for said in found["MNIST"].remarks)


def test_searches_compare_as_the_printed_logs_do_and_full_depths_exactly() -> None:
    presets = {how.spec.method_options["preset"] for how in searches().values()}
    assert presets == {"log"}
    whole = trained(one("odn", "I", "MNIST", "depth=8/8", "top1"))
    assert whole.spec.method_options["preset"] == "paper"
    assert whole.controls == ()


@pytest.mark.parametrize("profile", ["paper", "smoke"])
def test_the_variant_of_every_claim_is_one_of_its_run(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHBENCH_DATA", str(tmp_path))
    checked = 0
    for spec, claims in runs(Setting(profile)).values():
        if spec.task != "classification" or spec.method != "adaptive_depth":
            continue
        task = build("task", TASKS.get(spec.task), dict(spec.task_options))
        with torch.device("meta"):
            model = METHODS.get(spec.method)(**spec.method_options).prepare(task.build_model())
        flags = len(model.backbone.switch.skip)
        variants = set(select_subnets(spec.method_options["subnets"], flags))
        for _, how in claims:
            assert isinstance(how.measure, Measure)
            assert {how.measure.variant, how.measure.below} <= variants | {""}
            checked += 1
    assert checked > 40


def test_every_published_network_can_be_built() -> None:
    seen = set()
    for spec, _ in runs(Setting("paper")).values():
        if spec.task != "classification" or spec.method == "adaptive_depth":
            continue  # those above, and detectors, which have tests of their own
        task = build("task", TASKS.get(spec.task), dict(spec.task_options))
        method = METHODS.get(spec.method)(**spec.method_options)
        with torch.device("meta"):
            method.setup(task)
            if _is_too_small(spec):
                with pytest.raises(UserError, match="below the minimum of 9,022,464"):
                    method.prepare(task.build_model())
            else:
                method.prepare(task.build_model())
        seen.add(spec.method)
    assert seen == {"end_to_end", "base_net", "optimal_depth", "superweight", "mind"}


def _is_too_small(spec: RunSpec) -> bool:
    """Table 3's heterogeneous ensemble of 7 M, which the project's SuperWeights do not fit into."""
    return "wrn_34_8" in str(spec.method_options) and spec.method_options["max_params"] == 7_000_000


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("profile", ["short", "smoke"])
def test_a_smaller_profile_says_what_it_changes(profile: str, gpu: bool) -> None:
    for spec, claims in runs(Setting(profile, gpu)).values():
        for claim, how in claims:
            published = trained(claim).spec
            assert spec.budget != published.budget
            told, *rest = how.changes
            assert told.startswith(f"the {profile} profile has ")
            assert f"budget {spec.budget} (paper: {published.budget})" in told
            assert tuple(rest) == trained(claim).changes
            if profile == "smoke":
                assert "data digit" in told


def test_differences_are_those_of_the_specs_and_no_others() -> None:
    claim = one("adn", "1", "resnet50", "adaptive_depth", "super", "top1")
    published, short = trained(claim).spec, trained(claim, "short", gpu=True).spec
    assert differences(published, short) == ["budget 262144 samples (paper: 150 epochs)"]
    assert differences(published, published) == []
    smoke = "; ".join(differences(published, trained(claim, "smoke").spec))
    assert "network resnet18_cifar_stem (paper: resnet50)" in smoke
    assert "the task's own recipe" in smoke


def test_the_recipe_of_resnet50_is_the_published_one() -> None:
    spec = trained(one("adn", "1", "resnet50", "end_to_end", "full", "top1")).spec
    assert spec.budget.as_dict() == {"epochs": 150}
    assert spec.recipe["batch_size"] == 256
    assert (spec.recipe["optimizer"]["lr"], spec.recipe["optimizer"]["weight_decay"]) == (0.1, 1e-4)
    (step,) = spec.recipe["schedule"]
    assert [round(150 * share) for share in step["milestones"]] == [60, 100, 140]


@pytest.mark.parametrize(
    ("row", "method", "options"),
    [
        (("1", "swin_t", "adaptive_depth", "base"), "adaptive_depth", {"swin_last_mandatory"}),
        (("1", "swin_t", "end_to_end", "base"), "base_net", {"swin_last_mandatory"}),
        (("README", "swin_t", "TTTT"), "adaptive_depth", set()),
        (("4", "resnet50", "base; distill=off; skip_norms=on"), "adaptive_depth", {"distillation"}),
        (("4", "vit_b_32", "super; distill=on; skip_norms=off"), "adaptive_depth",
         {"skip_aware_norms"}),
        (("2", "Swin-T-ADN (base)"), "adaptive_depth", {"swin_last_mandatory"}),
    ],
)  # fmt: skip
def test_what_a_row_of_adn_stands_for(row: tuple[str, ...], method: str, options: set[str]) -> None:
    claim = one("adn", *row, "top1")
    how = trained(claim)
    assert how.spec.method == method
    assert set(how.spec.method_options) - {"subnets"} == options
    if "base" in claim.variant or claim.variant == "TTTT" or "base" in claim.arch:
        assert isinstance(how.measure, Measure)
        assert how.measure.variant == ("full" if method == "base_net" else "base")


def test_claims_of_one_network_share_its_run() -> None:
    both = ("super", "base", "TTFF", "FFFF")
    resnet = [c for c in CLAIMS if (c.paper, c.arch) == ("adn", "resnet50") and "v2" not in c.table]
    claims = [c for c in resnet if c.variant in both]
    specs = [trained(c).spec for c in claims if c.metric == "top1" and c.method != "end_to_end"]
    assert len(specs) == 4
    assert all(spec == specs[0] for spec in specs)
    clean = trained(one("swn", "5", "CIFAR-100", "SWN-HE 36.5M", "nll"))
    corrupted = trained(one("swn", "5", "CIFAR-100-C", "SWN-HE 36.5M", "nll"))
    assert clean.spec == corrupted.spec
    assert isinstance(corrupted.measure, Measure)
    assert corrupted.measure.metric == "nll@corrupted"
    assert not clean.changes
    assert corrupted.changes  # the images are made here


RESNET = adn.NETWORKS["resnet50"]
SWIN = adn.NETWORKS["swin_t"]


@pytest.mark.parametrize("name", adn.NETWORKS)
def test_what_an_official_command_asks_for_is_done_or_told(name: str) -> None:
    """Every flag of the command is known; a recipe that drifts from it says so."""
    network = adn.NETWORKS[name]
    flags = set(network.command)
    assert flags <= set(adn.BUILT) | set(adn.MISSING)
    told = {flag for flag in flags if any(f"--{flag}" in each for each in network.departures)}
    missing = flags & set(adn.MISSING)
    known = {"train-crop-size", "val-resize-size", "interpolation", "stochastic-depth"}
    assert told == missing | flags & known


@pytest.mark.parametrize(
    ("network", "recipe", "options", "flag"),
    [
        (RESNET, {"paramwise": {}}, {}, "--norm-weight-decay is 0.0001 (published: 0.0)"),
        (RESNET, {"batch_size": 128}, {}, "--batch is 128 (published: 256)"),
        (SWIN, {}, {"label_smoothing": 0.0}, "--label-smoothing is 0.0 (published: 0.1)"),
        (SWIN, {}, {"augment": {"policy": "randaugment", "erase": 0.25}}, "--auto-augment is ra"),
    ],
)  # fmt: skip
def test_a_recipe_that_departs_from_the_command_says_so(
    network: adn.Network, recipe: dict, options: dict, flag: str
) -> None:
    changed = replace(
        network, recipe={**network.recipe, **recipe}, options={**network.options, **options}
    )
    assert any(each.startswith(flag) for each in changed.departures)
    assert not any(each.startswith(flag) for each in network.departures)


def test_table_3_is_timed_at_its_batch_size_and_the_finding_says_at_which() -> None:
    claim = one("adn", "3", "adaptive_depth")
    published, small = trained(claim), trained(claim, "smoke")
    assert published.spec.recipe["batch_size"] == 128
    assert published.spec.budget.amounts == {"epochs": 1}
    assert published.remarks == ("trained at batch 128",)
    assert small.spec.recipe["batch_size"] == 8
    assert "batch_size 8 (paper: 128)" in small.changes[0]


def test_a_subnetwork_between_has_itself_trained_alone_as_its_control() -> None:
    (alone,) = trained(one("adn", "README", "resnet50", "TTFF", "top1")).controls
    assert (alone.method, alone.method_options) == ("base_net", {"skip": "TTFF"})
    assert trained(one("adn", "README", "resnet50", "TTTT", "top1")).controls == ()


def test_what_is_not_run_says_why() -> None:
    def reason(*where: str) -> str:
        how = route(one(*where), Setting("paper"))
        assert isinstance(how, Excluded)
        return how.reason

    assert "prior work" in reason("swn", "5", "CIFAR-10", "WRN-28-10 single", "nll")
    assert reason("adn", "2", "GReg-1", "top1") == "method not in the project: GReg-1"
    assert "Places365 is not in the project" in reason("mind", "8", "Places365", "top1")
    assert "neither the recipe" in reason("mind", "2", "CIFAR-100", "resnet50", "top1")
    assert "'no entropy term'" in reason("mind", "11", "no entropy term", "top1")
    assert "names neither the row" in reason("repl", "1 (2024 version)")


def test_claims_that_exclude_each_other_are_run_all_the_same() -> None:
    claim = one("mind", "2", "CIFAR-100", "mind-cnn", "top1")
    warning = paper_of(claim.paper).caution(claim)
    assert warning is not None
    assert warning.verdict == INCONSISTENT
    assert trained(claim).changes


def test_rows_are_chosen_by_whole_cells_whatever_their_case() -> None:
    every = select_claims("odn", "i")
    assert len(every) == 45
    assert {c.dataset for c in select_claims("odn", "I", ["mnist"])} == {"MNIST"}
    assert {c.dataset for c in select_claims("odn", None, ["*mnist*"])} == {
        "MNIST",
        "EMNIST-letters",
        "Fashion-MNIST",
    }
    (claim,) = select_claims("odn", "I", ["mnist", "TOP1", "depth=2/8"])
    assert str(claim.value) == "99.31"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("odm",), "unknown paper 'odm' (did you mean 'odn'?)"),
        (("adn", "6"), "unknown table of adn '6'"),
        (("odn", "I", ["mnst"]), "no row of odn matches 'mnst' (did you mean 'mnist'?)"),
        (("odn", "I", ["mnist", "svhn"]), "no row of odn matches 'svhn'"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple, said: str) -> None:
    with pytest.raises(UserError) as caught:
        select_claims(*arguments)
    assert said in str(caught.value)


def test_a_broken_claim_is_named_by_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "odn,I,classification,MNIST,a,end_to_end,full,top1,99.6,,%,,\n"
    bad = "odn,I,classification,MNIST,a,end_to_end,full,top5,much,,%,,\n"
    (tmp_path / "odn.csv").write_text(",".join(COLUMNS) + "\n" + good + bad)
    monkeypatch.setattr(benchmarks.papers.claims, "_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"odn\.csv:3: the value 'much' is not a number"):
        select_claims("odn")
