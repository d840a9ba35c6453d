"""The parts that all plots share: their shape, colours, marks and axes, and text made harmless for Plotly."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from enhanced_deeplog.logs.foreign_text import printable

__all__ = [
    "DARK",
    "MARKS",
    "MIDDLE",
    "OURS_COLOUR",
    "OURS_PALE_COLOUR",
    "PALE",
    "Figure",
    "Key",
    "Plot",
    "axis",
    "label",
    "layout",
    "mean_of",
    "ticks",
]

Figure = dict[str, Any]

OURS_COLOUR, OURS_PALE_COLOUR = "#1f66b0", "#9cc2e5"
DARK, MIDDLE, PALE = "#444444", "#7a7a7a", "#bdbdbd"  # of all others
# How Plotly calls a mark, and the character that shows it in a key.
MARKS = (
    ("circle", "●"), ("square", "■"), ("triangle-up", "▲"), ("triangle-down", "▼"), ("diamond", "◆"), ("cross", "✚"),
    ("x", "✖"), ("star", "★"), ("circle-open", "○"), ("square-open", "□"), ("triangle-up-open", "△"),
    ("triangle-down-open", "▽"), ("diamond-open", "◇"), ("star-open", "☆"),
)  # fmt: skip
_LONGEST_TICK = 18  # characters; more of the text is told on hover


@dataclass(frozen=True)
class Key:
    """What a colour or a mark stands for.

    Attributes:
        colour: As CSS has it.
        mark: The character that shows it.
        text: What it stands for, as it came: not escaped.
    """

    colour: str
    mark: str
    text: str


@dataclass(frozen=True)
class Plot:
    """A plot and what a reader needs beside it.

    Attributes:
        title: As it came: not escaped; so is `how_to_read`.
        how_to_read: In a sentence or two.
        figure: Data and layout as Plotly reads them. Every text in it that a log or a file may have written is escaped.
        height: px
        key: Of its colours and marks.
    """

    title: str
    how_to_read: str
    figure: Figure
    height: int
    key: tuple[Key, ...] = ()


def label(text: str, limit: int = 48) -> str:
    """Text that Plotly shows as it is: it takes some of HTML in labels for markup."""
    return html.escape(printable(text, limit), quote=False)


def mean_of(found: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = [value for one in found if (value := one.get(name)) is not None]
    return float(np.mean(values)) if values else None


def layout(**more: Any) -> Figure:
    return {
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 50, "r": 14, "t": 8, "b": 44},
        "showlegend": False,
        "dragmode": False,  # a finger that moves over a plot scrolls the page
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": "#222222"}},
        **more,
    }


def axis(title: str, **more: Any) -> Figure:
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "#e9e9e9",
        "linecolor": "#999999",
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def ticks(names: Sequence[str]) -> Figure:
    """Names at places 0, 1, ...: as categories, numbers among them would be sorted and equal ones be one."""
    texts = [label(name, _LONGEST_TICK) for name in names]
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": texts}
