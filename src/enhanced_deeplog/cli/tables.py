"""The shapes of screens: tables, lists of entries, and how numbers read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["STEP_MARKS", "Entry", "entry_list", "rarity", "severity_text", "share", "table"]

_RAREST = 1e9  # beyond it, a number would claim to know what no log can tell


def share(value: float) -> str:
    """A share in percent: as many digits as tell it from none and from all.

    Example:
        >>> share(0.25), share(0.0004), share(0.9996), share(1.0), share(0.999999)
        ('25 %', '0.04 %', '99.96 %', '100 %', '>99.99 %')
    """
    near = min(value, 1 - value)
    if 0 < near < 0.0001:
        return "<0.01 %" if value < 0.5 else ">99.99 %"
    digits = 0 if near <= 0 or near >= 0.01 else 1 if near >= 0.001 else 2
    return f"{100 * value:.{digits}f} %"


def rarity(score: float) -> str:
    """A score as a person reads it: how many normal sessions are as odd, to two digits.

    Example:
        >>> rarity(8.3), rarity(0.1), rarity(40.0)
        ('one in 4,000', 'most', 'under one in a billion')
    """
    if score >= math.log(_RAREST):
        return "under one in a billion"
    n = math.exp(score)
    if n < 1.5:
        return "most"
    unit = 10 ** max(math.floor(math.log10(n)) - 1, 0)
    return f"one in {round(n / unit) * unit:,}"


# Where a step of two sessions beside one another is -> what stands before it, and its style.
STEP_MARKS = {"only here": ("+", "red"), "only there": ("-", "dim"), "left out": ("", "dim"), "": ("", "")}
_SEVERITY_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}


def severity_text(severity: str) -> Text:
    """A severity in its colour."""
    return Text(severity, _SEVERITY_STYLES.get(severity, ""))


def table(*columns: str) -> Table:
    """A plain table; a column whose name begins with > holds numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in columns:
        number = name.startswith(">")
        made.add_column(name.removeprefix(">"), justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


@dataclass(frozen=True)
class Entry:
    """An entry of a list: short cells that stand in columns, a headline, and lines below it.

    Attributes:
        cells: One a column.
        headline: The rest of the first line.
        lines: What follows, each on a line of its own.
    """

    cells: tuple[Text, ...]
    headline: Text
    lines: tuple[Text, ...] = ()


def entry_list(columns: Sequence[str], headline: str, entries: Sequence[Entry]) -> Iterator[RenderableType]:
    """Entries below one another: headlines are cut to the width, the lines below them go on in the next."""
    names = [Text(name.removeprefix(">")) for name in columns]
    numbers = [name.startswith(">") for name in columns]
    widths = [max(cell.cell_len for cell in column) for column in zip(names, *(e.cells for e in entries), strict=True)]

    def first_line(cells: Sequence[Text], rest: Text, style: str = "") -> Text:
        line = Text("  ", style, no_wrap=True, overflow="ellipsis")
        for cell, width, number in zip(cells, widths, numbers, strict=True):
            blanks = " " * (width - cell.cell_len)
            line.append(blanks if number else "").append_text(cell).append("" if number else blanks).append("  ")
        return line.append_text(rest)

    yield first_line(names, Text(headline), "dim")
    for entry in entries:
        yield first_line(entry.cells, entry.headline)
        for text in entry.lines:
            yield Padding(text, (0, 0, 0, 4))
    yield Text()
