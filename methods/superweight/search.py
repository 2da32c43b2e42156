"""Which layers share templates and coefficients, decided from gradients while training."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from torch import Tensor

from methods.superweight.banks import Assignment, GradientSums, Shape, minimum, numbered
from methods.superweight.ensemble import Ensemble, compositions
from tasks.errors import UserError

Pair = tuple[float, int, int]
"""Similarity of two items, and their numbers, the lower one first."""


def by_union(pairs: Sequence[Pair], items: int, threshold: float) -> list[list[int]]:
    """Priority-queue grouping: pairs in falling similarity are united while above the threshold.

    Items that no such pair holds are groups of their own.

    Source: Algorithm 1 of the supplement.

    Args:
        pairs: similarities of pairs of items.
        items: how many there are.
        threshold: pairs must be above it.

    Returns:
        A partition of ``range(items)``; groups and their items in rising order.
    """
    group = {item: {item} for item in range(items)}
    for similarity, first, second in _falling(pairs):
        if similarity <= threshold:
            break
        united = group[first] | group[second]
        group |= dict.fromkeys(united, united)
    return _sorted_partition([min(group[item]) for item in range(items)])


def by_relabelling(pairs: Sequence[Pair], items: int, threshold: float) -> list[list[int]]:
    """The official code's variant: the second item of a pair alone takes the first one's group.

    What had been grouped with the second item before stays behind, so that groups depend on the
    order of pairs. Arguments and result as for :func:`by_union`.
    """
    group = list(range(items))
    for similarity, first, second in _falling(pairs):
        if similarity <= threshold:
            break
        group[second] = group[first]
    return _sorted_partition(group)


def _falling(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _sorted_partition(labels: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for item, label in enumerate(labels):
        groups.setdefault(label, []).append(item)
    return sorted(groups.values())


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two gradients, cropped to the output and input channels that both have.

    A gradient of zeros is similar to nothing: 0.

    Args:
        first: (output channels, input channels, *kernel), or a vector.
        second: likewise, with the same kernel.
    """
    shared = tuple(slice(min(a, b)) for a, b in zip(first.shape[:2], second.shape[:2], strict=True))
    return F.cosine_similarity(first[shared].flatten(), second[shared].flatten(), dim=0).item()


def pairwise(gradients: Sequence[Tensor]) -> list[Pair]:
    """The similarity of every two gradients."""
    return [
        (similarity(gradients[i], gradients[j]), i, j)
        for i, j in combinations(range(len(gradients)), 2)
    ]


Grouping = Callable[[Sequence[Pair], int, float], list[list[int]]]
STEP = 0.05

User = tuple[int, int]
"""Member and layer."""


def leaders(shapes: Sequence[Sequence[Shape]]) -> list[int]:
    """For each member, the first member with the same kernels layer by layer.

    Members copy their leader's clusters, so that only gradients of leaders are needed.
    """
    kernels = [[shape[2:] for shape in member] for member in shapes]
    return [kernels.index(member) for member in kernels]


def refine(
    start: Assignment,
    shapes: Sequence[Sequence[Shape]],
    gradients: Mapping[User, Tensor],
    threshold: float,
    budget: int,
    group: Grouping,
) -> Assignment:
    """Split every cluster where the gradients of its layers disagree.

    The layers of member 0 are grouped within each cluster. A layer of the first member of each
    other depth joins the group of the most similar layer of member 0 in its cluster; members of
    the same depth copy by index. As long as the minimum bank is above the budget the threshold
    falls by 0.05; below -1, where no pair is left out, ``start`` is the answer.

    Source: section 2.2.1 and algorithm 1 of the supplement.

    Args:
        start: the clusters in which the gradients were taken.
        shapes: weight shapes of each member's layers.
        gradients: of the composed weights of every leader's layers, see :func:`leaders`.
        threshold: pairs above it share templates.
        budget: elements that all templates together may have.
        group: Algorithm 1 or its official variant.
    """
    first = {
        cluster: [n for n, c in enumerate(start[0]) if c == cluster]
        for cluster in {c for member in start for c in member}
    }
    pairs = {c: pairwise([gradients[0, n] for n in layers]) for c, layers in first.items()}
    models = _models(start, first, gradients, leaders(shapes))
    while threshold >= -1:
        group_of: dict[int, Any] = {}
        for cluster, layers in first.items():
            for number, members in enumerate(group(pairs[cluster], len(layers), threshold)):
                group_of |= {layers[item]: (cluster, number) for item in members}
        found = numbered(
            [
                [
                    (c, -1) if model is None else group_of[model]
                    for c, model in zip(*pair, strict=True)
                ]
                for pair in zip(start, models, strict=True)
            ]
        )
        if minimum(shapes, found) <= budget:
            return found
        threshold -= STEP
    return start


def _models(
    start: Assignment,
    first: Mapping[int, Sequence[int]],
    gradients: Mapping[User, Tensor],
    leading: Sequence[int],
) -> list[list[int | None]]:
    """The layer of member 0 that each layer follows; None where its cluster has none."""
    models: list[list[int | None]] = []
    for member, leader in enumerate(leading):
        if leader < member:
            models.append(models[leader])
        elif member == 0:
            models.append(list(range(len(start[0]))))
        else:
            models.append(
                [
                    max(
                        first[cluster],
                        key=lambda n, g=gradients[member, layer]: similarity(g, gradients[0, n]),
                        default=None,
                    )
                    for layer, cluster in enumerate(start[member])
                ]
            )
    return models


_TOO_SHORT = (
    "the budget ends within the cluster search: lower search_epochs, leave it out for search_share "
    "of the budget, or give a larger budget"
)


class GradientSearch(Hook, abc.ABC):
    """Sum gradients over a stretch of a phase, then decide once.

    Where a meter ends the phase, whose length is then not known in advance, the stretch is found
    while training.
    The sums travel in checkpoints; what is decided is kept in buffers of the model.
    """

    priority = "HIGH"
    name: str
    too_short: str
    """What to say where the phase ended before anything could be decided."""

    def __init__(self) -> None:
        self._sums: dict[str, GradientSums] = {}
        self._earlier: dict[str, GradientSums] = {}
        self._stretch = range(0)
        self._open = self._decided = False

    @abc.abstractmethod
    def stretch(self, epoch: int, phase: int) -> range:
        """The batches whose gradients are summed, of ``phase`` batches in epochs of ``epoch``."""

    @abc.abstractmethod
    def follow(self, loop: Any) -> None:
        """Before each batch of a phase whose length is not known: set the stretch."""

    @abc.abstractmethod
    def at_end(self, loop: Any) -> dict[str, GradientSums]:
        """The sums to decide by at the end of such a phase."""

    @abc.abstractmethod
    def places(self, model: Ensemble) -> dict[str, Any]:
        """What has gradients to watch (a ``watched`` attribute), by a name for each."""

    @abc.abstractmethod
    def decide(self, model: Ensemble, sums: dict[str, dict[Any, Tensor]]) -> None:
        """Use the sums, by the names of :meth:`places`."""

    def before_train(self, runner: Any) -> None:
        """Place the stretch in the phase."""
        loop = runner.train_loop
        self._open = loop.open_ended
        if not self._open:
            self._stretch = self.stretch(len(loop.dataloader), loop.max_iters)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Watch gradients inside the stretch."""
        if self._open and not self._decided:
            self.follow(runner.train_loop)
        if runner.iter in self._stretch:
            for name, place in self.places(runner.model).items():
                place.watched = self._sums.setdefault(name, GradientSums())

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Stop watching; decide after the last batch of the stretch."""
        if runner.iter not in self._stretch:
            return
        for place in self.places(runner.model).values():
            place.watched = None
        if runner.iter == self._stretch[-1]:
            self._conclude(runner, self._sums)

    def after_train(self, runner: Any) -> None:
        """Decide where the phase ended within the stretch.

        Raises:
            UserError: it ended too early for that.
        """
        if self._decided:
            return
        sums = self.at_end(runner.train_loop) if self._open else {}
        if not sums:
            raise UserError(self.too_short)
        self._conclude(runner, sums)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save the sums so far."""
        checkpoint[self.name] = {
            "sums": {name: dict(sums.sums) for name, sums in self._sums.items()},
            "earlier": {name: dict(sums.sums) for name, sums in self._earlier.items()},
            "stretch": (self._stretch.start, self._stretch.stop),
            "decided": self._decided,
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on from the saved sums."""
        device = next(runner.model.parameters()).device
        saved = checkpoint[self.name]
        for into, sums in ((self._sums, saved["sums"]), (self._earlier, saved["earlier"])):
            for name, values in sums.items():
                into[name] = GradientSums()
                into[name].sums = {key: value.to(device) for key, value in values.items()}
        self._stretch = range(*saved["stretch"])
        self._decided = saved["decided"]

    def _conclude(self, runner: Any, sums: dict[str, GradientSums]) -> None:
        with torch.no_grad():
            self.decide(runner.model, {name: found.sums for name, found in sums.items()})
        self._sums, self._earlier = {}, {}
        self._stretch, self._decided = range(0), True


class ClusterSearch(GradientSearch):
    """Regroup layers by the gradients of their weights, into the model's ``decision`` buffer.

    Args:
        start: the clusters that the model is trained with.
        shapes: weight shapes of each member's layers.
        threshold: tau.
        budget: elements that all templates together may have.
        group: Algorithm 1 or its official variant.
        whole_epoch: sum over the phase's last epoch (its last whole one where a meter ends it);
            else take its last batch alone.
        epochs: the epochs that the phase must have, if it was given a number.
    """

    name = "superweight_clusters"
    too_short = _TOO_SHORT

    def __init__(
        self,
        start: Assignment,
        shapes: Sequence[Sequence[Shape]],
        threshold: float,
        budget: int,
        group: Grouping,
        whole_epoch: bool,
        epochs: int | None,
    ) -> None:
        super().__init__()
        self._start, self._shapes, self._group = start, shapes, group
        self._threshold, self._budget = threshold, budget
        self._whole_epoch, self._epochs = whole_epoch, epochs

    def stretch(self, epoch: int, phase: int) -> range:
        """The last epoch's worth of batches, or the last batch.

        Raises:
            UserError: the run's budget ends within the search.
        """
        if self._epochs is not None and phase < self._epochs * epoch:
            raise UserError(_TOO_SHORT)
        return range(max(0, phase - epoch) if self._whole_epoch else phase - 1, phase)

    def follow(self, loop: Any) -> None:
        """Watch every batch; start the sums anew with every epoch, or every batch."""
        if loop.iter % self._length(loop) == 0:
            self._earlier, self._sums = self._sums, {}
        self._stretch = range(sys.maxsize)

    def at_end(self, loop: Any) -> dict[str, GradientSums]:
        """Those of the last epoch if it was a whole one, else of the one before."""
        whole = loop.iter % self._length(loop) == 0
        return self._sums if whole or not self._earlier else self._earlier

    def _length(self, loop: Any) -> int:
        return len(loop.dataloader) if self._whole_epoch else 1

    def places(self, model: Ensemble) -> dict[str, Any]:
        """Every layer of every leader, named ``member.layer``."""
        members = model.backbone.members
        return {
            f"{member}.{layer}": composition
            for member in sorted(set(leaders(self._shapes)))
            for layer, composition in enumerate(compositions(members[member]))
        }

    def decide(self, model: Ensemble, sums: dict[str, dict[Any, Tensor]]) -> None:
        """Write the new clusters, all members' layers in a row, into the buffer."""
        gradients = {
            (int(member), int(layer)): next(iter(of_weight.values()))
            for (member, layer), of_weight in (
                (name.split("."), found) for name, found in sums.items()
            )
        }
        found = refine(
            self._start, self._shapes, gradients, self._threshold, self._budget, self._group
        )
        decision = model.backbone.decision
        decision.copy_(torch.tensor([cluster for member in found for cluster in member]))


class CoefficientSearch(GradientSearch):
    """Give layers coefficients of their own where the gradients of shared ones disagree.

    Groups beyond the first get a copy; see :class:`~methods.superweight.banks.BlockBank`.

    Source: section 2.2.2.

    Args:
        threshold: beta.
        group: Algorithm 1 or its official variant.
        epochs: epochs before the one whose gradients are summed; None takes 5% of the phase, which
            is the paper's 10 of 200.
    """

    name = "superweight_coefficients"
    too_short = (
        "the budget ended before the coefficient search: give a smaller coefficient_epochs or a "
        "larger budget"
    )

    def __init__(self, threshold: float, group: Grouping, epochs: int | None) -> None:
        super().__init__()
        self._threshold, self._group, self._epochs = threshold, group, epochs

    def stretch(self, epoch: int, phase: int) -> range:
        """One epoch after the given number of epochs.

        Raises:
            UserError: the phase ends before.
        """
        before = round(0.05 * phase / epoch) if self._epochs is None else self._epochs
        if before * epoch >= phase:
            raise UserError(
                f"coefficient_epochs={before} leaves no epoch of the training's "
                f"{phase / epoch:g}: give a smaller one or a larger budget"
            )
        return range(before * epoch, min(phase, (before + 1) * epoch))

    def follow(self, loop: Any) -> None:
        """Take the first epoch that begins late enough, by the forecast of the phase's length."""
        epoch = len(loop.dataloader)
        if self._stretch or loop.iter % epoch:
            return
        before = self._epochs
        if before is None and loop.expected_iters is not None:
            before = round(0.05 * loop.expected_iters / epoch)
        if before is not None and loop.iter >= before * epoch:
            self._stretch = range(loop.iter, loop.iter + epoch)

    def at_end(self, loop: Any) -> dict[str, GradientSums]:
        """What there is of the epoch."""
        return self._sums

    def places(self, model: Ensemble) -> dict[str, Any]:
        """Every block's bank by its number."""
        return {str(number): bank for number, bank in enumerate(model.backbone.banks)}

    def decide(self, model: Ensemble, sums: dict[str, dict[Any, Tensor]]) -> None:
        """Split each block's coefficients."""
        for number, bank in enumerate(model.backbone.banks):
            gradients = [sums[str(number)][use].flatten() for use in range(len(bank.rows))]
            for uses in self._group(pairwise(gradients), len(gradients), self._threshold):
                bank.coefficients[uses[0]] = bank.coefficients[0]
                bank.rows[uses] = uses[0]
