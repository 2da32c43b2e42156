"""What a detection and a segmentation task have in common."""

from __future__ import annotations

import abc
import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Subset

from tasks.base import BatchSource, Recipe, Score, Task, data_folder
from tasks.errors import UserError, unknown_name
from tasks.modules import eval_mode
from tasks.openmmlab.batches import TrainBatches, evaluation_batches
from tasks.openmmlab.config import (
    custom_imports,
    load_config,
    override,
    padded_to,
    set_classes,
    take_weights,
    transforms,
    use_one_device,
)
from tasks.openmmlab.datasets import dataset_options
from tasks.openmmlab.forward import predict_forward, tensor_forward
from tasks.openmmlab.names import require_registered
from tasks.openmmlab.ops import missing_ops
from tasks.openmmlab.pictures import read_alike
from tasks.openmmlab.ready import Ready
from tasks.openmmlab.recipes import config_recipe
from tasks.openmmlab.scope import openmmlab
from tasks.openmmlab.weights import RANDOM, LoadReport, load_backbone, weights_file
from tasks.options import label, named, size_of

SPLITS = ("train", "val", "test")


class OpenMMLabTask(Task):
    """A task whose model, data and pipelines come from a config of mmdet or mmsegmentation.

    Args:
        dataset: a folder under ``data_root``, ``{name: ..., path: ..., **options}``, or
            ``digit_scenes``, which needs no data.
        arch: a ready model, a config by name (``mmdet::FOLDER/FILE.py``) or file, or
            ``{name: ..., dotted.key: value}`` to change keys of the config.
        data_root: the folder of all data sets; by default the environment variable
            DEPTHBENCH_DATA, or ~/.cache/depthbench.
        pretrained: the backbone's weights, a local checkpoint of torchvision or mmengine (also
            looked for under ``data_root``), or ``random``. A config that names weights needs one
            of the two.
        schedule: a recipe by name, instead of the config's.
        image_size: width and height that pictures are resized to fit in, instead of the config's.
        cost_size: width and height of the picture that is costed, instead of the one tested on.
        eval_batch_size: images in an evaluation batch, instead of the config's.
        workers: processes that read pictures; by default 4 where a GPU trains, else none.
    """

    backbone_is_part = True
    scope: ClassVar[str]
    """``mmdet`` or ``mmseg``."""
    ready: ClassVar[Mapping[str, Ready]]
    schedules: ClassVar[Mapping[str, Recipe]]
    written_for: ClassVar[int]
    """Training images of the data set that the scope's configs are written for."""

    def __init__(
        self,
        dataset: str | Mapping[str, Any],
        arch: str | Mapping[str, Any],
        data_root: str | None,
        pretrained: str | None,
        schedule: str | None,
        image_size: Sequence[int] | None,
        cost_size: Sequence[int] | None,
        eval_batch_size: int | None,
        workers: int | None,
    ) -> None:
        root = data_folder(data_root)
        self.dataset, self._dataset_options = dataset_options(dataset, root, self.scope)
        self._arch = arch
        name, changes = named("arch", arch)
        # A config is called by its file's name.
        self.arch = label(name.rsplit("/", 1)[-1].rsplit("::", 1)[-1].removesuffix(".py"), changes)
        self._pretrained = weights_file(pretrained, data_folder(data_root))
        self._image_size = size_of("image_size", image_size)
        self._cost_size = size_of("cost_size", cost_size)
        self._eval_batch_size = eval_batch_size
        self._workers = workers
        self.config, self._weights_named = self._resolved(arch)
        self.sources = (*self.sources, *custom_imports(self.config))
        if schedule is not None and schedule not in self.schedules:
            raise unknown_name("schedule", schedule, self.schedules)
        self.recipe = (
            self.schedules[schedule]
            if schedule is not None
            else config_recipe(self.config, self._source(name), self.written_for)
        )

    # What a family adds.

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    @abc.abstractmethod
    def check_data(self) -> None:
        """Raise ``UserError`` for data that cannot be trained on."""

    @abc.abstractmethod
    def data_facts(self) -> dict[str, Any]:
        """Sizes and checksums of the splits."""

    @abc.abstractmethod
    def dataset_config(self, split: str) -> dict[str, Any]:
        """The config of the data set of a split, its pipeline left out."""

    @abc.abstractmethod
    def adapt(self, config: Config) -> None:
        """Set sizes, and whatever else the task's options say, in a config that is its own."""

    @abc.abstractmethod
    def scores(
        self, outputs: Iterator[tuple[dict[str, Any], Sequence[Any]]], split: str
    ) -> dict[str, float | Score]:
        """Metrics from pairs of a batch and the model's predictions for it."""

    def predict(self, model: BaseModel, batch: dict[str, Any]) -> Sequence[Any]:
        """The model's predictions for a batch, as :meth:`scores` takes them."""
        return model.test_step(batch)

    # The task contract.

    def check(self) -> None:
        """Read the annotations and build the model once.

        Raises:
            UserError: absent or broken data, weights that are not there or do not fit, a config
                that cannot be built or needs an operation that only compiled mmcv has.
        """
        if self._weights_named and self._pretrained is None:
            raise UserError(
                f"{self.arch} starts from the weights {', '.join(self._weights_named)}, which are "
                "not downloaded here: set the task's option 'pretrained' to a local checkpoint "
                "file, or to random"
            )
        self.check_data()
        with torch.random.fork_rng(devices=[]):
            self.build_model()

    def fingerprint(self) -> dict[str, Any]:
        """Data, classes, the resolved config's sha256, and what was loaded into the backbone.

        ``config_hooks_left_out`` names the config's ``custom_hooks``: a run has none but its own.
        """
        loaded = self.loaded
        return {
            "dataset": self.dataset,
            "classes": list(self.classes),
            "val_is_test": self.val_is_test,
            **self.data_facts(),
            "config_sha256": hashlib.sha256(self.config.dump().encode()).hexdigest(),
            "config_hooks_left_out": [h["type"] for h in self.config.get("custom_hooks") or []],
            "weights": asdict(loaded) | {"file": loaded.file.name} if loaded else RANDOM,
        }

    def build_model(self, arch: str | Mapping[str, Any] | None = None) -> BaseModel:
        """The detector or segmentor as the package builds it, on the CPU.

        Its weights are the package's initial ones, and the backbone's those of ``pretrained``.

        Args:
            arch: another model, written as the task's own option; None for the task's.
        """
        config = self.config if arch is None or arch == self._arch else self._resolved(arch)[0]
        described = copy.deepcopy(config.model)
        set_classes(described, len(self.classes))
        with openmmlab(self.scope), warnings.catch_warnings():
            # mmsegmentation warns of what its own configs and builders do.
            warnings.simplefilter("ignore")
            try:
                model = MODELS.build(described)
                model.init_weights()
            except Exception as error:
                problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UserError(f"the model of {self.arch} cannot be built: {problem}") from error
        ops = missing_ops(model)
        if ops:
            raise UserError(
                f"{self.arch} needs the mmcv operation(s) {', '.join(ops)}, which only a compiled "
                "mmcv has: install mmcv 2.1 in place of mmcv-lite, or choose another model"
            )
        # Images travel while the GPU computes. mmsegmentation's class takes no argument for it.
        model.data_preprocessor._non_blocking = True
        if self._pretrained not in (None, RANDOM):
            self.loaded = load_backbone(model.backbone, str(self._pretrained))
        return model

    loaded: LoadReport | None = None
    """What the last model's backbone was given; None for random weights."""

    def batches(self, batch_size: int, seed: int, device: torch.device) -> BatchSource:
        """The augmented training batches, as the config's pipeline makes them.

        Raises:
            UserError: the batch size is not positive.
        """
        if batch_size < 1:
            raise UserError(f"the batch size must be at least 1, not {batch_size}")
        dataset = self._datasets["train"]
        return TrainBatches(
            dataset,
            batch_size,
            seed,
            self._readers(device),
            self.wide(dataset),
            pin=device.type == "cuda",
        )

    def wide(self, dataset: Any) -> Sequence[bool] | None:
        """Which images are wider than high, where batches shall not mix them."""
        return None

    def eval_batches(self, split: str, device: torch.device) -> Iterator[dict[str, Any]]:
        """All images of ``val`` or ``test`` in their order, as the test pipeline makes them.

        Raises:
            UserError: ``split`` is neither ``val`` nor ``test``.
        """
        size = self._eval_batch_size or self.config.val_dataloader["batch_size"]
        pin = device.type == "cuda"
        return evaluation_batches(self.split(split), size, self._readers(device), pin)

    def eval_size(self, split: str, device: torch.device) -> int:
        """Images in a split."""
        return len(self.split(split))

    def eval_images(
        self, split: str, indices: Sequence[int], device: torch.device
    ) -> Iterator[dict[str, Any]]:
        """Some images of a split, each a batch as those of :meth:`eval_batches`."""
        return evaluation_batches(Subset(self.split(split), indices), 1)

    def split(self, name: str) -> Any:
        """The data set of a split: where there is no ``test``, ``val`` stands in.

        Raises:
            UserError: no such split.
        """
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        return self._datasets["val" if name == "test" and self.val_is_test else name]

    def evaluate(
        self, model: BaseModel, split: str, device: torch.device
    ) -> dict[str, float | Score]:
        """The family's metrics; every module keeps the mode that it had."""

        def outputs() -> Iterator[tuple[dict[str, Any], Sequence[Any]]]:
            for batch in self.eval_batches(split, device):
                yield batch, self.predict(model, batch)

        with eval_mode(model), torch.no_grad(), openmmlab(self.scope):
            return self.scores(outputs(), split)

    def example_input(self, batch_size: int, device: torch.device) -> torch.Tensor:
        """Standard normal (batch_size, 3, H, W) at the costed size, padded as the model wants."""
        width, height = self._cost_size or self.test_size()
        divisor = padded_to(self.config.model.get("data_preprocessor") or {})
        height, width = (-(-side // divisor) * divisor for side in (height, width))
        shape = (batch_size, 3, height, width)
        if device.type == "meta":
            return torch.empty(shape, device=device)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def test_size(self) -> tuple[int, int]:
        """Width and height that the test pipeline fits pictures into."""
        for transform in self.config.val_dataloader["dataset"]["pipeline"]:
            if transform["type"] == "Resize" and transform.get("scale"):
                width, height = transform["scale"]
                return int(width), int(height)
        raise UserError(f"the test pipeline of {self.arch} names no size: set cost_size")

    def train_samples(self) -> int:
        """Training images, those without annotations left out where the config does so."""
        return len(self._datasets["train"])

    def forward(self, model: nn.Module, inputs: torch.Tensor) -> object:
        """The network without post-processing, a detector's on a fixed number of proposals."""
        return tensor_forward(model, inputs)

    def infer(self, model: nn.Module, inputs: torch.Tensor) -> object:
        """The whole inference."""
        return predict_forward(model, inputs)

    @cached_property
    def _datasets(self) -> dict[str, Any]:
        self.check_data()
        return {split: self._dataset(split) for split in self._own_splits()}

    def _own_splits(self) -> Sequence[str]:
        return SPLITS[:2] if self.val_is_test else SPLITS

    def _dataset(self, split: str) -> Any:
        loader = self.config.train_dataloader if split == "train" else self.config.val_dataloader
        described = copy.deepcopy(loader["dataset"])
        innermost = described
        while isinstance(innermost.get("dataset"), dict):  # RepeatDataset, MultiImageMixDataset
            innermost = innermost["dataset"]
        innermost.update(self.dataset_config(split))
        innermost["metainfo"] = {**innermost.get("metainfo", {}), "classes": self.classes}
        with openmmlab(self.scope):
            dataset = DATASETS.build(described)
        if len(dataset) == 0:
            raise UserError(
                f"the {split} split of {self.dataset} holds no image with annotations that "
                f"{self.arch} can use"
            )
        return dataset

    def _readers(self, device: torch.device) -> int:
        if self._workers is not None:
            return self._workers
        return 4 if device.type == "cuda" else 0

    def _source(self, name: str) -> str:
        return self.ready[name].config if name in self.ready else name

    def _resolved(self, arch: str | Mapping[str, Any]) -> tuple[Config, list[str]]:
        """The config of an architecture with every change made, and the weights it requested."""
        name, changes = named("arch", arch)
        if name not in self.ready and "::" not in name and not name.endswith(".py"):
            raise unknown_name("arch", name, [*self.ready, f"{self.scope}::FOLDER/FILE.py"])
        with openmmlab(self.scope):
            config = load_config(self._source(name), self.scope)
            require_registered(changes, self.scope)
        if name in self.ready:
            override(config, self.ready[name].changes)
        weights = take_weights(config.model)
        override(config, changes)
        use_one_device(config.model)
        for loader in (config.train_dataloader, config.val_dataloader):
            transforms(loader, read_alike)
        self.adapt(config)
        return config, weights
