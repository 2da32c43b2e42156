"""Every method of the repository passes the kit; a new one joins by being registered."""

from __future__ import annotations

import pytest
from conformance.kit_helpers import whole_and_short

from benchmarks.conformance.checking import CHECK_NAMES
from benchmarks.conformance.finding import PASSED
from methods import METHODS

QUICK = ("end_to_end", "stochastic_depth", "checkpointing")
OWN = [
    entry.name
    for entry in METHODS.entries()
    if entry.module.startswith("methods.") and entry.name != "compose"
]
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
        ("compose", "two", {"methods": ["replacement", "checkpointing"]}),
    )
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_method_passes_every_check(name, options):
    findings = whole_and_short(name, options)
    assert [finding.check for finding in findings] == list(CHECK_NAMES)
    assert {finding.status for finding in findings} == {PASSED}, findings
