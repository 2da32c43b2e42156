"""Plain training: the baseline that every method is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmengine.model import BaseModel

from methods.base import METHODS, Method


@METHODS.register("end_to_end")
@dataclass
class EndToEnd(Method):
    """Plain training of the task's own model by full back-propagation."""

    changes_nothing: ClassVar[bool] = True

    def prepare(self, model: BaseModel) -> BaseModel:
        """Return the model as it is."""
        return model
