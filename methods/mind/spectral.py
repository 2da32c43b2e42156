"""How much a residual branch can stretch a distance: the norms behind the norm control.

``torch.nn.utils.parametrizations.spectral_norm`` would rename weights. Here they keep their names
and values: the product of the layers' spectral norms, their batch norms' factors included, bounds
the branch's Lipschitz constant, and the branch's output is divided by it, in every pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.blocks import Block

FIELD = 16
"""Side of the feature map that 3x3 convolutions are iterated on, in pixels."""
_TRANSFORMERS = ("vit", "swin")


class Operator(NamedTuple):
    """A linear layer with the scales of the norm layers next to it, as a convolution."""

    weight: Tensor
    """(out, in / groups, kh, kw)."""
    before: Tensor | None
    """Factor on each input channel (in,)."""
    after: Tensor | None
    """Factor on each output channel (out,)."""
    options: dict[str, Any]
    """``padding``, ``dilation`` and ``groups`` of the convolution."""

    def apply(self, v: Tensor) -> Tensor:
        """(1, in, H, W) to (1, out, H, W)."""
        return _scaled(F.conv2d(_scaled(v, self.before), self.weight, **self.options), self.after)

    def adjoint(self, u: Tensor) -> Tensor:
        """(1, out, H, W) to (1, in, H, W)."""
        back = F.conv_transpose2d(_scaled(u, self.after), self.weight, **self.options)
        return _scaled(back, self.before)


def _scaled(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor.view(1, -1, 1, 1)


def norm_factor(norm: nn.Module) -> Tensor | None:
    """The factor that a norm layer puts on each channel, in evaluation mode.

    Layer and group norms also divide by a deviation of their input, which is not known here.
    """
    weight = getattr(norm, "weight", None)
    variance = getattr(norm, "running_var", None)
    if variance is None:
        return None if weight is None else weight.abs()
    deviation = (variance + norm.eps).sqrt()
    return 1 / deviation if weight is None else weight.abs() / deviation


def operators(block: Block) -> list[Operator]:
    """The weight-bearing layers of a block, in the order of its roles."""
    roles = list(block.roles.items())
    factors = [norm_factor(norm) for norm in block.norms.values()]
    if block.kind in _TRANSFORMERS:
        normed = {"qkv": factors[0], "fc1": factors[1]}
        return [_linear(role, layer, normed.get(role)) for role, layer in roles]
    found = []
    for (_, conv), factor in zip(roles, factors, strict=True):
        options = {"padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups}
        before, after = (factor, None) if block.kind == "preact" else (None, factor)
        found.append(Operator(conv.weight, before, after, options))
    return found


def _linear(role: str, layer: nn.Module, factor: Tensor | None) -> Operator:
    weight = layer.in_proj_weight if isinstance(layer, nn.MultiheadAttention) else layer.weight
    if role == "qkv":  # of queries, keys and values only the values are passed on
        weight = weight[-(len(weight) // 3) :]
    return Operator(weight[:, :, None, None], factor, None, {})


class BranchNorm(nn.Module):
    """An estimate of a bound on the Lipschitz constant of a block's residual branches.

    For convolutions with batch norm and ReLU the product of the layers' norms is a bound; power
    iteration comes to each of them from below. For transformers the estimate also leaves out how
    attention and layer norm depend on their input.

    Args:
        block: the block; not kept, since its weights belong to the backbone.
    """

    sigma: Tensor
    """The product; below 0 where it is not known yet."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        # A generator of its own: whether norms are controlled must not shift any other draw.
        generator = torch.Generator().manual_seed(block.number)
        for index, operator in enumerate(operators(block)):
            side = FIELD if operator.weight.shape[-1] > 1 else 1
            width = operator.weight.shape[1] * operator.options.get("groups", 1)
            vector = torch.randn((1, width, side, side), generator=generator)
            self.register_buffer(f"vector{index}", vector / vector.norm())
        self.register_buffer("sigma", torch.tensor(-1.0))
        self.known = False
        """Whether ``sigma`` has been estimated."""

    def update(self, block: Block, iterations: int) -> Tensor:
        """Make ``sigma`` follow the block's weights by a few power iterations.

        Returns:
            The same with the gradient of the weights, as
            ``torch.nn.utils.parametrizations.spectral_norm`` has it: the vectors are constants.
        """
        with torch.autocast(self.sigma.device.type, enabled=False):
            norms = []
            for index, operator in enumerate(operators(block)):
                vector = getattr(self, f"vector{index}")
                with torch.no_grad():
                    for _ in range(iterations):
                        back = operator.adjoint(operator.apply(vector))
                        # A zero weight would leave a zero vector that never recovers.
                        vector.copy_(torch.where(back.norm() > 0, back / back.norm(), vector))
                norms.append(operator.apply(vector.clone()).norm())
            bound = self._bound(block, norms)
            self.sigma.copy_(bound.detach())
        self.known = True
        return bound

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.known = bool(self.sigma >= 0)

    @staticmethod
    def _bound(block: Block, norms: list[Tensor]) -> Tensor:
        if block.kind in _TRANSFORMERS:
            attention, mlp = norms[0] * norms[1], norms[2] * norms[3]
            return attention + mlp + attention * mlp
        return torch.stack(norms).prod()
