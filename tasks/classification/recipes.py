"""How a network is trained when a suite file does not say: one recipe an architecture family."""

from __future__ import annotations

from typing import Any

from tasks.base import Recipe

_COSINE = {"type": "CosineAnnealingLR", "begin": 0.0, "end": 1.0, "T_max": 1.0, "eta_min": 0.0}
_WARM_UP = 0.05


def default_recipe(dataset: str, arch: str) -> Recipe:
    """SGD for convolutional networks, AdamW with warm-up for transformers; cosine to zero.

    Args:
        dataset: registered name of the data set.
        arch: name of the network.
    """
    large = dataset in ("imagenet", "imagefolder")
    if arch.startswith(("vit_", "swin_", "maxvit")):
        return _transformer(batch_size=1024 if large else 128)
    if dataset == "digits":
        return _convolutional(batch_size=32, lr=0.05, weight_decay=5e-4)
    if large:
        return _convolutional(batch_size=256, lr=0.1, weight_decay=1e-4)
    return _convolutional(batch_size=128, lr=0.1, weight_decay=5e-4)


def _convolutional(batch_size: int, lr: float, weight_decay: float) -> Recipe:
    optimizer: dict[str, Any] = {
        "type": "SGD",
        "lr": lr,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": weight_decay,
    }
    return Recipe(batch_size=batch_size, optimizer=optimizer, schedule=(_COSINE,))


def _transformer(batch_size: int) -> Recipe:
    """Learning rate 1e-3 at batch 1024, half below; no decay on norms, biases, positions."""
    lr = 1e-3 if batch_size >= 1024 else 5e-4
    warm_up = {"type": "LinearLR", "start_factor": 0.01, "begin": 0.0, "end": _WARM_UP}
    cosine = {**_COSINE, "begin": _WARM_UP, "T_max": 1.0 - _WARM_UP}
    # mmengine knows a bias by the name "bias": that of torch's attention has another.
    undecayed = ("pos_embedding", "class_token", "relative_position_bias_table", "in_proj_bias")
    return Recipe(
        batch_size=batch_size,
        optimizer={"type": "AdamW", "lr": lr, "weight_decay": 0.05},
        schedule=(warm_up, cosine),
        paramwise={
            "norm_decay_mult": 0.0,
            "bias_decay_mult": 0.0,
            "custom_keys": {name: {"decay_mult": 0.0} for name in undecayed},
        },
        clip_grad={"max_norm": 1.0},
    )
