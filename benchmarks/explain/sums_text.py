"""Sums as text: parts with their shares, the whole, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.explain.balance import HOLDS, MISSES, WITHIN
from benchmarks.explain.plot import number

_SCALES = {"B": ("MiB", 2.0**20)}
_BAR = 16
_NAME = 34
"""Characters of a part's name, where the line is wide enough."""
_NUMBERS = 26
"""Characters of its amount and share, with the indents."""


def sum_lines(balances: Sequence[Mapping[str, Any]], width: int, plain: bool) -> list[str]:
    """A block of lines a sum."""
    lines: list[str] = []
    for balance in balances:
        lines += _block(balance, width, plain)
    return lines


def _block(balance: Mapping[str, Any], width: int, plain: bool) -> list[str]:
    unit, scale = _SCALES.get(balance["unit"], (balance["unit"], 1.0))
    of = balance["whole"] if balance["whole"] is not None else balance["sum"]
    if balance["verdict"] == HOLDS and balance["relation"] == WITHIN and len(balance["parts"]) == 2:
        part, rest = (
            f"{each['name']} {number(each['value'] / scale)} {unit} ({each['value'] / of:.1%})"
            for each in balance["parts"]
        )
        whole = f"{balance['whole_name']} {number(of / scale)} {unit}"
        return [f"{balance['title']}: {part}; {rest}; OK: fits into {whole}"]
    lines = [f"{balance['title']}:"]
    names = max(10, min(_NAME, width - _NUMBERS))
    for part in balance["parts"]:
        if part["value"] is None:
            lines.append(f"  {part['name']}: not measured ({part['note']})")
            continue
        share = part["value"] / of if of else 0.0
        bar = _bar(share, plain) if width >= names + _NUMBERS + _BAR else ""
        amount = f"{number(part['value'] / scale)} {unit}"
        name = part["name"]
        if len(name) > names:
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:<{names}}{amount:>14} {share:>7.1%}  {bar}".rstrip())
    lines.append(f"  {_verdict(balance, unit, scale)}")
    return lines


def _verdict(balance: Mapping[str, Any], unit: str, scale: float) -> str:
    total = f"{number(balance['sum'] / scale)} {unit}"
    if balance["whole"] is None:
        return f"sum {total}; not checked: {balance['why']}"
    whole = f"{balance['whole_name']} {number(balance['whole'] / scale)} {unit}"
    allowed = f"{_small(balance['tolerance'] / scale)} {unit}"
    off = f"{_small(abs(balance['missing']) / scale)} {unit}"
    if balance["verdict"] == MISSES:
        side = "short of" if balance["missing"] > 0 else "more than"
        return f"MISSES: the sum is {off} {side} {whole} ({allowed} allowed); {balance['why']}"
    if balance["verdict"] != HOLDS:
        return f"sum {total}; not checked: {balance['why']}"
    if balance["relation"] == WITHIN:
        return f"OK: fits into {whole}"
    return f"OK: the sum is {whole}, {off} off; {allowed} allowed: {balance['why']}"


def _small(value: float) -> str:
    """Rounding errors to one digit, rounded up; all else as other numbers."""
    if value == 0 or value >= 1e-3:
        return number(value)
    power = 10.0 ** math.floor(math.log10(value))
    return f"{math.ceil(value / power - 1e-9) * power:.1g}"


def _bar(share: float, plain: bool) -> str:
    return ("#" if plain else "█") * max(0, min(_BAR, round(share * _BAR)))
