"""The conventions of counting: what costs how many multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks.meters.formulas import FVCORE, NO_ATTENTION, Formula, batch_norm_training
from benchmarks.meters.module_operations import MMCV, ModuleFormula


@dataclass(frozen=True)
class Counting:
    """A convention: what counts beside (or instead of) the multiply-adds of ``FORMULAS``.

    With ``modules`` it prices modules, and nothing else counts.
    """

    summary: str
    source: str
    formulas: Mapping[Any, Formula] = field(default_factory=dict)
    modules: Mapping[type[nn.Module], ModuleFormula] = field(default_factory=dict)


COUNTINGS: dict[str, Counting] = {
    "plain": Counting(
        "multiply-adds of convolutions, linear layers, matrix products and attention",
        "torch.utils.flop_counter, halved",
    ),
    "fvcore": Counting(
        "plain without fused attention, plus norms, adaptive pooling and upsampling by element",
        "fvcore.nn.FlopCountAnalysis of a model in evaluation mode; the convention of ADN",
        {**FVCORE, **NO_ATTENTION},
    ),
    "fvcore_train": Counting(
        "fvcore with batch norm at 5 operations an element",
        "fvcore.nn.FlopCountAnalysis of a model in training mode; the convention of ODN",
        {**FVCORE, **NO_ATTENTION, torch.ops.aten.batch_norm: batch_norm_training},
    ),
    "unfused_attention": Counting(
        "fvcore with the two matrix products of every attention",
        "fvcore.nn.FlopCountAnalysis where attention is written as two matmuls; ADN's ViT-B/16",
        FVCORE,
    ),
    "mmcv": Counting(
        "convolutions with their bias, linear layers, norms at 2 an element, activations and "
        "pooling at 1: of modules, and of nothing that a forward pass calls by itself",
        "mmcv.cnn.get_model_complexity_info, which mmdet's get_flops.py called up to 2.x; ADN's "
        "two-stage detectors",
        modules=MMCV,
    ),
}
