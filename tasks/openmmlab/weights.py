"""Weights from a local file into a detector's or segmenter's backbone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tasks.errors import UserError
from tasks.openmmlab.checkpoint import read_tensors

RANDOM = "random"
"""What stands for no checkpoint at all."""

_ADDRESS = re.compile(r"[a-zA-Z][\w+.-]+:/")
_PREFIXES = ("", "backbone.", "model.", "model.backbone.")
_HEADS = ("fc.", "head.", "classifier.")
_COUNTER = "num_batches_tracked"
"""A batch norm's counter, which files from before torch 0.4.1 lack and eval mode does not use."""


@dataclass(frozen=True)
class LoadReport:
    """What a file gave a backbone; names are the backbone's, without any prefix."""

    file: Path
    sha256: str
    loaded: int
    """Tensors taken over."""
    missing: tuple[str, ...]
    """In the backbone, not in the file: these keep the values that they had."""
    unexpected: tuple[str, ...]
    """In the file, not in the backbone; classifier heads, necks and heads of detectors left out."""


def load_backbone(backbone: nn.Module, path: Path | str) -> LoadReport:
    """Copy the weights of a classification network or of another detector into ``backbone``.

    Takes torchvision's and timm's ResNets, whose names are those of mmdet and mmsegmentation, and
    checkpoints of mmengine (mmpretrain, mmdet, mmsegmentation), of which the backbone alone is
    used. Initialising the model afterwards would overwrite them.

    Args:
        backbone: changed in place.
        path: a local file, of ``torch.save`` or safetensors.

    Raises:
        UserError: the file is absent, an address or no checkpoint, it holds less than half of the
            backbone's tensors, or one of another shape; the backbone is then unchanged.
    """
    if _ADDRESS.match(str(path)):
        raise UserError(
            f"{path} is no local file: download the checkpoint first, then give its path"
        )
    path = Path(path).expanduser()
    own = backbone.state_dict()
    given = _without_prefix(read_tensors(path), own)
    known = {name: value for name, value in given.items() if name in own}
    needed = [name for name in own if not name.endswith(_COUNTER)]
    missing = tuple(name for name in needed if name not in known)
    unexpected = tuple(name for name in given if name not in own and not name.startswith(_HEADS))
    if 2 * len(missing) > len(needed):
        raise UserError(
            f"{path} holds {len(needed) - len(missing) or 'none'} of the {len(needed)} tensors of "
            f"this {type(backbone).__name__} (it lacks {missing[0]}"
            + (f" and has {unexpected[0]}" if unexpected else "")
            + "): give a checkpoint of this network, with the names of mmdet or mmsegmentation"
        )
    for name, value in known.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{path} has {name} of shape {tuple(value.shape)}, the {type(backbone).__name__} "
                f"of shape {tuple(own[name].shape)}: give a checkpoint of the same depth and width"
            )
    backbone.load_state_dict(known, strict=False)
    return LoadReport(
        file=path,
        sha256=_sha256(path),
        loaded=len(known),
        missing=missing,
        unexpected=unexpected,
    )


def _without_prefix(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the prefix that leaves most names of the backbone, without it."""
    given = {name.removeprefix("module."): value for name, value in given.items()}
    found: dict[str, Tensor] = {}
    most = -1
    for prefix in _PREFIXES:
        inside = {
            name.removeprefix(prefix): value
            for name, value in given.items()
            if name.startswith(prefix)
        }
        matching = sum(name in own for name in inside)
        if matching > most:
            found, most = inside, matching
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_file(pretrained: str | None, root: Path) -> str | None:
    """The checkpoint as it was named, or under ``root`` where it lies there alone."""
    if pretrained in (None, RANDOM) or Path(pretrained).expanduser().exists():
        return pretrained
    below = root / pretrained
    return str(below) if below.is_file() else pretrained
