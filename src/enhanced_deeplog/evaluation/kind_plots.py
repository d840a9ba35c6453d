"""Plots of kinds: true types against classes found, as a matrix and as a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enhanced_deeplog.report.figure_parts import (
    DARK,
    MARKS,
    MIDDLE,
    OURS_COLOUR,
    PALE,
    Key,
    Plot,
    axis,
    label,
    layout,
    ticks,
)

__all__ = ["class_map_plot", "confusion_plot"]

# Of classes: normal and unknown have none of these.
_CLASSES = ("#4e79a7", "#f28e2b", "#e15759", "#59a14f", "#b07aa1", "#9c755f", "#17a2b8", "#d4a106", "#ff7fb0",
            "#1b3a5c", "#8a4b08", "#7d1d1f", "#24561d", "#5b2a50")  # fmt: skip


def confusion_plot(confusion: Mapping[str, Any]) -> Plot:
    """True types against the classes they were found to be."""
    types, classes = [name or "normal" for name in confusion["types"]], confusion["classes"]
    counts = np.array(confusion["counts"], dtype=np.int64).reshape(len(types), len(classes))
    sums = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(sums, 1)
    numbers = _class_numbers(classes)
    heatmap = {
        "type": "heatmap",
        "z": shares.round(4).tolist(),
        "text": [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares.tolist()],
        "texttemplate": "%{text}",
        "customdata": [
            [[int(n), int(of_type), label(of), label(name)] for n, name in zip(row.tolist(), classes, strict=True)]
            for row, (of_type,), of in zip(counts, sums.tolist(), types, strict=True)
        ],
        "hovertemplate": "%{customdata[0]} of %{customdata[1]} sessions<br>type %{customdata[2]}<br>"
        "found: %{customdata[3]}<extra></extra>",
        "colorscale": [[0, "#f4f6f8"], [1, OURS_COLOUR]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    frame = layout(
        xaxis=axis("class found", **ticks(numbers), tickangle=0, showgrid=False),
        yaxis=axis("", **ticks(types), autorange="reversed", showgrid=False),
    )
    return Plot(
        "True types and classes found",
        "A row is a true type: how many of 100 of its sessions were found to be of each class. One dark cell a row, no "
        "two in a column, is best.",
        {"data": [heatmap], "layout": frame},
        100 + 30 * len(types),
        tuple(Key(DARK, n, name) for n, name in zip(numbers, classes, strict=True)),
    )


def _class_numbers(classes: Sequence[str]) -> list[str]:
    """What a narrow screen has room for: class 0 is normal, the last one unknown."""
    return [*(str(i) for i in range(len(classes) - 1)), "?"]


def class_map_plot(class_map: Mapping[str, Any], confusion: Mapping[str, Any]) -> Plot:
    """Sessions in the plane of the two widest directions of their features."""
    types, classes = [name or "normal" for name in confusion["types"]], confusion["classes"]
    numbers = _class_numbers(classes)
    points = list(zip(class_map["x"], class_map["y"], class_map["class"], class_map["type"], strict=True))
    drawn_classes, drawn_types = (sorted({point[i] for point in points}) for i in (2, 3))
    scatters = []
    for c in drawn_classes:
        of_class = [point for point in points if point[2] == c]
        scatters.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [point[0] for point in of_class],
                "y": [point[1] for point in of_class],
                "text": [label(types[t]) for *_, t in of_class],
                "marker": {
                    "symbol": [_mark(t)[0] for *_, t in of_class],
                    "color": _class_colour(c, len(classes)),
                    "size": 8,
                    "opacity": 0.75,
                },
                "customdata": [label(_numbered(c, numbers, classes))] * len(of_class),
                "hovertemplate": "type %{text}<br>found: %{customdata}<extra></extra>",
            }
        )
    first, second = (f"{100 * share:.0f} % of the spread" for share in class_map["spread"])
    plain = {"showticklabels": False}
    frame = layout(xaxis=axis(first, **plain), yaxis=axis(second, **plain))
    n = len(points)
    return Plot(
        "Map of classes",
        f"{n:,} of the sessions found abnormal, in the two directions that spread their features most. The colour is "
        "the class found, the mark the true type: clouds of one colour and one mark are best.",
        {"data": scatters, "layout": frame},
        430,
        (
            *(Key(_class_colour(c, len(classes)), "■", _numbered(c, numbers, classes)) for c in drawn_classes),
            *(Key(MIDDLE, _mark(t)[1], f"true type {types[t]}") for t in drawn_types),
        ),
    )


def _numbered(c: int, numbers: Sequence[str], classes: Sequence[str]) -> str:
    return f"class {numbers[c]}: {classes[c]}" if 0 < c < len(classes) - 1 else classes[c]


def _class_colour(c: int, n_classes: int) -> str:
    return PALE if c == 0 else DARK if c == n_classes - 1 else _CLASSES[(c - 1) % len(_CLASSES)]


def _mark(place: int) -> tuple[str, str]:
    return MARKS[place % len(MARKS)]
