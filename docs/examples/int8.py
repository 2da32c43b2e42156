import copy
from dataclasses import dataclass
from itertools import islice

import torch.nn.functional as F
from torch import nn

from methods import METHODS, Method


class Int8Conv(nn.Module):
    """A convolution of INT8 weights, a scale a channel, and inputs rounded to 8 bits."""

    def __init__(self, conv):
        super().__init__()
        weight = conv.weight.detach()
        scale = weight.flatten(1).abs().amax(1).clamp_min(1e-8).view(-1, 1, 1, 1) / 127
        self.register_buffer("weight", (weight / scale).round().char())
        self.register_buffer("scale", scale)
        self.register_buffer("input_scale", conv.largest_input / 127)
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().clone())
        self.how = {k: getattr(conv, k) for k in ("stride", "padding", "dilation", "groups")}

    def forward(self, x):
        x = (x / self.input_scale).round().clamp(-127, 127) * self.input_scale
        return F.conv2d(x, self.weight.to(x.dtype) * self.scale, self.bias, **self.how)


@METHODS.register("int8")
@dataclass
class Int8(Method):
    """Plain training, then INT8 convolutions, calibrated on a few training batches."""

    calibrated_on: int = 4

    def prepare(self, model):
        for conv in convolutions(model):
            conv.register_buffer("largest_input", conv.weight.new_tensor(1.0))
        return model

    def finish(self, model, batches):
        def look(conv, inputs):
            conv.largest_input.copy_(conv.largest_input.maximum(inputs[0].abs().max()))

        for conv in convolutions(model):
            conv.largest_input.zero_()
        hooks = [conv.register_forward_pre_hook(look) for conv in convolutions(model)]
        for batch in islice(batches, self.calibrated_on):
            model.test_step(batch)
        for hook in hooks:
            hook.remove()

    def variants(self, model):
        quantised = copy.deepcopy(model)
        for name, module in list(quantised.named_modules()):
            if isinstance(module, nn.Conv2d):
                quantised.set_submodule(name, Int8Conv(module))
        return {"float32": model, "int8": quantised}


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]
