"""What figures show, as data; and that their files hold nothing else."""

from __future__ import annotations

import re
import statistics
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report.made_results import Made, make

from benchmarks.analysis.columns import Column
from benchmarks.records.store import read_rows
from benchmarks.records.verification import seal
from benchmarks.report.build import Report, summarise_all
from benchmarks.report.figures import output, style
from benchmarks.report.figures.choose import Chosen, choose
from benchmarks.report.figures.curves import learning_curves, read_curve
from benchmarks.report.figures.draw import MANY, draw
from benchmarks.report.figures.panels import Curves, Figure, Memory, Point, TradeOff
from tasks.errors import UserError


def chosen(*paths: Path, most: int = 99) -> Chosen:
    summaries = summarise_all(paths, (), Report())
    return choose([(s.results, s.lines, s.measured) for s in summaries], most)


def figure(found: Chosen, end: str) -> Figure:
    (one,) = [figure for figure in found.figures if figure.stem.endswith(end)]
    return one


def test_a_gpu_run_has_all_figures(tmp_path: Path) -> None:
    make(tmp_path, Made(gpu=True))
    found = chosen(tmp_path)
    assert [figure.stem for figure in found.figures] == [
        f"digits-{name}"
        for name in (
            "top1-parameters",
            "top1-macs",
            "top1-memory",
            "top1-seconds",
            "top1-joules",
            "sub-networks-macs",
            "sub-networks-latency-1",
            "curve-epoch",
            "curve-seconds",
            "curve-joules",
            "memory",
        )
    ]
    assert found.left_out == []


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    make(tmp_path)
    found = chosen(tmp_path)
    stems = [figure.stem for figure in found.figures]
    assert "digits-top1-joules" not in stems
    assert "digits-curve-joules" not in stems
    assert found.left_out == [
        "No top-1 against CPU energy of digits: RAPL needs root.",
        "No learning curves against energy of digits: the runs' curve.csv have no column 'joules'.",
        "No rest in the memory of digits: no CUDA device in this run.",
    ]


def test_trade_offs_hold_means_deviations_and_the_front(tmp_path: Path) -> None:
    methods = {"plain": {"full": 1.0}, "ours": {"super": 1.0, "base": 0.5}, "bad": {"full": 1.5}}
    store = make(tmp_path, Made(methods=methods))
    rows = read_rows(store.rows_path)
    panel = figure(chosen(tmp_path), "top1-macs").panel
    assert isinstance(panel, TradeOff)
    points = {(point.method, point.variant): point for point in panel.points}
    for (method, variant), point in points.items():
        values = [
            row.value
            for row in rows
            if (row.method, row.variant, row.metric, row.phase) == (method, variant, "top1", "test")
        ]
        assert point.x == pytest.approx(40 * methods[method][variant])  # in M
        assert point.x_sd == 0
        assert point.y == pytest.approx(statistics.fmean(values))
        assert point.y_sd == pytest.approx(statistics.stdev(values))
    for key, point in points.items():
        beaten = any(
            other.x <= point.x and other.y >= point.y and (other.x, other.y) != (point.x, point.y)
            for other in points.values()
        )
        assert point.front is not beaten, key


def test_sub_networks_are_those_of_methods_that_have_several(tmp_path: Path) -> None:
    make(tmp_path, Made(methods={"plain": {"full": 1.0}, "ours": {"super": 1.0, "base": 0.5}}))
    panel = figure(chosen(tmp_path), "sub-networks-macs").panel
    assert isinstance(panel, TradeOff)
    assert [(p.method, p.variant, p.x) for p in panel.points] == [
        ("ours", "base", 20.0),
        ("ours", "super", 40.0),
    ]
    make(tmp_path / "one", Made(methods={"plain": {"full": 1.0}}))
    assert not any("sub-networks" in f.stem for f in chosen(tmp_path / "one").figures)


def test_memory_is_stacked_from_the_parts_in_mib(tmp_path: Path) -> None:
    make(tmp_path, Made(gpu=True, archs=("a", "b")))
    panel = figure(chosen(tmp_path), "digits-memory").panel
    assert isinstance(panel, Memory)
    assert panel.parts == (
        "parameters",
        "gradients",
        "optimizer state",
        "activation memory",
        "rest",
    )
    assert [(bar.method, bar.arch) for bar in panel.bars] == [
        ("plain", "a"),
        ("ours", "a"),
        ("plain", "b"),
        ("ours", "b"),
    ]
    assert panel.bars[0].parts == (1.0, 1.0, 2.0, 9.0, 3.0)
    assert panel.bars[1].parts == pytest.approx((0.8, 0.8, 1.6, 7.2, 3.0))


def test_a_curve_is_the_mean_over_seeds_with_its_deviation(tmp_path: Path) -> None:
    store = make(tmp_path, Made(gpu=True))
    curves = {name: figure(chosen(tmp_path), f"curve-{name}").panel for name in ("epoch", "joules")}
    seeds = [
        read_curve(store.run_dir(f"digits-resnet20-plain-s{s}") / "curve.csv") for s in range(3)
    ]
    panel = curves["epoch"]
    assert isinstance(panel, Curves)
    curve = panel.curves[0]
    assert curve.method == "plain"
    assert curve.x == (1, 2, 3, 4)
    for i in range(4):
        values = [points[i]["top1"] for points in seeds]
        assert curve.y[i] == pytest.approx(statistics.fmean(values))
        assert curve.sd[i] == pytest.approx(statistics.stdev(values))
    panel = curves["joules"]
    assert isinstance(panel, Curves)
    assert panel.curves[0].x == (101, 201, 301, 401)


def test_epochs_go_on_over_phases(tmp_path: Path) -> None:
    file = tmp_path / "curve.csv"
    file.write_text(
        "phase,epoch,seconds,top1\nwarm,1,1.0,10\nwarm,2,2.0,20\nmain,1,3.0,\nmain,2,4.0,40\n"
    )
    points = read_curve(file)
    assert [point["epoch"] for point in points] == [1, 2, 3, 4]
    curves = learning_curves({("m", "a"): [points]}, "epoch", "top1").curves
    assert (curves[0].x, curves[0].y, curves[0].sd) == ((1, 2, 4), (10, 20, 40), ())


def test_seeds_of_unequal_length_are_averaged_as_far_as_all_go() -> None:
    runs = {
        ("m", "a"): [
            [{"epoch": 1.0, "top1": 1.0}],
            [{"epoch": float(e), "top1": 3.0} for e in (1, 2)],
        ]
    }
    (curve,) = learning_curves(runs, "epoch", "top1").curves
    assert (curve.x, curve.y) == ((1.0,), (2.0,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("phase,epoch,top1\ntrain,1,9", "cut short"),
        ("phase,epoch,top1\ntrain,1\n", "curve.csv:2: 2 fields instead of 3"),
        ("phase,epoch,top1\ntrain,one,9\n", "curve.csv:2"),
    ],
)
def test_a_damaged_curve_is_refused(tmp_path: Path, text: str, told: str) -> None:
    store = make(tmp_path)
    run = store.run_dir("digits-resnet20-plain-s0")
    (run / "curve.csv").write_text(text)
    seal(run)
    with pytest.raises(UserError, match=re.escape(told)):
        chosen(tmp_path)


def test_a_run_without_a_curve_is_told(tmp_path: Path) -> None:
    store = make(tmp_path, Made(fail=frozenset({("ours", 0)})))
    run = store.run_dir("digits-resnet20-plain-s0")
    (run / "curve.csv").unlink()
    seal(run)
    told = "Learning curves without some runs of digits: 1 run has no curve.csv."
    assert told in chosen(tmp_path).left_out


def test_figures_end_where_they_are_told_to(tmp_path: Path) -> None:
    make(tmp_path, Made(datasets=("a", "b")))
    found = chosen(tmp_path, most=3)
    assert len(found.figures) == 3
    assert "No further figures of a, b: at most 3 are drawn, more with --figures." in found.left_out


def scatter(count: int) -> Figure:
    points = tuple(
        Point("m", "a", str(i), float(i), float(i), 1.0, 1.0, True) for i in range(count)
    )
    columns = Column("macs", "inference"), Column("top1", "test")
    return Figure("many", "Many", TradeOff(*columns, points), ("m",), ("a",))


def test_svg_is_self_contained_and_follows_the_page(tmp_path: Path) -> None:
    make(tmp_path, Made(methods={"<b>&$x_1$": {"full": 1.0, "half": 0.5}}, gpu=True))
    found = chosen(tmp_path)
    with output.drawing():
        texts = [output.svg(draw(f), f"f{i}", f.caption) for i, f in enumerate(found.figures)]
    ids: list[str] = []
    for text in texts:
        assert "//" not in text
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img"
        assert not {"width", "height"} & set(root.attrib)
        own = [element.get("id") for element in root.iter() if element.get("id")]
        used = re.findall(r"url\(#([^)]*)\)", text) + re.findall(r'href="#([^"]*)"', text)
        assert set(used) <= set(own)
        ids += own
        for colour in (*style.LIGHT, style.INK, style.MUTED, style.GRID, style.OTHER):
            assert colour not in text
    assert len(ids) == len(set(ids))
    labels = "".join(ElementTree.fromstring(texts[0]).itertext())
    assert "<b>&$x_1$" in labels


@pytest.mark.parametrize("end", ["top1-macs", "sub-networks-macs", "curve-epoch", "digits-memory"])
def test_a_figure_is_the_same_bytes_each_time(tmp_path: Path, end: str) -> None:
    make(tmp_path)
    one = figure(chosen(tmp_path), end)
    files = []
    for _ in range(2):
        with output.drawing():
            canvas = draw(one)
            files.append((output.svg(canvas, "f", "t"), output.pdf(canvas), output.png(canvas)))
    assert files[0] == files[1]
    assert b"CreationDate" not in files[0][1]
    assert b"/Type3" not in files[0][1]


def test_many_points_are_one_picture() -> None:
    with output.drawing():
        few = output.svg(draw(scatter(MANY)), "f", "Few")
        many = output.svg(draw(scatter(10_000)), "f", "Many")
    assert "data:image/png" not in few
    assert "data:image/png" in many
    assert len(many) < 60_000


def luminance(colour: str) -> tuple[np.ndarray, float]:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear, float(linear @ [0.2126, 0.7152, 0.0722])


def lab(linear: np.ndarray) -> np.ndarray:
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes 2009, severity 1.
BLINDNESS = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize(("colours", "page"), [(style.LIGHT, "#ffffff"), (style.DARK, "#15181c")])
def test_colours_are_told_apart(colours: tuple[str, ...], page: str, kind: str) -> None:
    behind = luminance(page)[1]
    seen = []
    for colour in colours:
        linear, bright = luminance(colour)
        high, low = max(bright, behind), min(bright, behind)
        assert (high + 0.05) / (low + 0.05) >= 3
        seen.append(lab(np.array(BLINDNESS[kind]) @ linear))
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
