"""A table as Markdown and as LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Shown(NamedTuple):
    """A cell as text, the numbers of its footnotes, and whether it is set in bold."""

    text: str
    notes: tuple[int, ...] = ()
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table ready to be written in any format.

    Args:
        title: one sentence that says what the numbers are of.
        headings: column headings.
        body: cells.
        notes: footnotes; the first has number 1.
        remarks: sentences below: ways in which runs failed, work outside the budget.
        names: how many columns at the left name the line.
        label: what LaTeX refers to the table by; empty for nothing.
    """

    title: str
    headings: Sequence[str]
    body: Sequence[Sequence[Shown]]
    notes: Sequence[str] = ()
    remarks: Sequence[str] = field(default_factory=tuple)
    names: int = 1
    label: str = ""

    def markdown(self) -> str:
        """GitHub's Markdown."""
        from tabulate import tabulate

        def show(cell: Shown) -> str:
            text = markdown_cell(cell.text)
            marks = "".join(f" [{number}]" for number in cell.notes)
            return (f"**{text}**" if cell.bold else text) + marks

        cells = [[show(cell) for cell in line] for line in self.body]
        headings = [markdown_cell(heading) for heading in self.headings]
        table = tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)
        parts = [markdown_line(self.title), table]
        notes = [f"[{number}] {markdown_line(note)}" for number, note in enumerate(self.notes, 1)]
        parts += ["  \n".join(notes)] if notes else []
        parts += (
            ["\n".join(f"- {markdown_line(line)}" for line in self.remarks)] if self.remarks else []
        )
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """A ``table`` environment for the booktabs package, made smaller if it is too wide."""

        def show(cell: Shown) -> str:
            text = latex_escape(one_line(cell.text))
            marks = ",".join(map(str, cell.notes))
            return (rf"\textbf{{{text}}}" if cell.bold else text) + (
                f"$^{{{marks}}}$" if marks else ""
            )

        notes = [
            f"$^{{{number}}}$ {latex_escape(one_line(note))}"
            for number, note in enumerate(self.notes, 1)
        ]
        notes += [latex_escape(one_line(line)) for line in self.remarks]
        columns = "l" * self.names + "r" * (len(self.headings) - self.names)
        return "\n".join(
            [
                "% needs \\usepackage{booktabs,graphicx}",
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{latex_escape(one_line(self.title))}}}",
                *([f"\\label{{{self.label}}}"] if self.label else []),
                rf"\resizebox{{{_AT_MOST_A_LINE}}}{{!}}{{\begin{{tabular}}{{{columns}}}",
                "\\toprule",
                " & ".join(map(_stacked, self.headings)) + r" \\",
                "\\midrule",
                *(" & ".join(map(show, line)) + r" \\" for line in self.body),
                "\\bottomrule",
                "\\end{tabular}}",
                *(f"\\par {{\\footnotesize {note}}}" for note in notes),
                "\\end{table}",
                "",
            ]
        )


_AT_MOST_A_LINE = r"\ifdim\width>\linewidth\linewidth\else\width\fi"


def _stacked(heading: str) -> str:
    """A heading in short lines, so that numbers decide how wide a column is."""
    title, unit, rest = heading.rpartition(" (")
    lines = [*textwrap.wrap(title or heading, 15), *([f"({rest}"] if unit else [])]
    text = r"\\".join(map(latex_escape, lines))
    return rf"\shortstack[r]{{{text}}}" if len(lines) > 1 else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex_escape(text: str) -> str:
    """Text that LaTeX sets unchanged, with the signs that tables use.

    After a line end (two backslashes) LaTeX would take ``[`` and ``*`` for an option of it, so an
    empty group stands in front of them.
    """
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return "{}" + escaped if escaped.lstrip()[:1] in ("[", "*") else escaped


_MARKDOWN = {"<": "&lt;", ">": "&gt;", **{sign: f"\\{sign}" for sign in "\\`*~$"}}
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LONE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""Inside of a word, as in ``end_to_end``, an underscore is itself."""
_LINK = re.compile(r"\](?=[(\[:])")
"""Other brackets are themselves, as in ``blocks=[3 6]``."""
_BLOCK = re.compile(r"^(#|[-+=](?=[ =-]|$)|\d+(?=[.)])|\[(?=[ xX]\]))")
"""What begins a heading, a list or a rule at the beginning of a line."""


def markdown_cell(text: str) -> str:
    """Text that a cell of a table in Markdown shows unchanged."""
    return markdown_escape(text).replace("|", r"\|")


def markdown_escape(text: str) -> str:
    """Text that Markdown shows unchanged inside a line."""
    text = _ENTITY.sub("&amp;", one_line(text))
    text = "".join(_MARKDOWN.get(sign, sign) for sign in text)
    return _LINK.sub(r"\\]", _LONE_UNDERSCORE.sub(r"\\_", text))


def markdown_line(text: str) -> str:
    """Text that a paragraph or an item of a list shows unchanged."""
    text = markdown_escape(text)
    begins = _BLOCK.match(text)
    if begins is None:
        return text
    mark = begins[0]
    # A number is no list where what follows it is escaped.
    return f"{mark}\\{text[len(mark) :]}" if mark.isdigit() else f"\\{text}"


def one_line(text: str) -> str:
    """Text without line ends and runs of spaces."""
    return " ".join(text.split())
