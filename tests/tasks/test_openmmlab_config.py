"""Configs by name and file, changed keys, and recipes that run on the spent fraction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR, MultiStepLR

from benchmarks.engine.optim import schedule_in_batches
from tasks.errors import UserError
from tasks.openmmlab.config import load_config, override, take_weights
from tasks.openmmlab.recipes import config_recipe
from tasks.openmmlab.scope import openmmlab

RETINANET = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"


def load(name: str, scope: str = "mmdet") -> Config:
    with openmmlab(scope):
        return load_config(name, scope)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mmdet::retinanet/retinanet_r50_fpn_1x_cocoo.py", "did you mean 'retinanet/retinanet_r50"),
        ("mmdet::retinanet_r50_fpn_1x_coco.py", "did you mean"),
        ("mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py", "is not of mmdet"),
        ("absent.py", "there is no config file absent.py"),
        ("mmdet::_base_/models/retinanet_r50_fpn.py", "has no 'train_dataloader'"),
    ],
)
def test_a_config_that_cannot_be_had_is_told_in_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(name)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_config_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(")
    with pytest.raises(UserError, match=r"broken\.py cannot be read"):
        load(str(broken))


def test_a_config_of_the_other_package_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fcn.py"
    file.write_text("_base_ = 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'")
    with pytest.raises(UserError, match="is of mmseg, not of mmdet"):
        load(str(file))


def test_changes_reach_nested_keys_and_list_items() -> None:
    config = Config({"model": {"neck": [{"width": 1}, {"width": 2}], "sizes": [1, 2]}})
    override(config, {"model.neck.1.width": 5, "model.sizes.0": 7, "model.depth": 3})
    assert config.model.to_dict() == {
        "neck": [{"width": 1}, {"width": 5}],
        "sizes": [7, 2],
        "depth": 3,
    }


@pytest.mark.parametrize("key", ["model.bakbone.depth", "model.neck.7.width", "model.sizes.9"])
def test_a_change_that_leads_nowhere_is_told(key: str) -> None:
    config = Config({"model": {"backbone": {}, "neck": [{}], "sizes": [1]}})
    with pytest.raises(UserError, match="cannot be set"):
        override(config, {key: 1})


def test_weights_are_taken_out_and_named() -> None:
    for name, scope, weights in (
        (RETINANET, "mmdet", "torchvision://resnet50"),
        (
            "mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
            "mmseg",
            "open-mmlab://resnet50_v1c",
        ),
    ):
        config = load(name, scope)
        assert take_weights(config.model) == [weights]
        assert take_weights(config.model) == []
        assert "://" not in str(config.model)


def test_the_recipe_of_a_config_gives_its_learning_rates_at_its_own_length() -> None:
    steps_per_epoch = 50
    recipe = config_recipe(load(RETINANET), RETINANET, 16 * steps_per_epoch)
    assert recipe.batch_size == 16
    assert recipe.optimizer["lr"] == 0.01
    steps = 12 * steps_per_epoch

    def rates(schedulers: list[object], optimizer: torch.optim.Optimizer) -> list[float]:
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
        return found

    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)

    # As mmdet builds them: the warm-up by iteration, the milestones by epoch.
    plain = optimizer()
    expected = rates(
        [
            LinearLR(plain, start_factor=0.001, by_epoch=False, begin=0, end=500),
            MultiStepLR(plain, by_epoch=False, end=steps, milestones=[8 * 50, 11 * 50], gamma=0.1),
        ],
        plain,
    )
    ours = optimizer()
    built = [
        {"LinearLR": LinearLR, "MultiStepLR": MultiStepLR}[config.pop("type")](ours, **config)
        for config in schedule_in_batches(recipe.schedule, steps)
    ]
    assert rates(built, ours) == pytest.approx(expected)


def test_the_recipe_of_a_config_by_iterations() -> None:
    name = "mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-40k_cityscapes-512x1024.py"
    recipe = config_recipe(load(name, "mmseg"), name, 2975)
    assert recipe.batch_size == 8
    assert recipe.optimizer == {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    (poly,) = recipe.schedule
    assert poly == {"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "begin": 0.0, "end": 1.0}


def test_a_schedule_without_a_form_by_fraction_is_refused() -> None:
    name = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
    with pytest.raises(UserError, match="QuadraticWarmupLR cannot run on a fraction"):
        config_recipe(load(name), name, 117_266)
