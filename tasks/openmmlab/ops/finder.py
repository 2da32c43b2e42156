"""Where `import mmcv._ext` is answered, when no compiled module answers it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = "mmcv._ext"

# The function of `mmcv._ext`, and the module of this package that holds it under the same name.
PROVIDED = {
    "deform_conv_backward_input": "deform_conv",
    "deform_conv_backward_parameters": "deform_conv",
    "deform_conv_forward": "deform_conv",
    "get_compiler_version": "info",
    "get_compiling_cuda_version": "info",
    "modulated_deform_conv_backward": "deform_conv",
    "modulated_deform_conv_forward": "deform_conv",
    "ms_deform_attn_backward": "deform_attention",
    "ms_deform_attn_forward": "deform_attention",
    "nms": "nms",
    "roi_align_backward": "roi_align",
    "roi_align_forward": "roi_align",
    "sigmoid_focal_loss_backward": "focal_loss",
    "sigmoid_focal_loss_forward": "focal_loss",
    "softnms": "nms",
}


def install() -> None:
    """Let `import mmcv.ops` work without compiled mmcv; a second call changes nothing.

    The finder goes to the end of `sys.meta_path`, so that a compiled `mmcv._ext` is found first.
    Nothing is imported until mmcv asks for its ops.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


def not_provided(name: str) -> Callable[..., NoReturn]:
    """A function of `mmcv._ext` that can be imported and says, when called, that it is missing."""

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"the op '{name}' of mmcv has no stand-in here: uninstall mmcv-lite and build mmcv "
            "2.1.0 with its compiled ops (pip install --no-build-isolation mmcv==2.1.0)"
        )

    missing.__name__ = missing.__qualname__ = name
    return missing


class StandIn(ModuleType):
    """`mmcv._ext`: every public name is there, as mmcv's import-time checks ask."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return not_provided(name)


class _StandInLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name, "Stand-in for mmcv's compiled ops over torchvision's kernels.")

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module.

        Raises:
            ImportError: torchvision's operators do not load beside the installed torch.
        """
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            raise ImportError(
                "torchvision's operators do not load beside this torch: install a pair that "
                f"belongs together, such as the one that constraints.txt pins ({error})"
            ) from error
        for name, home in PROVIDED.items():
            setattr(module, name, getattr(importlib.import_module(f"{__package__}.{home}"), name))


class _StandInFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(EXTENSION, _StandInLoader()) if fullname == EXTENSION else None


_FINDER = _StandInFinder()
