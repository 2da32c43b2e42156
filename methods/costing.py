"""Operations of a network, for a method's own metrics.

The harness measures what each deployable network takes, also where that depends on the image. A
method asks here for what only it can name: the cost of one path, say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_counter: Callable[..., float] | None = None


def count_with(counter: Callable[..., float]) -> None:
    """Set what counts; the harness does so when it is imported."""
    global _counter
    _counter = counter


def macs(model: Any, inputs: Any, forward: Callable[[Any, Any], object] | None = None) -> float:
    """Multiply-adds of one forward pass, in the project's plain counting.

    Args:
        model: it keeps its modes and weights.
        inputs: a batch, such as ``task.example_input(1, device)``; the result is for all of it.
        forward: called with model and inputs; by default the model itself is.

    Raises:
        RuntimeError: the harness is not there to count.
    """
    if _counter is None:
        raise RuntimeError("operations are counted by the harness: import benchmarks.meters first")
    return _counter(model, inputs) if forward is None else _counter(model, inputs, forward=forward)
