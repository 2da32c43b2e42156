"""Figures as files that are the same bytes each time: SVG for a page, PDF and PNG for papers."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from benchmarks.report.figures import style

_VARIABLES = {
    **{colour: f"var(--c{i})" for i, colour in enumerate(style.LIGHT)},
    style.INK: "var(--ink)",
    style.MUTED: "var(--muted)",
    style.GRID: "var(--grid)",
    style.OTHER: "var(--other)",
}
"""What a page sets by light and dark."""
_FONTS = re.compile(r"font-family:[^;]*;?\s*")
_LONG = re.compile(r"(\d\.\d\d)\d+")


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib with the project's settings, whatever the reader's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style.PARAMETERS)
        yield


def svg(canvas: Canvas, name: str, title: str) -> str:
    """An ``<svg>`` element for the body of a page: no address, no width of its own, its own ids.

    Args:
        canvas: the figure.
        name: goes before every id; letters, digits and hyphens.
        title: for those who cannot see it.
    """
    file = io.StringIO()
    FigureCanvasSVG(canvas).print_svg(file, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    box = root.get("viewBox", "")
    for element in root.iter():
        _clean(element, name)
    root.attrib = {"viewBox": box, "role": "img", "aria-label": title}
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, name: str) -> None:
    """Plain tags, short numbers, colours that follow the page, ids of this figure alone."""
    element.tag = element.tag.rpartition("}")[2]
    for child in list(element):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            element.remove(child)
    attributes: dict[str, str] = {}
    for key, value in element.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id":
            if element.tag == "g":
                continue  # nothing refers to groups
            value = f"{name}-{value}"
        elif key == "href" and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        elif key == "transform" and value.startswith("rotate(-0 "):
            continue
        elif key == "style":
            value = _FONTS.sub("", value)
            for colour, variable in _VARIABLES.items():
                value = value.replace(colour, variable)
        if key not in ("id", "href"):
            value = _LONG.sub(r"\1", value).strip().replace("url(#", f"url(#{name}-")
        attributes[key] = value
    element.attrib = attributes
    if element.tag != "text":
        element.text = None
    element.tail = None


def pdf(canvas: Canvas) -> bytes:
    """A PDF whose text is text, in fonts that publishers take."""
    file = io.BytesIO()
    metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    FigureCanvasPdf(canvas).print_pdf(file, metadata=metadata)
    return file.getvalue()


def png(canvas: Canvas) -> bytes:
    """A picture on white."""
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return file.getvalue()
