"""Several methods on one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract import kinds  # noqa: F401
from contract.test_kinds import spec, trained

from benchmarks.records.identity.sources import method_sources
from benchmarks.suite import read_suite
from methods.base import METHODS
from methods.compose import Compose
from tasks.errors import UserError

SUITE = """\
name: s
task: {dataset: digits, arch: cifar_resnet26}
methods: [end_to_end, [replacement, checkpointing], [{replacement: {every: 3}}, kind_sam]]
budget: {epochs: 1}
"""


def test_a_list_of_methods_is_one_method_with_both_names() -> None:
    _, both, third = read_suite(SUITE, "s").specs()[:3]
    assert both.method == "compose"
    assert both.method_label == "replacement + checkpointing"
    assert third.method_label == "replacement(every=3) + kind_sam"


def test_all_parts_act(tmp_path: Path) -> None:
    parts = [{"replacement": {"every": 2, "boundary": "single"}}, "kind_sam"]
    both, _ = trained(tmp_path / "both", spec("compose", 1, arch="cifar_resnet14", methods=parts))
    one, _ = trained(
        tmp_path / "one", spec("replacement", 1, arch="cifar_resnet14", every=2, boundary="single")
    )
    size = sum(p.numel() for p in both.model.parameters())
    assert size == sum(p.numel() for p in one.model.parameters())
    assert any(
        not torch.equal(value, one.model.state_dict()[name])
        for name, value in both.model.state_dict().items()
    )  # SAM's step
    assert list(both.method.variants(both.model)) == ["folded"]
    assert both.method.paramwise == METHODS.get("replacement").paramwise


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            ["kind_sam", "kind_two_updates"],
            "kind_sam and kind_two_updates cannot be composed.*step",
        ),
        (["kind_two_phases", "mind"], "both define phases"),
        (["replacement"], "at least two"),
        (["replacement", "kind_samm"], "did you mean 'kind_sam'"),
        (["replacement", {"checkpointing": {"evry": 2}}], "did you mean 'every'"),
        (["replacement", {"a": 1, "b": 2}], "a name or"),
    ],
)
def test_what_cannot_be_composed_is_refused(methods: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Compose(methods)


def test_the_code_of_all_parts_is_in_the_id() -> None:
    files = method_sources("compose", {"methods": ["replacement", {"checkpointing": {}}]}).files
    assert {"methods/replacement/light.py", "methods/checkpointing.py"} <= set(files)
    assert "methods/checkpointing.py" not in method_sources("compose", {"methods": ["mind"]}).files
