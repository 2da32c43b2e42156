"""The page in a real browser: sorting, filters, what a click tells, phone and desktop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from report.browser import CHROMIUM, DRIVER, Browser, browser
from report.made_results import Made, make

from benchmarks.report.build import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine"
    ),
]

METHODS = {
    "plain": {"full": 1.0},
    "ours(<b>bold</b>, operator=full, every=4)": {"super": 1.0, "base": 0.5, "exit=3": 0.75},
    "other": {"full": 0.9},
    "crashes": {"full": 1.0},
}
VISIBLE = "return [...document.querySelectorAll('#grid tbody tr:not([hidden])')]"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    fail = frozenset({("crashes", 0), ("crashes", 1), ("crashes", 2)})
    make(folder / "r", Made(methods=METHODS, archs=("small", "large"), gpu=True, fail=fail))
    write_report([folder / "r"], folder / "r/report", ["html"])
    with browser(folder / "profile") as found:
        found.page = folder / "r/report/report.html"
        found.size(1280, 900)
        found.open(found.page)
        yield found
        assert found.log() == []


@pytest.fixture
def fresh(window: Browser) -> Browser:
    window.size(1280, 900)
    window.open(window.page)
    return window


def names(window: Browser) -> list[str]:
    return window.run(
        f"{VISIBLE}.map(row => row.cells[0].textContent + '/' + row.cells[1].textContent)"
    )


def click_head(window: Browser, text: str) -> str | None:
    return window.run(
        "const head = [...document.querySelectorAll('#grid thead th')]"
        f".find(th => th.textContent.startsWith('{text}'));"
        "head.firstChild.click(); return head.getAttribute('aria-sort')"
    )


def column(window: Browser, text: str) -> list[str]:
    return window.run(
        "const n = [...document.querySelectorAll('#grid thead th')]"
        f".findIndex(th => th.textContent.startsWith('{text}'));"
        f"{VISIBLE}.map(row => row.cells[n].textContent)"
    )


def test_a_heading_sorts_up_down_and_back(fresh: Browser) -> None:
    as_written = names(fresh)
    assert click_head(fresh, "params (deployed)") == "ascending"
    values = [float(v.split()[0]) for v in column(fresh, "params (deployed)") if v != "–"]
    assert values == sorted(values)
    assert column(fresh, "params (deployed)")[-2:] == ["–", "–"]
    assert click_head(fresh, "params (deployed)") == "descending"
    values = [float(v.split()[0]) for v in column(fresh, "params (deployed)") if v != "–"]
    assert values == sorted(values, reverse=True)
    assert column(fresh, "params (deployed)")[-2:] == ["–", "–"]
    assert click_head(fresh, "params (deployed)") is None
    assert names(fresh) == as_written
    click_head(fresh, "method")
    assert names(fresh)[0].startswith("crashes")


def test_filters_narrow_the_rows_and_reset(fresh: Browser) -> None:
    assert len(names(fresh)) == 12
    fresh.run(
        "const s = document.querySelector('select[data-of=variant]'); s.value = 'base';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert len(names(fresh)) == 2
    assert fresh.run("return document.querySelector('output').textContent") == "2 of 12 networks"
    fresh.run(
        "const s = document.querySelector('input[type=search]'); s.value = 'LARGE  bold';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert len(names(fresh)) == 1
    fresh.run("document.querySelector('button[type=reset]').click()")
    fresh.run("return new Promise(done => setTimeout(done, 50))")
    assert len(names(fresh)) == 12


def test_metrics_can_be_shown_and_hidden(fresh: Browser) -> None:
    def shown(text: str) -> bool:
        return fresh.run(
            "return [...document.querySelectorAll('#grid thead th')]"
            f".find(th => th.textContent.startsWith('{text}')).offsetParent !== null"
        )

    def toggle(text: str) -> None:
        fresh.run(
            "[...document.querySelectorAll('.metrics label')]"
            f".find(l => l.textContent === '{text}').querySelector('input').click()"
        )

    assert (shown("ECE"), shown("MACs")) == (False, True)
    toggle("ECE (15 bins), test")
    toggle("MACs")
    assert (shown("ECE (15 bins) ↓"), shown("MACs")) == (True, False)


def test_a_click_on_a_cell_tells_its_seeds(fresh: Browser) -> None:
    fresh.run(f"{VISIBLE}[0].querySelector('td a').click()")
    told = fresh.run("return document.querySelector('dialog[open]').innerText")
    assert "top-1, test" in told
    assert "n = 3" in told
    links = fresh.run(
        "return [...document.querySelectorAll('dialog a')].map(a => a.getAttribute('href'))"
    )
    assert links == [f"../runs/digits-small-plain-s{seed}/manifest.json" for seed in range(3)]
    fresh.run("document.querySelector('dialog button').click()")
    assert fresh.run("return document.querySelector('dialog[open]')") is None
    fresh.run(
        f"{VISIBLE}.find(row => row.cells[0].textContent === 'crashes')"
        ".querySelector('td a').click()"
    )
    told = fresh.run("return document.querySelector('dialog[open]').innerText")
    assert "no value" in told
    assert told.count("the run failed") == 3


def test_names_are_no_markup(fresh: Browser) -> None:
    assert (
        fresh.run("return document.querySelectorAll('#grid tbody b, svg b, dialog b').length") == 0
    )
    fresh.run(f"{VISIBLE}[1].querySelector('td a').click()")
    assert fresh.run("return document.querySelectorAll('dialog b').length") == 0


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(fresh: Browser, width: int) -> None:
    fresh.size(width, 800)
    fresh.open(fresh.page)
    fresh.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    page, box = fresh.run(
        "const box = document.querySelector('.box');"
        "return [document.documentElement.scrollWidth, box.scrollWidth > box.clientWidth]"
    )
    assert page <= width
    assert box
    assert fresh.run(
        "return [...document.querySelectorAll('figure svg')]"
        ".every(svg => svg.getBoundingClientRect().right <= innerWidth)"
    )


def test_figures_follow_light_and_dark(fresh: Browser) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        fresh.prefer(scheme)
        colours[scheme] = fresh.run(
            "const style = getComputedStyle(document.querySelector('svg text'));"
            "return [style.fill, getComputedStyle(document.body).backgroundColor]"
        )
    assert colours["light"] == ["rgb(27, 31, 36)", "rgb(255, 255, 255)"]
    assert colours["dark"] == ["rgb(231, 234, 238)", "rgb(21, 24, 28)"]


def test_nothing_is_requested(fresh: Browser) -> None:
    assert fresh.run("return performance.getEntriesByType('resource').map(e => e.name)") == []
