"""Every method of the repository passes the kit; a new one joins by being registered."""

from __future__ import annotations

import pytest

from benchmarks.conformance.checking import check_method
from benchmarks.conformance.report import as_text
from methods import METHODS

QUICK = ("end_to_end", "stochastic_depth", "checkpointing")
OWN = [entry.name for entry in METHODS.entries() if entry.module.startswith("methods.")]
CASES = [
    pytest.param(name, {}, id=name, marks=() if name in QUICK else pytest.mark.slow) for name in OWN
] + [
    pytest.param(name, options, id=f"{name}-{label}", marks=pytest.mark.slow)
    for name, label, options in (
        ("replacement", "full", {"operator": "full"}),
        ("superweight", "searching", {"clusters": "search", "coefficients": "search"}),
        ("mind", "nested", {"selection": "nested"}),
        ("adaptive_depth", "labels", {"distillation": False}),
        ("optimal_depth", "fixed", {"fixed_depth": 2}),
    )
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_method_passes_every_check(name, options):
    checked = check_method(name, options)
    assert checked.passed, f"\n{as_text(checked, verbose=True)}"
    assert {finding.status for finding in checked.findings} == {"passed"}
    assert checked.figures
