"""Work outside the budget follows tables and in comparisons."""

from __future__ import annotations

from report.made_results import Made, make

from benchmarks.analysis.compare.comparing import compare_results
from benchmarks.analysis.outside import outside_budget
from benchmarks.records.row import Measurement, Row
from benchmarks.report.comparison import notes
from benchmarks.report.tables import write_tables


def rows(method: str, seed: int, training: float, outside: float) -> list[Row]:
    identity = {
        "suite": "made",
        "run_id": f"{method}-{seed}",
        "task": "classification",
        "dataset": "digits",
        "arch": "resnet",
        "method": method,
        "seed": seed,
        "variant": "",
    }
    found = [
        ("train", Measurement("train_time", training)),
        ("train", Measurement("charged_time", 0.1 * training)),
        ("setup", Measurement("unbudgeted_time", outside, f"prepare {outside:g} s")),
    ]
    return [Row.of(measurement, phase=phase, **identity) for phase, measurement in found]


def test_a_sentence_above_five_per_cent_and_none_below():
    fair = [*rows("plain", 0, 10.0, 0.5), *rows("plain", 1, 10.0, 0.5)]
    assert outside_budget(fair) == []
    (sentence,) = outside_budget([*fair, *rows("busy", 0, 10.0, 1.1), *rows("busy", 1, 10.0, 2.2)])
    assert sentence == (
        "outside the budget: busy worked for another 15% of its training time (prepare 2.2 s)"
    )


def test_tables_and_comparisons_say_it(tmp_path):
    make(tmp_path, Made(outside={"plain": 0.1, "ours": 3.0}))
    text = write_tables(tmp_path)["md"]
    assert "- outside the budget: ours worked for another" in text
    assert "(prepare took it)" in text
    assert "plain worked" not in text
    found = compare_results([tmp_path], ["top1"])
    assert [note for note in notes(found) if note.startswith("outside the budget: ours")]
