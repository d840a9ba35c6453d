"""Plots of detection, of sessions that `fit` never saw, of parsing and of learning, as figures that Plotly draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enhanced_deeplog.evaluation.figures import OURS, value_at
from enhanced_deeplog.report.figure_parts import (
    DARK,
    MARKS,
    MIDDLE,
    OURS_COLOUR,
    OURS_PALE_COLOUR,
    PALE,
    Figure,
    Key,
    Plot,
    axis,
    label,
    layout,
    mean_of,
    ticks,
)

__all__ = ["left_out_plot", "loss_plot", "parsing_plot", "pr_plot", "reliability_plot"]

Row = Mapping[str, Any]

_PEERS = (DARK, MIDDLE, "#a3a3a3")
_LOSSES = [n * 10.0**power for power in range(-4, 3) for n in (1, 2, 5)]
_LOSS_TICKS = {"tickvals": _LOSSES, "ticktext": [f"{loss:g}" for loss in _LOSSES]}  # Plotly's own say 5 for 0.5


# --- Detection ----------------------------------------------------------------------------------------------------


def pr_plot(rows: Sequence[Row]) -> Plot | None:
    """The curve of ours for each seed, and where each system stands; None where no row has a curve."""
    curves = {row["seed"]: row for row in rows if row["system"] == OURS and row.get("pr_curve")}
    if not curves:
        return None
    lines = [_line(row["pr_curve"], OURS_COLOUR, about=f"ours, seed {seed}") for seed, row in curves.items()]
    peers = list(dict.fromkeys(row["system"] for row in rows if row["system"] != OURS))
    marks = {peer: (_PEERS[i % len(_PEERS)], MARKS[1:][i % (len(MARKS) - 1)]) for i, peer in enumerate(peers)}
    points = []
    for peer, (colour, (symbol, _)) in marks.items():
        found = [row["detection"] for row in rows if row["system"] == peer and row.get("detection")]
        recall, precision = mean_of(found, "recall"), mean_of(found, "precision")
        if recall is not None and precision is not None:
            points.append(_point([recall], [precision], peer, symbol, colour))
    own = [row["detection"] for row in rows if row["system"] == OURS and row.get("detection")]
    own = [one for one in own if one.get("recall") is not None and one.get("precision") is not None]
    chosen = _point([one["recall"] for one in own], [one["precision"] for one in own], "ours", "circle", OURS_COLOUR)
    shares = {"range": [-0.02, 1.03], "tickformat": ".1f", "dtick": 0.2}
    frame = layout(
        xaxis=axis("recall: share of abnormal sessions found", **shares),
        yaxis=axis("precision", **shares),
    )
    return Plot(
        "Precision and recall",
        "Right and up is better. Each thin line is one seed of ours over all thresholds; the point on it is the "
        "threshold that was chosen without looking at the truth. Of the others, the mean of their points.",
        {"data": [*lines, *points, chosen], "layout": frame},
        430,
        (
            Key(OURS_COLOUR, "—", "ours, one line a seed"),
            Key(OURS_COLOUR, "●", "ours, threshold chosen"),
            *(Key(colour, mark, peer) for peer, (colour, (_, mark)) in marks.items()),
        ),
    )


def _line(points: Sequence[Sequence[float]], colour: str, *, about: str, **more: Any) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, *_ in points],
        "y": [y for _, y, *_ in points],
        "line": {"color": colour, "width": 1.3},
        "hovertemplate": f"{about}<br>%{{x:.3f}}, %{{y:.3f}}<extra></extra>",
        **more,
    }


def _point(x: Sequence[float], y: Sequence[float], about: str, symbol: str, colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "text": [label(about)] * len(x),
        "marker": {"symbol": symbol, "size": 10, "color": colour, "line": {"color": "white", "width": 1}},
        "hovertemplate": "%{text}<br>recall %{x:.3f}, precision %{y:.3f}<extra></extra>",
        "cliponaxis": False,
    }


# --- Sessions that `fit` never saw --------------------------------------------------------------------------------


def reliability_plot(rows: Sequence[Row]) -> Plot | None:
    """How often verdicts of each confidence are right; None where no row has bins."""
    bins = {row["seed"]: found for row in rows if (found := value_at(row, "confidence.bins"))}
    if not bins:
        return None
    least = min(min(confidence, right) for of_seed in bins.values() for confidence, right, _ in of_seed)
    low = max(min(math.floor(10 * least) / 10, 0.8), 0.0)  # never so near that noise looks like a fault
    span = {"range": [low - 0.03 * (1 - low), 1 + 0.03 * (1 - low)], "tickformat": ".2f"}
    diagonal = _line([[low, low], [1.0, 1.0]], PALE, about="as often right as it says", hoverinfo="skip")
    lines = [
        _line(
            of_seed,
            OURS_COLOUR,
            about=f"seed {seed}",
            mode="lines+markers",
            marker={"size": 7},
            customdata=[n for *_, n in of_seed],
            hovertemplate=f"seed {seed}<br>said %{{x:.3f}}, right %{{y:.3f}} of %{{customdata:,}}<extra></extra>",
        )
        for seed, of_seed in bins.items()
    ]
    return Plot(
        "Confidence",
        "Each point is a fifteenth of the verdicts of one seed, from the least to the most confident. On the grey "
        "line, confidence is honest; above it too modest, below it too sure.",
        {
            "data": [diagonal, *lines],
            "layout": layout(xaxis=axis("confidence told", **span), yaxis=axis("share that was right", **span)),
        },
        400,
        (Key(OURS_COLOUR, "●", "ours, one line a seed"), Key(PALE, "—", "as often right as it says")),
    )


def left_out_plot(rows: Sequence[Row]) -> Plot | None:
    """What became of each type that `fit` never met; None where no row tells."""
    types = list(dict.fromkeys(row["left_out"] for row in rows if row.get("left_out") is not None))
    shares: list[tuple[float, float, float]] = []
    for of_type in types:
        found = [row for row in rows if row.get("left_out") == of_type]
        unknown, normal = mean_of(found, "left_out_unknown") or 0.0, mean_of(found, "left_out_normal") or 0.0
        shares.append((unknown, max(1.0 - unknown - normal, 0.0), normal))
    if not types:
        return None
    what = (("unknown", OURS_COLOUR), ("another class", PALE), ("normal", MIDDLE))
    bars = [_bars([share[i] for share in shares], name, colour, types) for i, (name, colour) in enumerate(what)]
    frame = _bar_layout(types, "share of its sessions", barmode="stack")
    return Plot(
        "A type that was left out",
        "Each bar is a type that was left out of what is learnt, and then judged; mean over seeds. To be called "
        "unknown is right; to be taken for another class, or for normal, is wrong.",
        {"data": bars, "layout": frame},
        90 + 36 * len(types),
        tuple(Key(colour, "■", f"called {name}") for name, colour in what),
    )


# --- Parsing and learning -----------------------------------------------------------------------------------------


def parsing_plot(rows: Sequence[Row]) -> Plot | None:
    """Grouping accuracy and F1 of groups of each log; None where no row tells."""
    logs = list(dict.fromkeys(row["log"] for row in rows if row.get("log")))
    if not logs:
        return None
    what = (("ga", "grouping accuracy (GA)", OURS_COLOUR), ("fga", "F1 of groups (FGA)", OURS_PALE_COLOUR))
    bars = []
    for measure, name, colour in what:
        means = [mean_of([row for row in rows if row.get("log") == log], measure) or 0.0 for log in logs]
        bars.append(_bars(means, name, colour, logs))
    return Plot(
        "Grouping of messages by template",
        "Longer is better; 1 is every message in exactly the group it belongs to. GA counts messages, FGA groups.",
        {"data": bars, "layout": _bar_layout(logs, "share", barmode="group")},
        90 + 46 * len(logs),
        tuple(Key(colour, "■", name) for _, name, colour in what),
    )


def _bars(values: Sequence[float], name: str, colour: str, of: Sequence[str]) -> Figure:
    """Bars that lie one below another, so that their names can be read."""
    return {
        "type": "bar",
        "orientation": "h",
        "x": [round(value, 4) for value in values],
        "y": list(range(len(values))),
        "text": [f"{value:.2f}" if value >= 0.08 else "" for value in values],
        "textposition": "inside",
        "insidetextanchor": "end",
        "textangle": 0,
        "marker": {"color": colour},
        "customdata": [label(one) for one in of],
        "hovertemplate": f"%{{customdata}}<br>{name}: %{{x:.3f}}<extra></extra>",
    }


def _bar_layout(names: Sequence[str], about: str, *, barmode: str) -> Figure:
    return layout(
        xaxis=axis(about, range=[0, 1.0], dtick=0.2, tickformat=".1f"),
        yaxis=axis("", **ticks(names), autorange="reversed", showgrid=False),
        barmode=barmode,
        bargap=0.3,
    )


def loss_plot(protocol: str, seed: int, loss: Mapping[str, Any]) -> Plot:
    """Loss of the base model by epoch."""
    lines = [
        _line(
            list(enumerate(loss[part], 1)),
            OURS_COLOUR,
            about=name,
            line={"color": OURS_COLOUR, "width": 2, "dash": dash},
        )
        for part, name, dash in (("held_out", "held out", "solid"), ("training", "training", "dot"))
    ]
    frame = layout(
        xaxis=axis("epoch", range=[0.5, max(len(loss["training"]), len(loss["held_out"]), 1) + 0.5], tickformat="d"),
        yaxis=axis("loss, nats", type="log", tickmode="array", **_LOSS_TICKS),
    )
    return Plot(protocol, f"Seed {seed}.", {"data": lines, "layout": frame}, 260)
