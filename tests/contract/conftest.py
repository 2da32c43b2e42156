"""The methods of these tests are registered while the tests of a module run, and no longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.registering import REGISTERED

from benchmarks.suites.plugins import import_method_file
from methods import METHODS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    before = dict(METHODS._objects)
    METHODS._objects.update(REGISTERED)
    for name in ("ema", "local", "exits", "int8"):
        import_method_file(EXAMPLES / f"{name}.py")
        REGISTERED.setdefault(name, METHODS._objects.get(name))
        METHODS._objects[name] = REGISTERED[name]
    yield
    for name in METHODS._objects.keys() - before.keys():
        if name in REGISTERED or name in ("looking", "reshaped", "first", "images"):
            del METHODS._objects[name]
