from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis.columns import Column, column_for, default_columns
from benchmarks.analysis.compare.verdicts import is_exact
from benchmarks.analysis.summary import summarise
from benchmarks.records.row import FAILED, UNAVAILABLE, Measurement, Row
from benchmarks.records.store import Plan, PlannedRun, Store, write_failed_run, write_finished_run
from benchmarks.report.tables import write_tables
from benchmarks.report.text import latex_escape
from tasks.errors import UserError

TRAIN_TIME = Column("train_time", "training")
TOP1 = Column("top1", "test")


def row(method: str, seed: int, phase: str, metric: str, value: float | None, **more: Any) -> Row:
    reason = more.pop("reason", "")
    identity = {
        "suite": "mine", "run_id": f"digits-{method}-s{seed}", "task": "classification",
        "dataset": "digits", "arch": "small", "variant": "",
    } | more  # fmt: skip
    measurement = Measurement(metric, value, reason)
    return Row.of(measurement, method=method, seed=seed, phase=phase, **identity)


def run_rows(method: str, seed: int, top1: float, seconds: float, params: float) -> list[Row]:
    return [
        row(method, seed, "test", "top1", top1, variant="full"),
        row(method, seed, "test_best", "top1", top1 + 1, variant="full"),
        row(method, seed, "inference", "params_inference", params, variant="full"),
        row(method, seed, "inference", "macs", 4e6, variant="full"),
        row(method, seed, "train", "train_time", seconds),
        row(method, seed, "train", "mem_peak_allocated", None, reason="no CUDA device"),
        row(method, seed, "train", "mem_peak_resident", 512 * 2**20),
        row(method, seed, "train", "energy_gpu_counter", None, reason="no NVML device"),
        row(method, seed, "train", "energy_cpu_package", None, reason="RAPL needs root"),
    ]


def failed(method: str, seed: int, reason: str) -> Row:
    template = row(method, seed, "test", "top1", 1.0)
    return replace(template, value=None, status=FAILED, reason=reason)


ROWS = [
    *run_rows("plain", 0, 90.0, 10.0, 465_480),
    *run_rows("ours", 0, 91.0, 5.0, 300_000),
    *run_rows("plain", 1, 92.0, 20.0, 465_480),
    *run_rows("ours", 1, 95.0, 20.0, 300_000),
    *run_rows("plain", 2, 97.0, 30.0, 465_480),
    failed("ours", 2, "out of | memory"),
]


def cell(rows: list[Row], method: str, column: Column, baseline: str | None = "plain") -> Any:
    (line,) = [line for line in summarise(rows, [column], baseline) if line.method == method]
    return line.cells[column.key]


def test_mean_and_sample_standard_deviation_are_those_worked_out_by_hand() -> None:
    found = cell(ROWS, "plain", TOP1)
    assert found.mean == 93.0
    assert found.sd == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert found.n == 3
    assert found.ratio is None


def test_parameters_never_stand_without_their_note(tmp_path: Path) -> None:
    note = "640 bytes of weights are stored outside of parameters"
    rows = [
        row("int8", 0, "inference", "params_inference", 0.0, variant="full", reason=note),
        row("int8", 0, "inference", "macs", 640.0, variant="full", reason="a note of another kind"),
    ]
    text = write_tables(results(tmp_path, [*ROWS, *rows]).path)["md"]
    (line,) = [line for line in text.splitlines() if line.startswith("| int8")]
    mark = re.search(r"0 \[(\d+)\]", line)
    assert mark
    assert f"[{mark[1]}] {note}" in text
    assert "another kind" not in text


def test_executed_operations_have_a_column_where_they_were_measured_and_are_not_exact() -> None:
    executed = Column("macs_executed", "inference")
    assert executed not in default_columns(ROWS)
    rows = [
        row("gates", seed, "inference", "macs_executed", 500.0 + seed, variant="full")
        for seed in (0, 1)
    ]
    assert executed in default_columns([*ROWS, *rows])
    assert not is_exact(executed)
    assert not is_exact(Column("macs_executed@p90", "inference"))
    assert is_exact(Column("macs", "inference"))
    assert is_exact(Column("weights_bytes", "inference"))


def test_a_ratio_pairs_the_seeds_that_both_methods_have() -> None:
    assert cell(ROWS, "ours", TRAIN_TIME).ratio == pytest.approx(math.sqrt(5 / 10 * 20 / 20))
    assert cell(ROWS, "plain", TRAIN_TIME).ratio == pytest.approx(1)
    assert cell(ROWS, "ours", TRAIN_TIME, baseline=None).ratio is None
    assert cell(ROWS, "ours", TRAIN_TIME, baseline="absent").ratio is None


def test_a_quality_has_no_ratio() -> None:
    for metric in ("top1", "ece", "nll"):
        assert not Column(metric, "test").is_cost
    for metric in ("params", "macs", "mem_peak_resident", "train_time", "energy_gpu_counter"):
        assert Column(metric, "training").is_cost


def test_one_seed_has_no_deviation() -> None:
    found = cell(ROWS[:9], "plain", TOP1)
    assert (found.mean, found.sd, found.n) == (90.0, None, 1)


def test_a_failed_run_counts_as_no_seed_and_not_as_zero() -> None:
    found = cell(ROWS, "ours", TOP1)
    assert (found.mean, found.n) == (93.0, 2)
    assert found.reasons == ("the run failed, see below",)


def test_times_of_phases_add_up_and_the_highest_peak_counts() -> None:
    rows = [
        row("plain", 0, "warm", "train_time", 2.0),
        row("plain", 0, "main", "train_time", 3.0),
        row("plain", 0, "warm", "mem_peak_resident", 7.0),
        row("plain", 0, "main", "mem_peak_resident", 5.0),
        row("plain", 0, "inference", "mem_peak_resident", 100.0),
    ]
    assert cell(rows, "plain", TRAIN_TIME).mean == 5.0
    assert cell(rows, "plain", Column("mem_peak_resident", "training")).mean == 7.0


def test_a_phase_without_a_value_leaves_no_partial_sum() -> None:
    rows = [
        row("plain", 0, "warm", "train_time", 2.0),
        row("plain", 0, "main", "train_time", None, reason="clock lost"),
    ]
    found = cell(rows, "plain", TRAIN_TIME)
    assert (found.mean, found.n, found.reasons) == (None, 0, ("clock lost",))


def test_each_variant_has_a_line_and_the_cost_of_its_run() -> None:
    rows = [
        row("multi", 0, "test", "top1", 90.0, variant="super"),
        row("multi", 0, "test", "top1", 80.0, variant="base"),
        row("multi", 0, "train", "train_time", 6.0),
        row("plain", 0, "test", "top1", 85.0, variant="full"),
        row("plain", 0, "train", "train_time", 4.0),
    ]
    lines = summarise(rows, [TOP1, TRAIN_TIME], "plain")
    assert [(n.method, n.variant, n.cells[TOP1.key].mean) for n in lines] == [
        ("multi", "super", 90.0),
        ("multi", "base", 80.0),
        ("plain", "full", 85.0),
    ]
    assert [n.cells[TRAIN_TIME.key].ratio for n in lines] == [1.5, 1.5, 1.0]


def test_two_runs_under_one_label_and_seed_are_never_mixed() -> None:
    rows = [
        row("plain", 0, "test", "top1", 90.0),
        row("plain", 0, "test", "top1", 10.0, run_id="another"),
    ]
    with pytest.raises(UserError, match="two runs are called plain with seed 0"):
        summarise(rows, [TOP1])


@given(st.permutations(ROWS))
def test_the_order_of_rows_changes_no_number(rows: list[Row]) -> None:
    columns = default_columns(ROWS)
    lines = {line.method: line for line in summarise(rows, columns, "plain")}
    expected = {line.method: line for line in summarise(ROWS, columns, "plain")}
    for method, line in expected.items():
        assert lines[method].seeds == line.seeds
        for key, found in line.cells.items():
            other = lines[method].cells[key]
            assert (other.mean, other.n) == (pytest.approx(found.mean), found.n)


def test_default_columns_take_what_this_machine_could_measure() -> None:
    keys = [column.key for column in default_columns(ROWS)]
    assert keys == [
        "top1:test",
        "top1:test_best",
        "params_inference:inference",
        "macs:inference",
        "mem_peak_resident:training",
        "train_time:training",
        "energy_cpu_package:training",
    ]
    gpu = [
        *ROWS,
        row("plain", 0, "train", "mem_peak_allocated", 5.0),
        row("plain", 0, "train", "energy_gpu_counter", 5.0),
        row("plain", 0, "setup", "mem_activations", 5.0),
        row("plain", 0, "test", "miou", 5.0),
    ]
    keys = [column.key for column in default_columns(gpu)]
    for key in (
        "mem_peak_allocated:training",
        "energy_gpu_counter:training",
        "mem_activations:setup",
        "miou:test",
    ):
        assert key in keys
    assert "mem_peak_resident:training" not in keys


def test_a_metric_is_looked_up_where_it_was_measured() -> None:
    rows = [*ROWS, row("plain", 0, "inference", "latency@32", 0.1, variant="full")]
    assert column_for("top1", rows) == TOP1
    assert column_for("top1:test_best", rows) == Column("top1", "test_best")
    assert column_for("latency@32", rows) == Column("latency@32", "inference")
    assert column_for("train_time", rows) == TRAIN_TIME
    with pytest.raises(UserError, match="did you mean 'top1'"):
        column_for("top-1", rows)


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def results(path: Path, rows: list[Row] = ROWS, profile: str = "smoke") -> Store:
    store = Store(path)
    runs = {r.run_id: PlannedRun(r.run_id, r.method, r.seed, r.method == "plain") for r in rows}
    store.write_plan(Plan("mine", profile, "Mine", {"epochs": 8.0}, tuple(runs.values())))
    for run_id in runs:
        own = [r for r in rows if r.run_id == run_id]
        end = write_failed_run if own[0].status == FAILED else write_finished_run
        end(store.open_run(run_id), own, {"device": {"name": "Some CPU"}})
    store.write_collected(tuple(runs.values()))
    return store


def test_markdown_says_what_was_measured_and_what_is_missing_and_why(tmp_path: Path) -> None:
    text = write_tables(results(tmp_path).path)["md"]
    assert text == (tmp_path / "table.md").read_text()
    title, table, notes, failures = text.strip().split("\n\n")
    for said in ("Suite mine", "digits", "small", "8 epochs", "seeds 0, 1, 2", "Some CPU"):
        assert said in title
    assert "profile smoke, a reduced budget" in title
    assert "ratio to plain" in title
    lines = [cells_of(line) for line in table.splitlines()]
    assert lines[0] == [
        "method",
        "seeds",
        "top-1 ↑ (%)",
        "top-1 @ best-val checkpoint ↑ (%)",
        "params (deployed) ↓ (k)",
        "MACs ↓ (M)",
        "peak RSS ↓ (MiB)",
        "training time ↓ (s)",
        "CPU energy ↓ (J)",
    ]
    assert lines[2] == [
        "plain",
        "3",
        "93.00 ± 3.61",
        "94.00 ± 3.61",
        "465.5 (1.00×)",
        "4.000 (1.00×)",
        "512.0 ± 0.0 (1.00×)",
        "20.00 ± 10.00 (1.00×)",
        "– [1]",
    ]
    assert lines[3][:5] == ["ours", "2", "93.00 ± 2.83", "94.00 ± 2.83", "300.0 (0.64×)"]
    assert lines[3][8] == "– [1]"
    assert notes == "[1] RAPL needs root"
    assert failures == "- failed: ours, seed 2: out of | memory"


def test_a_value_that_some_seeds_lack_says_so(tmp_path: Path) -> None:
    rows = [r for r in ROWS if (r.seed, r.metric) != (1, "train_time")]
    rows.append(row("plain", 1, "train", "train_time", None, reason="clock lost"))
    text = write_tables(results(tmp_path, rows).path, ["train_time"])["md"]
    assert "20.00 ± 14.14 (1.00×) [1]" in text
    assert "[1] mean of 2 seeds only: clock lost" in text
    assert "[2] mean of 1 seed only: not measured" in text


def test_a_method_that_always_failed_still_has_a_line(tmp_path: Path) -> None:
    rows = [*ROWS[:9], failed("ours", 0, "no"), failed("ours", 1, "no")]
    text = write_tables(results(tmp_path, rows).path)["md"]
    (line,) = [line for line in text.splitlines() if line.startswith("| ours")]
    assert line.count("–") == 7
    assert cells_of(line)[2] == "– [2]"
    assert "[2] the run failed, see below" in text
    assert "failed: ours, seeds 0, 1: no" in text


def test_the_published_budget_is_not_called_reduced(tmp_path: Path) -> None:
    assert "reduced" not in write_tables(results(tmp_path, profile="paper").path)["md"]


def test_one_seed_is_shown_without_a_spread(tmp_path: Path) -> None:
    text = write_tables(results(tmp_path, ROWS[:9]).path)["md"]
    assert "±" not in text
    assert "; seed 0;" in text


def test_csv_holds_the_numbers_unrounded_in_base_units(tmp_path: Path) -> None:
    text = write_tables(results(tmp_path).path)["csv"]
    assert text == (tmp_path / "table.csv").read_text()
    plain, ours = csv.DictReader(io.StringIO(text))
    assert (plain["method"], plain["variant"], plain["dataset"]) == ("plain", "full", "digits")
    assert float(plain["top1:test_sd"]) == math.sqrt(13)
    assert float(plain["mem_peak_resident:training"]) == 512 * 2**20
    assert float(ours["train_time:training_ratio"]) == pytest.approx(math.sqrt(0.5))
    assert (ours["top1:test_n"], ours["seeds"]) == ("2", "2")
    assert (ours["energy_cpu_package:training"], ours["energy_cpu_package:training_n"]) == ("", "0")
    assert "top1:test_ratio" not in ours


def test_latex_is_escaped_and_has_as_many_cells_as_columns(tmp_path: Path) -> None:
    rows = [replace(r, method=r.method.replace("ours", "our_s(a=50%, b={#$^~\\&})")) for r in ROWS]
    text = write_tables(results(tmp_path, rows).path)["latex"]
    assert text == (tmp_path / "table.tex").read_text()
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert text.count(rule) == 1
    assert (
        r"our\_s(a=50\%, b=\{\#\$\textasciicircum{}\textasciitilde{}\textbackslash{}\&\})" in text
    )
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.split(r"(?<!\\)&", line)) for line in body] == [9, 9, 9]
    assert r"93.00 $\pm$ 2.83 &" in text
    assert "--$^{1}$" in text
    assert text.isascii()


@given(st.text('abc \\{}$&#_%^~|<>"↑↓±×–', max_size=30))
def test_escaped_text_has_balanced_braces_and_no_live_signs(text: str) -> None:
    escaped = latex_escape(text)
    bare = re.sub(r"\\[&%$#_{}]|\$\\\w+\$", "", escaped)
    assert not set(bare) & set('&%$#_^~<>|"')
    assert bare.count("{") == bare.count("}")


def test_chosen_metrics_replace_the_columns(tmp_path: Path) -> None:
    text = write_tables(results(tmp_path).path, ["top1:test_best", "train_time"])["md"]
    heading = next(line for line in text.splitlines() if line.startswith("| method"))
    assert cells_of(heading)[2:] == ["top-1 @ best-val checkpoint ↑ (%)", "training time ↓ (s)"]


def test_settings_that_differ_become_columns(tmp_path: Path) -> None:
    rows = [*ROWS[:9], *(replace(r, dataset="other", run_id="o") for r in ROWS[:9])]
    text = write_tables(results(tmp_path, rows).path)["md"]
    assert "| dataset" in text
    assert "arch" not in text


def test_a_folder_without_results_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'depthbench run' has written to"):
        write_tables(tmp_path)


def test_tables_can_be_written_before_the_first_run_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_plan(Plan("mine", "smoke", "Mine", {"epochs": 8.0}, ()))
    store.write_collected(())
    assert "no run has finished yet" in write_tables(tmp_path)["md"]


def test_an_unavailable_value_is_never_shown_as_zero(tmp_path: Path) -> None:
    rows = [r for r in ROWS if r.status == UNAVAILABLE or r.metric == "top1"]
    text = write_tables(results(tmp_path, rows).path, ["energy_gpu_counter"])["md"]
    (line,) = [line for line in text.splitlines() if line.startswith("| plain")]
    assert cells_of(line) == ["plain", "3", "– [1]"]
    assert "[1] no NVML device" in text
