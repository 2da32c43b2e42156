"""Skip-aware self-distillation: what the base-net learns from the super-net.

Source: arXiv 2312.16392, section 3.2 and Algorithm 1; top-k and temperature as in the official
code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.errors import UserError

LOGITS = "logits"
TEACHER_CLASSES = 500
"""Of more classes than this, the official code compares only so many of the teacher's best."""


class Recorder:
    """Keeps the activations that the taps of a forward pass see, while it is recording."""

    def __init__(self) -> None:
        self.on = False
        self.seen: dict[str, Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[dict[str, Tensor]]:
        """Record forward passes; the yielded mapping fills up by tap name.

        Nothing is held afterwards, so that the autograd graph goes when the mapping goes.
        """
        self.on, self.seen = True, {}
        try:
            yield self.seen
        finally:
            self.on, self.seen = False, {}


@dataclass
class Tap:
    """A forward hook that shows a module's output to the recorder.

    An object, so that it is copied and pickled with the network. ``channels`` is the channel
    dimension of a feature map, over whose other dimensions but the first the mean is taken; None
    takes the output as it is. Of several outputs, the levels of a neck, each is a tap of its own:
    ``level1``, ``level2``, ...
    """

    recorder: Recorder
    name: str
    channels: int | None = None

    def __call__(
        self, module: nn.Module, inputs: tuple[object, ...], output: Tensor | Sequence[Tensor]
    ) -> None:
        """Record ``output``: logits (N, classes), or features pooled to (N, channels)."""
        if not self.recorder.on:
            return
        if isinstance(output, Tensor):
            self.recorder.seen[self.name] = self._pooled(output)
            return
        for number, level in enumerate(output, start=1):
            self.recorder.seen[f"{self.name}{number}"] = self._pooled(level)

    def _pooled(self, output: Tensor) -> Tensor:
        if self.channels is None:
            return output
        return output.movedim(self.channels, 1).flatten(2).mean(2)


def distillation_terms(
    teacher: Mapping[str, Tensor],
    student: Mapping[str, Tensor],
    temperature: float = 1.0,
    topk: int | str = "auto",
) -> dict[str, Tensor]:
    """The terms of line 8 of Algorithm 1, ``output`` and ``features`` (the sum over stages).

    Args:
        teacher: what the super-net's pass showed, by tap; no gradient flows into it.
        student: what the base-net's pass showed.
        temperature: divides logits and features.
        topk: see :func:`distillation_kl`; features are compared over all channels.

    Returns:
        Those terms that both passes showed.
    """
    terms = {}
    features = [name for name in teacher if name != LOGITS]
    if LOGITS in teacher:
        terms["output"] = distillation_kl(teacher[LOGITS], student[LOGITS], temperature, topk)
    if features:
        kls = [distillation_kl(teacher[n], student[n], temperature, "all") for n in features]
        terms["features"] = torch.stack(kls).sum()
    return terms


def distillation_kl(
    teacher: Tensor, student: Tensor, temperature: float = 1.0, topk: int | str = "auto"
) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, the mean over images.

    Args:
        teacher: (N, C), detached here.
        student: (N, C).
        temperature: T.
        topk: compare only the teacher's ``topk`` best classes of each image, both distributions
            renormalised over them; ``all`` classes; or ``auto``, 500 of more than 500.

    Raises:
        UserError: fewer classes than ``topk``.
    """
    teacher, classes = teacher.detach(), teacher.shape[1]
    if topk == "auto":
        topk = min(classes, TEACHER_CLASSES)
    if isinstance(topk, int):
        if topk > classes:
            raise UserError(
                f"adaptive_depth: there are fewer classes ({classes}) than topk={topk}; "
                "lower topk, or leave it out to compare all classes"
            )
        if topk < classes:
            teacher, best = teacher.topk(topk, dim=1)
            student = student.gather(1, best)
    # Mixed precision hands over half-precision outputs.
    dtype = torch.promote_types(student.dtype, torch.float32)
    target = F.log_softmax(teacher / temperature, dim=1, dtype=dtype)
    guess = F.log_softmax(student / temperature, dim=1, dtype=dtype)
    return F.kl_div(guess, target, reduction="batchmean", log_target=True) * temperature**2
