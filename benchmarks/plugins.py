"""A user's own methods from a file that belongs to no installed package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tasks.errors import UserError


def import_method_file(path: str | Path) -> None:
    """Run a Python file, so that its ``@METHODS.register`` decorators take effect.

    A file is run once in a process, however often it is asked for.

    Raises:
        UserError: there is no such file, or it raises while it is imported.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise UserError(f"there is no method file {path}: give the path of a Python file")
    name = f"depthbench_method_file_{file.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered first: dataclasses and pickling look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(
            f"the method file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
