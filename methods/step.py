"""For training steps of several passes: any number of backward passes and updates in one batch.

``optim_wrapper.update_params(loss)`` is the usual end of a step: it scales the loss, goes backward
and updates once enough batches are accumulated. Its two halves are here, under mixed precision and
gradient accumulation alike::

    backward(optim_wrapper, first_loss)
    backward(optim_wrapper, second_loss)
    update(optim_wrapper)

One :func:`update` belongs to each batch: what comes before it adds up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from mmengine.optim import OptimWrapper


def backward(optim_wrapper: OptimWrapper, loss: torch.Tensor) -> None:
    """Add the gradients of a loss, scaled for accumulation and mixed precision."""
    optim_wrapper.backward(optim_wrapper.scale_loss(loss))
    # mmengine takes each backward pass for a batch of its own; here `update` ends the batch.
    optim_wrapper._inner_count -= 1


def update(optim_wrapper: OptimWrapper) -> bool:
    """End the batch: step and clear the gradients, unless they are accumulated further.

    Returns:
        Whether the parameters were updated.
    """
    optim_wrapper._inner_count += 1
    if not optim_wrapper.should_update():
        return False
    optim_wrapper.step()
    optim_wrapper.zero_grad()
    return True


def unscaled_update(optim_wrapper: OptimWrapper) -> None:
    """An update within a batch, whatever accumulation says: for optimizers that step several times.

    Gradients are cleared.
    """
    optim_wrapper.step()
    optim_wrapper.zero_grad()
