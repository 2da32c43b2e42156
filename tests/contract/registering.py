"""Names for methods that are registered for the tests of this folder alone."""

from collections.abc import Callable
from typing import Any

REGISTERED: dict[str, Any] = {}


def register(name: str) -> Callable[[Any], Any]:
    def keep(method: Any) -> Any:
        REGISTERED[name] = method
        return method

    return keep
