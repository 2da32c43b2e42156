"""Tasks: data, models, losses, metrics and recipes; they know no method."""

from tasks.base import TASKS, BatchSource, Recipe, Task
from tasks.errors import UserError

__all__ = ["TASKS", "BatchSource", "Recipe", "Task", "UserError"]
