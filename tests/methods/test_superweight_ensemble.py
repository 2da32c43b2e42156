"""The ensemble as a model: predictions, losses, subsets, copies, plain export."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from superweight_helpers import digits, ensemble, images
from torch import nn

from benchmarks.meters.operations import count_macs
from benchmarks.meters.parameters import parameters as count_parameters
from methods.superweight import SuperWeight, export
from methods.superweight.ensemble import diversity, mean_of_softmaxes, member_macs, weight_shapes
from tasks.errors import UserError
from tasks.registry import build

LABELS = torch.tensor([0, 1, 2, 3])


@torch.no_grad()
def predict(model, inputs):
    return model.eval()(inputs)


def test_prediction_is_the_mean_of_softmaxes():
    _, model, _ = ensemble()
    members = [predict(member, images()).softmax(1) for member in model.backbone.members]
    torch.testing.assert_close(predict(model, images()).softmax(1), sum(members) / 2)
    torch.testing.assert_close(predict(model, images()).exp().sum(1), torch.ones(4))


def test_mean_of_softmaxes_stands_huge_logits():
    logs = mean_of_softmaxes([torch.tensor([[1000.0, 0.0]]), torch.tensor([[0.0, 1000.0]])])
    torch.testing.assert_close(logs.exp(), torch.tensor([[0.5, 0.5]]))


def test_loss_is_the_sum_of_the_members_cross_entropies():
    _, model, _ = ensemble()
    losses = model(images(), LABELS, mode="loss")
    total, _ = model.parse_losses(losses)
    expected = sum(
        nn.functional.cross_entropy(member(images()), LABELS) for member in model.backbone.members
    )
    assert len(losses) == 2
    torch.testing.assert_close(total, expected)


def test_no_convolution_weight_is_stored_and_all_bank_parameters_learn():
    _, model, _ = ensemble()
    stored = {name for name, _ in model.named_parameters()}
    assert not any("conv" in name or "shortcut" in name for name in stored)
    model(images(), LABELS, mode="loss")["member1.loss"].backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None and ".members.1." not in n]
    assert not missing


def test_baseline_budget_is_what_the_first_members_convolutions_would_store():
    method = SuperWeight(members=1)
    task = digits("wrn_10_2")
    method.setup(task)
    plain = task.build_model()
    stored = sum(p.numel() for p in plain.parameters() if p.ndim == 4)
    model = method.prepare(plain)
    assert sum(bank.templates.numel() for bank in model.backbone.banks) <= stored
    assert method._budget == stored


def test_a_single_network_can_have_fewer_or_more_parameters_than_its_architecture():
    task = digits("wrn_16_1")
    plain = count_parameters(task.build_model()).stored
    sizes = []
    for budget in (80_000, 500_000):
        method = SuperWeight(members=1, max_params=budget)
        method.setup(task)
        model = method.prepare(task.build_model())
        assert predict(model, images()).shape == (4, 10)
        sizes.append(count_parameters(model).stored)
    assert sizes[0] < plain < sizes[1]


def test_members_of_one_architecture_differ():
    _, model, _ = ensemble(members=["wrn_10_1", "wrn_10_1"])
    first, second = (predict(member, images()) for member in model.backbone.members)
    assert not torch.allclose(first, second)


def test_state_dict_round_trip():
    _, model, _ = ensemble(seed=0)
    _, other, _ = ensemble(seed=1)
    assert not torch.allclose(predict(model, images()), predict(other, images()))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(predict(model, images()), predict(other, images()))


def test_deep_copy_is_independent():
    _, model, _ = ensemble()
    copied = copy.deepcopy(model)
    before = predict(model, images())
    assert torch.equal(predict(copied, images()), before)
    with torch.no_grad():
        for parameter in copied.backbone.banks.parameters():
            parameter.mul_(-2)
    assert torch.equal(predict(model, images()), before)
    assert not torch.allclose(predict(copied, images()), before)


def test_export_gives_plain_networks_with_equal_outputs():
    _, model, _ = ensemble()
    plain = export(model)
    assert torch.equal(predict(plain, images()), predict(model, images()))
    assert {type(m) for m in plain.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}
    assert sum(p.numel() for p in plain.parameters() if p.ndim == 4) == sum(
        torch.Size(shape).numel() for shapes in weight_shapes([plain]) for shape in shapes
    )
    with torch.no_grad():
        next(model.backbone.banks.parameters()).zero_()
    assert not torch.equal(predict(plain, images()), predict(model, images()))


def test_variants_are_the_ensemble_then_nested_subsets_from_the_cheapest():
    method, model, _ = ensemble(members=["wrn_16_1", "wrn_10_2", "wrn_10_1"], max_params=6e5)
    variants = method.variants(model)
    assert list(variants) == ["members=3", "members=1", "members=2"]
    cheapest = model.backbone.members[2]
    torch.testing.assert_close(
        predict(variants["members=1"], images()), predict(cheapest, images())
    )
    assert torch.equal(predict(variants["members=3"], images()), predict(model, images()))


def test_all_subsets_in_the_order_of_their_macs():
    method, model, task = ensemble(
        members=["wrn_16_1", "wrn_10_2", "wrn_10_1"], max_params=6e5, subsets="all"
    )
    variants = method.variants(model)
    assert set(variants) == {
        "members=3",
        "subset=1",
        "subset=2",
        "subset=3",
        "subset=1+2",
        "subset=1+3",
        "subset=2+3",
    }
    example = task.example_input(1, torch.device("cpu"))
    macs = [count_macs(variant, example) for variant in list(variants.values())[1:]]
    assert macs == sorted(macs)


def test_a_subset_holds_only_what_it_uses_and_shares_the_templates():
    method, model, _ = ensemble(members=["wrn_10_1", "wrn_10_3"], max_params=1e6)
    small = method.variants(model)["members=1"]
    own = {id(bank.templates) for bank in model.backbone.banks}
    shared = {id(bank.templates) for bank in small.backbone.banks}
    assert shared < own
    assert all(len(bank.rows) < 16 for bank in small.backbone.banks)
    assert count_parameters(small).stored < count_parameters(model).stored


def test_macs_of_a_member_hold_those_that_make_its_weights():
    _, model, task = ensemble(max_params=200_000)
    plain = [
        count_macs(task.build_model(arch), task.example_input(1, torch.device("cpu")))
        for arch in ("wrn_16_1", "wrn_10_1")
    ]
    making = [0, 0]
    for number, member in enumerate(model.backbone.members):
        for layer in member.modules():
            for recipe in getattr(layer, "recipes", {}).values():
                making[number] += sum(bank.templates.numel() for bank in recipe.banks)
    found = member_macs(model, task.example_input(1, torch.device("meta")))
    assert found == [a + b for a, b in zip(plain, making, strict=True)]
    predict(model, images())  # weights kept from an evaluation do not make the count smaller
    assert count_macs(model, task.example_input(1, torch.device("cpu"))) == sum(found)


def test_diversity_is_mean_disagreement_over_mean_error():
    labels = torch.tensor([0, 0, 0, 0])
    predictions = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 2], [0, 3, 0, 0]])
    # Pairs differ on 1, 3 and 3 of 4 images; the members err on 2, 2 and 1 of 4.
    assert diversity(predictions, labels) == pytest.approx((7 / 12) / (5 / 12))
    assert diversity(predictions[:1].expand(2, -1), labels) == 0


def test_analysis_of_an_ensemble_and_of_a_single_member():
    method, model, task = ensemble()
    batches = list(task.eval_batches("test", torch.device("cpu")))
    variants = method.variants(model)
    assert 0 < method.analyse("members=2", variants["members=2"].eval(), batches)["diversity"] < 2
    assert method.analyse("members=1", variants["members=1"].eval(), batches) == {}
    batches[0]["inputs"][3] = float("nan")
    assert math.isnan(method.analyse("members=2", variants["members=2"], batches)["diversity"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": "per_layers"}, "did you mean 'per_layer'"),
        ({"members": 0}, "members"),
        ({"members": "wrn_16_1"}, "a whole number or a list"),
        ({"bins": 0}, "bins"),
        ({"max_params": "36M"}, "36.5e6"),
        ({"max_params": -1}, "36.5e6"),
        ({"search_share": 1.5}, "search_share"),
        ({"search_epochs": 0}, "search_epochs"),
    ],
)
def test_wrong_options_say_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        build("superweight", SuperWeight, options)


def test_a_budget_written_in_yaml_style_is_a_number():
    assert SuperWeight(max_params="36.5e6")._asked == 36_500_000


def test_a_network_without_convolutions_is_refused():
    method = SuperWeight(members=1)
    task = digits()
    method.setup(task)
    model = task.build_model()
    model.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(UserError, match="has none"):
        method.prepare(model)
