"""A package of somebody else, written into a folder: a method with a helper, a method composed of
a built-in one, and a task with a loss of its own."""

from __future__ import annotations

from pathlib import Path

HELPER = '''"""How much."""

SCALE = 1.0  # of the loss


def scaled(loss):
    """The loss, scaled."""
    return loss * SCALE
'''
METHODS = '''"""Two methods."""

from dataclasses import dataclass

from methods import METHODS as KNOWN
from methods.base import Method
from others.inner.helper import scaled


class Scaled(Method):
    """Trains on a scaled loss."""

    changes_nothing = True

    def prepare(self, model):
        return model

    def train_step(self, model, data, optim_wrapper):
        with optim_wrapper.optim_context(model):
            data = model.data_preprocessor(data, True)
            losses = model(**data, mode="loss")
        total, logged = model.parse_losses(losses)
        optim_wrapper.update_params(scaled(total))
        return logged


@dataclass
class Composed(Method):
    """Replacement, and then nothing."""

    every: int = 2

    def prepare(self, model):
        return KNOWN.get("replacement")(every=self.every).prepare(model)
'''
TASK = '''"""Digits with a loss of its own."""

from others.loss import smoothing
from tasks.classification.task import ClassificationTask


class OwnDigits(ClassificationTask):
    """Digits, smoothed."""

    def __init__(self):
        arch = {"name": "cifar_resnet26", "width": 4}
        super().__init__("digits", arch, label_smoothing=smoothing())
'''
LOSS = '''def smoothing():
    """In 0..1."""
    return 0.1
'''
FILES = {
    "others/__init__.py": "",
    "others/inner/__init__.py": "",
    "others/inner/helper.py": HELPER,
    "others/methods_of_ours.py": METHODS,
    "others/task.py": TASK,
    "others/loss.py": LOSS,
    "others-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: others\nVersion: 1.0\n",
    "others-1.0.dist-info/entry_points.txt": """\
[depthbench.methods]
scaled = others.methods_of_ours:Scaled
composed = others.methods_of_ours:Composed
[depthbench.tasks]
own_digits = others.task:OwnDigits
""",
}


def write_package(folder: Path) -> Path:
    """Write the package and its distribution, as an installer would."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    record = "".join(f"{name},,\n" for name in FILES)
    (folder / "others-1.0.dist-info" / "RECORD").write_text(record)
    return folder


def change(path: Path, old: str, new: str) -> None:
    """Replace a part of a file that is there once."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))
