from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.budget import UNITS, Budget, Target
from benchmarks.engine.optim import merge_recipe
from benchmarks.suite import (
    MethodEntry,
    RunSpec,
    load_suite,
    read_suite,
    suite_schema,
)
from benchmarks.suites.document import suite_names
from methods.base import METHODS
from tasks.base import TASKS, Recipe
from tasks.errors import UserError
from tasks.registry import Entry


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods and a task of the test's own, so that it depends on no real one."""

    class Shrink:
        def __init__(
            self, by: int = 2, where: tuple[str, ...] = ("all",), mode: str = "light"
        ) -> None:
            pass

    monkeypatch.setattr(METHODS, "_objects", {"plain": object, "shrink": Shrink, "drop": object})
    monkeypatch.setattr(METHODS, "_scanned", {})
    monkeypatch.setattr(TASKS, "_objects", {"classification": object, "detection": object})
    own = {"classification": Entry("classification", "", "tasks.classification.task")}
    monkeypatch.setattr(TASKS, "_scanned", own)


SUITE = """\
name: mine
title: Mine against theirs
profile: smoke
task:
  dataset: digits
  arch: small
methods:
  - plain
  - shrink: {by: 4}
  - shrink:
      by: 8
    label: shrunk
  - name: drop
    rate: 1e-1
seeds: [0, 7]
budget: {epochs: 3}
recipe:
  batch_size: 32
  optimizer: {lr: 1e-3}
baseline: shrunk
device: cuda:1
validate_every: 2
latency_batch_sizes: [1, 32]
threads: 2
"""


def changed(old: str, new: str) -> str:
    assert old in SUITE
    return SUITE.replace(old, new)


def error_of(text: str) -> tuple[int, str]:
    with pytest.raises(UserError) as caught:
        read_suite(text, "mine.yaml")
    found = re.fullmatch(r"mine\.yaml:(\d+): (.*)", str(caught.value), re.DOTALL)
    assert found, str(caught.value)
    return int(found[1]), found[2]


def test_every_key_of_a_suite_arrives() -> None:
    suite = read_suite(SUITE, "mine.yaml")
    assert (suite.name, suite.title, suite.profile) == ("mine", "Mine against theirs", "smoke")
    assert suite.tasks[0].name == "classification"
    assert suite.tasks[0].options == {"dataset": "digits", "arch": "small"}
    assert suite.methods == (
        MethodEntry("plain"),
        MethodEntry("shrink", {"by": 4}),
        MethodEntry("shrink", {"by": 8}, "shrunk"),
        MethodEntry("drop", {"rate": 0.1}),
    )
    assert suite.baseline_method == suite.methods[2]
    assert suite.budget == Budget({"epochs": 3})
    assert suite.recipe == {"batch_size": 32, "optimizer": {"lr": 0.001}}
    spec = suite.specs()[0]
    assert (spec.device, spec.validate_every, spec.threads) == ("cuda:1", 2, 2)
    assert spec.latency_batch_sizes == (1, 32)


def test_the_plan_goes_by_task_then_seed_then_method() -> None:
    text = changed("task:\n  dataset: digits\n  arch: small\n", "")
    text += "tasks:\n  - {dataset: a}\n  - {name: detection, dataset: b}\n"
    plan = [
        (s.task_options["dataset"], s.seed, s.method, s.label)
        for s in read_suite(text, "s").specs()
    ]
    per_seed = [("plain", ""), ("shrink", ""), ("shrink", "shrunk"), ("drop", "")]
    assert plan == [(d, seed, m, label) for d in "ab" for seed in (0, 7) for m, label in per_seed]


def test_the_first_method_is_the_baseline_unless_one_is_named() -> None:
    assert read_suite(changed("baseline: shrunk\n", ""), "s").baseline_method.name == "plain"
    named = read_suite(changed("baseline: shrunk", "baseline: drop"), "s")
    assert named.baseline_method.name == "drop"
    written = read_suite(changed("baseline: shrunk", "baseline: shrink(by=4)"), "s")
    assert written.baseline_method.options == {"by": 4}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("profile: smoke", "profil: smoke", 3, "did you mean 'profile'"),
        ("profile: smoke", "profile: smok", 3, "did you mean 'smoke'"),
        ("profile: smoke", "seeds: [1]", 15, "duplicate key 'seeds'"),
        ("  - plain\n", "  - plane\n", 8, "unknown method 'plane' (did you mean 'plain'?)"),
        ("  - shrink: {by: 4}", "  - shrnk: {by: 4}", 9, "did you mean 'shrink'"),
        ("  - shrink: {by: 4}", "  - shrink: 4", 9, "must be a mapping"),
        ("  - shrink: {by: 4}", "  - plain", 9, "give one of them a 'label'"),
        ("  - shrink: {by: 4}", "  - {shrink: {}, drop: {}}", 9, "write a method as"),
        ("  - name: drop", "  - name: drip", 13, "did you mean 'drop'"),
        ("rate: 1e-1", "rate: .nan", 14, "finite numbers"),
        ("rate: 1e-1", "rate: 2020-01-01", 14, "rate is the date 2020-01-01"),
        ("seeds: [0, 7]", "seeds: 3", 15, "must be a list"),
        ("seeds: [0, 7]", "seeds: []", 15, "must not be empty"),
        ("seeds: [0, 7]", "seeds: [0, 0]", 15, "duplicate value 0 in seeds"),
        ("seeds: [0, 7]", "seeds: [0,\n  x]", 16, "whole number of at least 0, got 'x'"),
        ("seeds: [0, 7]", "seeds: [true]", 15, "whole number"),
        ("budget: {epochs: 3}", "budget: {epoch: 3}", 16, "did you mean 'epochs'"),
        (
            "budget: {epochs: 3}",
            "budget: {epochs: 0}",
            16,
            "must be a positive finite number, got epochs=0",
        ),
        ("budget: {epochs: 3}", "budget: {epochs: '3'}", 16, "positive finite number"),
        ("budget: {epochs: 3}", "budget: {epochs: 3, epochs: 2}", 16, "duplicate key 'epochs'"),
        ("seeds: [0, 7]", "seeds: [-1]", 15, "of at least 0, got -1"),
        ("seeds: [0, 7]", "seeds: [9223372036854775808]", 15, "64 bits"),
        ("seeds: [0, 7]", "seeds: [01]", 15, "entry of seeds is 01"),
        (
            "threads: 2",
            "threads: 4294967296",
            24,
            "at least 1, got 4294967296 (at most 2147483647)",
        ),
        ("title: Mine against theirs", "title: 2020-01-01", 2, "title is the date"),
        ("title: Mine against theirs", "title: off", 2, "must be text, got off: put it in quotes"),
        ("optimizer: {lr: 1e-3}", "optimizer: {lr: fast}", 19, 'got {"lr": "fast"}'),
        ("optimizer: {lr: 1e-3}", "optimizer: {type: 5}", 19, "a mapping such as"),
        ("optimizer: {lr: 1e-3}", "schedule: [{type: X, T_max: all}]", 19, "fractions"),
        ("optimizer: {lr: 1e-3}", "schedule: [{T_max: 1}]", 19, "fractions"),
        ("optimizer: {lr: 1e-3}", "paramwise: {custom_keys: {a: 1}}", 19, "custom_keys"),
        ("optimizer: {lr: 1e-3}", "clip_grad: {max_norm: x}", 19, "max_norm"),
        ("budget: {epochs: 3}", "budget: {epochs: 3, second: 9}", 16, "did you mean 'seconds'"),
        ("budget: {epochs: 3}", "budget: {epochs: 3}\ntarget: {top2: 9}", 17, "did you mean"),
        (
            "batch_size: 32",
            "batch_size: 0",
            18,
            "batch_size must be a whole number of at least 1, got 0",
        ),
        ("batch_size: 32", "batchsize: 32", 18, "did you mean 'batch_size'"),
        ("optimizer: {lr: 1e-3}", "optimizer: SGD", 19, "a mapping such as"),
        ("optimizer: {lr: 1e-3}", "amp: fp16", 19, "float16, bfloat16 or null"),
        ("baseline: shrunk", "baseline: shrunken", 20, "did you mean 'shrunk'"),
        ("baseline: shrunk", "baseline: shrink", 20, "could be any of"),
        ("device: cuda:1", "device: gpu", 21, "auto, cpu, cuda or cuda:N"),
        ("validate_every: 2", "validate_every: 0", 22, "at least 1"),
        ("threads: 2", "threads: two", 24, "whole number"),
        ("name: mine", "name: a/b", 1, "folder name"),
        ("name: mine", "name: [mine", 2, "not YAML"),
        ("name: mine", "name: 5", 1, "must be text"),
        ("name: mine\n", "", 1, "the key 'name' is missing"),
        ("budget: {epochs: 3}\n", "", 1, "the key 'budget' is missing"),
        ("task:\n  dataset: digits\n  arch: small\n", "", 1, "either 'task' or"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_remedy(
    old: str, new: str, line: int, says: str
) -> None:
    found, message = error_of(changed(old, new))
    assert says in message
    assert found == line


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: &x [*x]", "\t", "a: b: c"])
def test_what_is_no_suite_at_all_is_refused(text: str) -> None:
    error_of(text)


@given(st.text(max_size=60))
def test_any_text_is_a_suite_or_a_user_error(text: str) -> None:
    with pytest.raises(UserError):
        read_suite(text, "s")


@given(cut=st.integers(0, len(SUITE)), junk=st.text(max_size=5))
def test_a_mangled_suite_never_ends_in_a_traceback(cut: int, junk: str) -> None:
    try:
        read_suite(SUITE[:cut] + junk + SUITE[cut + len(junk) :], "s")
    except UserError as error:
        problem = str(error)
    else:
        return
    assert problem.startswith("s:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.dictionaries(st.text(), JSON, max_size=3)


def test_a_budget_may_have_several_units_and_a_target_a_metric() -> None:
    text = SUITE.replace("{epochs: 3}", "{epochs: 3, train_flops: 1e12}\ntarget: {nll: 0.5}")
    suite = read_suite(text, "s")
    (spec, *_) = suite.specs()
    assert spec.budget == suite.budget == Budget({"epochs": 3, "train_flops": 1e12})
    assert spec.target == suite.target == Target(0.5, "nll")
    assert read_suite(SUITE + "target: 95\n", "s").target == Target(95.0)


def test_another_budget_is_no_papers_any_more() -> None:
    suite = replace(read_suite(SUITE, "s"), profile="paper")
    assert suite.with_budget(suite.budget).profile == "paper"
    other = suite.with_budget(Budget({"seconds": 60}))
    assert (other.profile, other.budget) == ("short", Budget({"seconds": 60}))
    assert replace(suite, profile="smoke").with_budget(other.budget).profile == "smoke"


SPECS = st.builds(
    RunSpec,
    suite=st.text(),
    profile=st.sampled_from(["paper", "short", "smoke"]),
    task=st.text(),
    task_options=OPTIONS,
    method=st.text(),
    method_options=OPTIONS,
    seed=st.integers(0, 2**31),
    budget=st.builds(
        Budget,
        st.dictionaries(st.sampled_from(UNITS), st.floats(1e-6, 1e18), min_size=1),
    ),
    label=st.text(),
    recipe=st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 512),
            "optimizer": OPTIONS | st.fixed_dictionaries({"lr": st.floats(0, 1) | st.just(1)}),
            "amp": st.sampled_from(["float16", "bfloat16", None]),
            "schedule": st.just([{"type": "StepLR", "gamma": 1}]),
        },
    ),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
    validate_every=st.integers(1, 9),
    latency_batch_sizes=st.lists(st.integers(1, 99), unique=True).map(tuple),
    method_file=st.none() | st.text(),
    threads=st.none() | st.integers(1, 9),
    target=st.none() | st.builds(Target, st.floats(0, 100), st.sampled_from(["", "top1", "nll"])),
)


@given(SPECS)
def test_a_spec_survives_json(spec: RunSpec) -> None:
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_spec_with_a_strange_or_missing_key_is_refused() -> None:
    values = read_suite(SUITE, "s").specs()[0].to_dict()
    with pytest.raises(UserError, match="did you mean 'device'"):
        RunSpec.from_dict({**values, "devise": "cpu"})
    del values["seed"]
    with pytest.raises(UserError, match="seed"):
        RunSpec.from_dict(values)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "shrink"),
        ({"by": 2, "where": ["all"]}, "shrink"),
        ({"by": 4, "mode": "light"}, "shrink(by=4)"),
        ({"mode": "full", "where": ["conv1", "conv2"]}, "shrink(mode=full, where=[conv1 conv2])"),
    ],
)
def test_a_label_tells_the_options_that_differ_from_the_defaults(
    options: dict[str, object], label: str
) -> None:
    spec = replace(
        read_suite(SUITE, "s").specs()[0], method="shrink", method_options=options, label=""
    )
    assert spec.method_label == label
    assert replace(spec, label="own").method_label == "own"


def test_a_recipe_keeps_what_is_not_changed() -> None:
    default = Recipe(64, {"type": "SGD", "lr": 0.1, "momentum": 0.9}, schedule=({"type": "X"},))
    merged = merge_recipe(default, {"batch_size": 8, "optimizer": {"lr": 0.5}})
    assert merged == replace(
        default, batch_size=8, optimizer={"type": "SGD", "lr": 0.5, "momentum": 0.9}
    )
    assert default.optimizer["lr"] == 0.1


def test_another_optimizer_inherits_nothing() -> None:
    default = Recipe(64, {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    merged = merge_recipe(default, {"optimizer": {"type": "AdamW", "lr": 0.001}, "schedule": []})
    assert merged.optimizer == {"type": "AdamW", "lr": 0.001}
    assert merged.schedule == ()


def test_the_schema_knows_the_keys_that_a_suite_may_have() -> None:
    schema = suite_schema()
    assert set(yaml.safe_load(SUITE)) <= set(schema["properties"])
    assert schema["required"] == ["name", "methods", "budget"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["profile"]["enum"] == ["paper", "short", "smoke"]
    assert "method_file" not in schema["properties"]
    assert "sentence" in schema["properties"]["title"]["description"]
    recipe = schema["$defs"]["Recipe"]
    assert set(recipe["properties"]) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": "0"}, "seed must be a whole number of at least 0, got '0'"),
        ({"seed": True}, "seed must be a whole number"),
        ({"budget": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"device": "cuda:x"}, "device must be auto, cpu, cuda or cuda:N, got 'cuda:x'"),
        ({"profile": "papre"}, "did you mean 'paper'"),
        ({"recipe": {"batchsize": 1}}, "unknown key of recipe 'batchsize'"),
        ({"recipe": {"tf32": 1}}, "tf32 must be true or false, got 1"),
        ({"method_options": []}, "method_options must be a mapping"),
        ({"latency_batch_sizes": [0]}, "an entry of latency_batch_sizes must be"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
    ],
)
def test_a_strangers_spec_is_checked_as_a_suite_is(change: dict[str, object], says: str) -> None:
    values = read_suite(SUITE, "s").specs()[0].to_dict()
    with pytest.raises(UserError, match=re.escape(says)):
        RunSpec.from_dict({**values, **change})


@pytest.mark.parametrize("values", [None, [], "spec", 3])
def test_what_is_no_mapping_is_no_spec(values: object) -> None:
    with pytest.raises(UserError, match="the whole must be a mapping"):
        RunSpec.from_dict(values)  # type: ignore[arg-type]


def test_a_key_is_blamed_where_it_is_written_and_not_where_its_value_begins() -> None:
    assert error_of(changed("recipe:\n", "recpe:\n"))[0] == 17
    assert error_of(changed("  - shrink:\n", "  - shrnk:\n"))[0] == 10
    line, message = error_of(changed("    label: shrunk\n", "    label: 5\n"))
    assert (line, message) == (12, "label must be text, got 5: put it in quotes")


def test_an_unknown_suite_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        load_suite("quickstrat")
    with pytest.raises(UserError, match="no suite file"):
        load_suite("folder/none.yaml")


def test_a_suite_is_loaded_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    assert load_suite(str(path)) == read_suite(SUITE, "elsewhere")
    path.write_bytes(b"name: \xff")
    with pytest.raises(UserError, match="cannot read"):
        load_suite(path)


def test_a_method_file_makes_its_methods_known(tmp_path: Path) -> None:
    code = tmp_path / "my_methods.py"
    code.write_text(
        "from methods.base import METHODS\n"
        "@METHODS.register('homemade')\n"
        "class Homemade:\n    '''Made at home.'''\n"
    )
    suite_file = tmp_path / "mine.yaml"
    suite_file.write_text(changed("  - plain\n", "  - homemade\n"))
    with pytest.raises(UserError, match="unknown method 'homemade'"):
        load_suite(suite_file)
    suite = load_suite(suite_file, code)
    assert suite.specs()[0].method_file == str(code.resolve())
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    with pytest.raises(UserError, match=r"broken\.py cannot be imported: ModuleNotFoundError"):
        load_suite(suite_file, broken)
    with pytest.raises(UserError, match="no method file"):
        load_suite(suite_file, tmp_path / "absent.py")


def test_every_built_in_suite_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = suite_names()
    assert "quickstart" in names
    for name, title in names.items():
        suite = load_suite(name)
        assert suite.name == name
        assert title == suite.title != ""
