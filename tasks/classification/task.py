"""The classification task: a data set, a network, a loss and a recipe behind one contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModel

from tasks.base import TASKS, BatchSource, Drawing, Judged, Score, Task, data_folder
from tasks.classification.classifier import Classifier
from tasks.classification.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from tasks.classification.evaluation import predict
from tasks.classification.folder import FolderSplit
from tasks.classification.metrics import classification_metrics, mean_metrics
from tasks.classification.models.zoo import build_backbone
from tasks.classification.pictures import sheet
from tasks.classification.recipes import default_recipe
from tasks.classification.registry import DATASETS
from tasks.classification.splits import ArraySplit
from tasks.errors import UserError, unknown_name
from tasks.files.contents import tell_shared
from tasks.options import label, named
from tasks.pictures import save, spread
from tasks.registry import build

_EVALUATION_BATCH = 500
_SPLITS = ("random", "last", "first")


class _Splits(NamedTuple):
    train: Any
    val: Any
    test: Any


@TASKS.register("classification")
class ClassificationTask(Task):
    """Image classification: MNIST to ImageNet folders, CIFAR ResNets to Swin.

    Args:
        dataset: a registered data set, by name or as ``{name: ..., **options}``; ``label`` among
            the options is what tables call it.
        arch: a network, by name or as ``{name: ..., **options}``.
        data_root: the folder of all data sets; by default the environment variable
            DEPTHBENCH_DATA, or ~/.cache/depthbench.
        val_size: training images kept for validation.
        val_fraction: the same as a share of the training split; neither takes the data set's own.
        train_size: how many of the other training images are used, so that an epoch is short; by
            default all. ``split`` says which.
        split: ``random``, or ``last`` (the last images validate, the others train; ``first`` is
            another name for it); by default the data set's own.
        split_seed: decides a random split; never the seed of a run, so that all runs share it.
        augment: changes to the data set's augmentation: ``pad``, ``flip``, ``cutout``,
            ``normalise`` (null, or ``{mean: [...], std: [...]}`` of pixels in 0..1); folders of
            pictures have ``scale``, ``policy`` and ``erase`` instead of ``pad`` and ``cutout``.
        label_smoothing: share of the target spread over all classes.
        corruptions: evaluate the test split under all common corruptions too (``top1@corrupted``
            and so on, means over 19 kinds in 5 severities).
        image_size: side in pixels that pictures from folders are cut to (default 224).
        workers: processes that read folders of pictures.

    Raises:
        UserError: an unknown name or option, or values that contradict each other.
    """

    family = "classification"
    fixed_shapes = True
    headline = "top1"

    def __init__(
        self,
        dataset: str | Mapping[str, Any] = "digits",
        arch: str | Mapping[str, Any] = "cifar_resnet20",
        data_root: str | None = None,
        val_size: int | None = None,
        val_fraction: float | None = None,
        train_size: int | None = None,
        split: str | None = None,
        split_seed: int = 0,
        augment: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        corruptions: bool = False,
        image_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        if val_size is not None and val_fraction is not None:
            raise UserError("give val_size or val_fraction, not both")
        if split is not None and split not in _SPLITS:
            raise unknown_name("split", split, _SPLITS)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must be from 0 to below 1, not {label_smoothing}")
        name, options = named("dataset", dataset)
        self.dataset = str(options.pop("label", name))
        options |= {
            key: value
            for key, value in (("image_size", image_size), ("workers", workers))
            if value is not None
        }
        options["data_root"] = data_folder(data_root)
        self._data = build(f"data set {name}", DATASETS.get(name), options)
        self._network, self._network_options = named("arch", arch)
        self.arch = label(self._network, self._network_options)
        self.recipe = default_recipe(name, self._network)
        self._val_size = val_size
        self._val_fraction = val_fraction
        self._train_size = train_size
        self._split = split or self._data.split
        self._split_seed = split_seed
        self._changes = dict(augment or {})
        self._label_smoothing = label_smoothing
        self._corruptions = corruptions

    def check(self) -> None:
        """Read the data, downloading it where it is absent, and try the network's shapes.

        Raises:
            UserError: data that cannot be had or read, an unknown network or option, or a
                network that does not take images of this size.
        """
        _ = self._splits, self._augment
        if isinstance(self._splits.test, FolderSplit):
            splits = {name: split.checksums() for name, split in self._splits._asdict().items()}
            tell_shared(self.dataset, splits)
        if self._corruptions and not isinstance(self._splits.test, ArraySplit):
            raise UserError(f"corruptions work on images in memory, which {self.dataset} is not")
        with torch.device("meta"):
            model = self.build_model().eval()
            image = torch.empty(2, self._data.channels, self._data.size, self._data.size)
        try:
            model(image)
        except (RuntimeError, AssertionError, ValueError) as error:
            side, reason = self._data.size, str(error).strip().split("\n")[0]
            raise UserError(
                f"{self.arch} does not take images of {side}x{side} pixels ({reason}); "
                "choose another arch or image_size"
            ) from error

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._data.classes

    def fingerprint(self) -> dict[str, Any]:
        """Sizes, classes, split rule and a sha256 of the images and labels of each split."""
        return {
            "dataset": self.dataset,
            "classes": self._data.classes,
            "split": self._split,
            "split_seed": self._split_seed if self._split == "random" else None,
            "images": {k: len(v.labels) for k, v in self._splits._asdict().items()},
            "sha256": {k: v.digest() for k, v in self._splits._asdict().items()},
        }

    def build_model(self, arch: str | Mapping[str, Any] | None = None) -> BaseModel:
        """A ``Classifier`` around a network with random weights, on the CPU.

        Needs no images where the data set's constants are known.

        Args:
            arch: another network, written as the task's own option; None for the task's.
        """
        name, options = self._network, self._network_options
        if arch is not None:
            name, options = named("arch", arch)
        data = self._data
        backbone = build_backbone(name, data.classes, data.channels, data.size, options)
        return Classifier(backbone, self._label_smoothing)

    def batches(self, batch_size: int, seed: int, device: torch.device) -> BatchSource:
        """The augmented training batches.

        They depend on the seed and the epoch alone. The last, shorter batch of an epoch is left
        out, unless it is the only one.

        Raises:
            UserError: the batch size is not positive.
        """
        if batch_size < 1:
            raise UserError(f"the batch size must be at least 1, not {batch_size}")
        return self._data.batches(self._splits.train, self._augment, batch_size, seed, device)

    def evaluate(
        self, model: BaseModel, split: str, device: torch.device
    ) -> dict[str, float | Score]:
        """top1 and ece in %, nll in nats, and top5 in % where there are more than 5 classes.

        With the option ``corruptions`` the same ``@corrupted`` on the test split.

        The model is evaluated in eval mode and gets back the mode that each of its modules had.
        ``split`` as for :meth:`eval_batches`.
        """
        logits, labels = predict(model, self.eval_batches(split, device))
        right = (logits.argmax(1) == labels).byte().cpu().numpy()
        found = Judged(classification_metrics(logits, labels), right)
        if self._corruptions and split == "test":
            found.update(self._corrupted(model, device))
        return found

    def eval_batches(self, split: str, device: torch.device) -> Iterator[dict[str, Any]]:
        """All images of ``split`` in their fixed order, normalised but not augmented.

        Raises:
            UserError: ``split`` is neither ``train``, ``val`` nor ``test``.
        """
        images = self._split_named(split)
        return self._data.evaluation(images, self._augment, _EVALUATION_BATCH, device)

    def eval_size(self, split: str, device: torch.device) -> int:
        """Images in a split."""
        return len(self._split_named(split).labels)

    def eval_images(
        self, split: str, indices: Sequence[int], device: torch.device
    ) -> Iterator[dict[str, Any]]:
        """Some images of a split, each a batch as those of :meth:`eval_batches`."""
        chosen = self._split_named(split).take(np.asarray(indices))
        return self._data.evaluation(chosen, self._augment, 1, device)

    def example_input(self, batch_size: int, device: torch.device) -> torch.Tensor:
        """Standard normal (batch_size, C, H, W), always the same."""
        shape = (batch_size, self._data.channels, self._data.size, self._data.size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def train_samples(self) -> int:
        """Images in the training split, validation taken out."""
        return len(self._splits.train.labels)

    def draw(self, model: BaseModel, drawing: Drawing, device: torch.device) -> list[Path]:
        """One sheet of images with their classes and those that the network gives them."""
        split = self._split_named(drawing.split)
        chosen = split.take(np.asarray(spread(len(split.labels), drawing.count)))
        batches = self._data.evaluation(chosen, self._augment, _EVALUATION_BATCH, device)
        logits, labels = predict(model, batches)
        plain = replace(self._augment, normalise=None)
        pixels = self._data.evaluation(chosen, plain, _EVALUATION_BATCH, device)
        images = torch.cat([batch["inputs"] for batch in pixels])
        title = f"{self.dataset}, {drawing.split}  {drawing.title}"
        picture = sheet(title, images, labels, logits, self._data.class_names)
        return [save(picture, drawing.folder, drawing.split)]

    def _split_named(self, name: str) -> Any:
        if name not in _Splits._fields:
            raise unknown_name("split", name, _Splits._fields)
        return getattr(self._splits, name)

    def _corrupted(self, model: BaseModel, device: torch.device) -> dict[str, float | Score]:
        """Metrics of the corrupted test images, averaged over kinds and severities."""
        test = self._splits.test
        images = torch.from_numpy(test.images).to(device)
        found = []
        for name, severity in product(CORRUPTIONS, range(1, SEVERITIES + 1)):
            made = ArraySplit(corrupt(images, name, severity).cpu().numpy(), test.labels)
            batches = self._data.evaluation(made, self._augment, _EVALUATION_BATCH, device)
            found.append(classification_metrics(*predict(model, batches)))
        return {f"{key}@corrupted": value for key, value in mean_metrics(found).items()}

    @cached_property
    def _augment(self) -> Any:
        return self._data.augmentation(self._changes)

    @cached_property
    def _splits(self) -> _Splits:
        whole, test = self._data.load()
        images = len(whole.labels)
        held_out = self._data.validation
        if self._val_size is not None:
            held_out = self._val_size
        elif self._val_fraction is not None:
            held_out = round(self._val_fraction * images)
        elif held_out < 1:
            held_out = round(held_out * images)
        train, val = split_indices(images, int(held_out), self._split, self._split_seed)
        if self._train_size is not None:
            train = some_of(train, self._train_size, self._split, self._split_seed)
        return _Splits(whole.take(train), whole.take(val), test)


def split_indices(
    images: int, held_out: int, rule: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and validation images; disjoint, together all, each in order.

    Args:
        images: images to divide.
        held_out: how many validate.
        rule: ``random`` holds out any, drawn from ``seed``; every other one the last.
        seed: decides a random split.

    Raises:
        UserError: nothing would be left to train or to validate with.
    """
    if not 0 < held_out < images:
        raise UserError(
            f"{held_out} of {images} training images cannot be kept for validation: "
            f"set val_size from 1 to {images - 1}"
        )
    order = np.arange(images)
    if rule == "random":
        order = np.random.default_rng(seed).permutation(images)
    return np.sort(order[: images - held_out]), np.sort(order[images - held_out :])


def some_of(indices: np.ndarray, size: int, rule: str, seed: int) -> np.ndarray:
    """``size`` of the training indices, in order: the first, or any, drawn from ``seed``.

    Raises:
        UserError: there are not so many.
    """
    if not 0 < size <= len(indices):
        raise UserError(
            f"{size} of {len(indices)} training images cannot be chosen: set train_size from 1 to "
            f"{len(indices)}"
        )
    if rule == "random":
        indices = np.random.default_rng((seed, 1)).permutation(indices)
    return np.sort(indices[:size])
