from dataclasses import dataclass

from methods import METHODS, Method, block_view
from tasks.errors import UserError


@METHODS.register("half_depth")
@dataclass
class HalfDepth(Method):
    """Every second shape-preserving block removed."""

    keep_first: int = 1

    def prepare(self, model):
        preserving = [b for b in block_view(model) if b.shape_preserving]
        removed = preserving[self.keep_first :: 2]
        if not removed:
            raise UserError("half_depth would remove nothing: choose a deeper network")
        for block in removed:
            block.drop()
        return model
