"""Charts of findings and of what `fit` learnt, as figures that Plotly draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.findings import UNKNOWN_CLASS, Finding
from enhanced_deeplog.learning.calibration import reliability
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
    ticks,
)

__all__ = ["Look", "confidence_plot", "learnt_plots", "looks_of", "session_map", "timeline", "truth_plots"]

Float64s = npt.NDArray[np.float64]

# Seen on white and on black, and told apart by those who see red and green alike (with the marks).
_COLOURS = ("#2f7fd0", "#e07b00", "#1f9e6e", "#c2559d", "#8f6fd6", "#b8860b", "#3aa6c9", "#d1495b")
_FEW_SESSIONS = 5
_N_BINS = 60  # of the timeline
_MOST_POINTS = 2_000  # of the map
_BANDS = (("low (under .5)", 0.0, 0.5), ("medium", 0.5, 0.8), ("high (over .8)", 0.8, 1.01))


class Look:
    """How a class is drawn everywhere: its colour, its mark, its name."""

    def __init__(self, place: int | None, name: str) -> None:
        self.colour = MIDDLE if place is None else _COLOURS[place % len(_COLOURS)]
        self.symbol, self.mark = MARKS[-1] if place is None else MARKS[place % (len(MARKS) - 1)]
        self.name = name

    @property
    def key(self) -> Key:
        """Its entry beside a plot."""
        return Key(self.colour, self.mark, self.name)


def looks_of(findings: Sequence[Finding]) -> dict[int, Look]:
    """The look of each class, the most frequent first; `unknown` is grey."""
    counts = Counter(finding.anomaly_class for finding in findings if finding.is_anomaly)
    names = {finding.anomaly_class: finding.class_name for finding in findings}
    ranked = sorted((one for one in counts if one != UNKNOWN_CLASS), key=lambda one: (-counts[one], one))
    looks = {one: Look(place, names[one]) for place, one in enumerate(ranked)}
    return looks | ({UNKNOWN_CLASS: Look(None, "unknown")} if UNKNOWN_CLASS in counts else {})


def timeline(findings: Sequence[Finding], looks: Mapping[int, Look]) -> Plot | None:
    """When sessions of each class began; by line where there is no time. None where there are none."""
    abnormal = [finding for finding in findings if finding.is_anomaly]
    if not abnormal:
        return None
    timed = all(finding.first_timestamp is not None for finding in abnormal)
    places = np.array([_time(finding) if timed else float(finding.first_line) for finding in abnormal])
    low, high = float(places.min()), float(places.max())
    edges = np.linspace(low, high if high > low else low + 1.0, _N_BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    x = [_iso(place) for place in middles] if timed else middles.tolist()
    classes = np.array([finding.anomaly_class for finding in abnormal])
    data = []
    for one, look in looks.items():
        counts = np.histogram(places[classes == one], edges)[0]
        data.append(
            {
                "type": "bar",
                "x": x,
                "y": counts.tolist(),
                "name": label(look.name),
                "marker": {"color": look.colour},
                "hovertemplate": "%{y} sessions<br>%{x}<extra>%{fullData.name}</extra>",
            }
        )
    across = axis("time (UTC)" if timed else "line of the log", **({"type": "date"} if timed else {}))
    most = int(np.histogram(places, edges)[0].max())
    frame = layout(barmode="stack", bargap=0.05, xaxis=across, yaxis=_session_axis(most))
    return Plot(
        "When it happened",
        "Abnormal sessions by the time of their first record, stacked by kind.",
        {"data": data, "layout": frame},
        300,
        tuple(look.key for look in looks.values()),
    )


def _session_axis(most: int) -> Figure:
    """An axis of so many sessions: of few, every one has its tick, or halves would be told as wholes."""
    return axis("sessions", rangemode="tozero", tickformat=",d", **({"dtick": 1} if most <= _FEW_SESSIONS else {}))


def _time(finding: Finding) -> float:
    return datetime.fromisoformat(finding.first_timestamp or "").timestamp()


def _iso(seconds: float) -> str:
    return str(np.datetime64(round(seconds * 1000), "ms"))


def session_map(findings: Sequence[Finding], looks: Mapping[int, Look]) -> Plot | None:
    """Abnormal sessions in two dimensions: near one another where the same templates surprised."""
    abnormal = [finding for finding in findings if finding.is_anomaly and finding.evidence]
    if len(abnormal) < 3:
        return None
    if len(abnormal) > _MOST_POINTS:
        step = len(abnormal) / _MOST_POINTS
        abnormal = [abnormal[int(i * step)] for i in range(_MOST_POINTS)]
    profiles = _profiles(abnormal)
    places, share = _two_dimensions(profiles)
    # Sessions that are alike would hide one another.
    spread = 0.012 * np.maximum(np.ptp(places, axis=0), 1e-9)
    places = places + np.random.default_rng(0).normal(size=places.shape) * spread
    classes = np.array([finding.anomaly_class for finding in abnormal])
    data = []
    for one, look in looks.items():
        rows = np.flatnonzero(classes == one)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": places[rows, 0].round(4).tolist(),
                "y": places[rows, 1].round(4).tolist(),
                "text": [label(abnormal[row].session_key) for row in rows],
                "name": label(look.name),
                "marker": {"color": look.colour, "symbol": look.symbol, "size": 7, "opacity": 0.75},
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    bare = {"showticklabels": False, "zeroline": False}
    frame = layout(xaxis=axis("", **bare), yaxis=axis("", **bare), margin={"l": 14, "r": 14, "t": 8, "b": 14})
    return Plot(
        "What is alike",
        "Each point is an abnormal session; the same templates surprised in those that lie near one another "
        f"({share:.0%} of what differs shows in two dimensions).",
        {"data": data, "layout": frame},
        380,
        tuple(look.key for look in looks.values()),
    )


def _profiles(findings: Sequence[Finding]) -> Float64s:
    """Share of the surprise that each template carries, and of the score that each reason does, float64 (F, T + R)."""
    templates: dict[str, int] = {}
    for finding in findings:
        for line in finding.evidence:
            templates.setdefault(line.template, len(templates))
    profiles = np.zeros((len(findings), len(templates)))
    for row, finding in enumerate(findings):
        for line in finding.evidence:
            profiles[row, templates[line.template]] += max(line.surprise, 1e-6)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    reasons = np.array([list(finding.reasons.values()) for finding in findings])
    return np.hstack([profiles, 0.5 * reasons])


def _two_dimensions(profiles: Float64s) -> tuple[Float64s, float]:
    """The two directions in which profiles differ most, float64 (F, 2), and the share of all that differs."""
    centred = profiles - profiles.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(profiles), 2))
    n = min(2, len(size))
    places[:, :n] = left[:, :n] * size[:n]
    return places, float((size[:n] ** 2).sum() / max((size**2).sum(), 1e-12))


def confidence_plot(findings: Sequence[Finding]) -> Plot | None:
    """How sure the classes of the abnormal sessions are."""
    sure = np.array([finding.confidence for finding in findings if finding.is_anomaly])
    if not len(sure):
        return None
    counts = np.histogram(sure, np.linspace(0, 1, 21))[0]
    told = "; ".join(f"{name}: {int(((sure >= low) & (sure < high)).sum()):,}" for name, low, high in _BANDS)
    middles = (np.arange(20) + 0.5) / 20
    colours = [PALE if middle < 0.5 else OURS_PALE_COLOUR if middle < 0.8 else OURS_COLOUR for middle in middles]
    bars = {
        "type": "bar",
        "x": middles.tolist(),
        "y": counts.tolist(),
        "marker": {"color": colours},
        "hovertemplate": "%{y} sessions near %{x:.2f}<extra></extra>",
    }
    frame = layout(
        bargap=0.05,
        xaxis=axis("confidence", range=[0, 1], tickformat=".1f", dtick=0.2),
        yaxis=_session_axis(int(counts.max())),
    )
    return Plot("How sure the kinds are", f"Sessions by confidence. {told}.", {"data": [bars], "layout": frame}, 260)


# --- What fit learnt ------------------------------------------------------------------------------------------


def learnt_plots(summary: Mapping[str, Any]) -> list[Plot]:
    """Loss of each epoch, number of kinds, what share of damaged normal sessions is found, whether confidence holds."""
    made = [
        _loss(summary.get("losses") or ()),
        _numbers(summary),
        _scorecard(summary.get("scorecard") or ()),
        _calibration(summary.get("reliability") or ()),
    ]
    return [plot for plot in made if plot is not None]


def _calibration(groups: Sequence[Sequence[float]]) -> Plot | None:
    if not groups:
        return None
    n = sum(int(group[2]) for group in groups)
    about = (
        f"{n:,} abnormal sessions that the classifier has not learnt from, in groups of like confidence; right is "
        "what it puts into the kind where its likes were found. On the dotted line it is as often right as it says."
    )
    return _reliability_plot("Calibration", about, groups)


def _loss(losses: Sequence[Sequence[float]]) -> Plot | None:
    if not losses:
        return None
    epochs = [int(one[0]) for one in losses]
    data = [
        _line(epochs, [one[1] for one in losses], MIDDLE, "learnt from"),
        _line(epochs, [one[2] for one in losses], OURS_COLOUR, "held out"),
    ]
    frame = layout(xaxis=axis("epoch"), yaxis=axis("loss, nats", rangemode="tozero"))
    keys = Key(MIDDLE, "━", "sessions that it learnt from"), Key(OURS_COLOUR, "━", "held-out sessions")
    return Plot(
        "Learning normal behaviour",
        "How badly events are predicted, epoch by epoch: the held-out loss should fall and stay low. What was learnt "
        "from is asked for the events inside each window, too, and so lies higher.",
        {"data": data, "layout": frame},
        260,
        keys,
    )


def _numbers(summary: Mapping[str, Any]) -> Plot | None:
    curve = summary.get("class_number_curve") or ()
    if len(curve) < 2:
        return None
    numbers = [int(one[0]) for one in curve]
    data = [
        _line(numbers, [one[1] for one in curve], OURS_COLOUR, "silhouette"),
        _line(numbers, [one[2] for one in curve], MIDDLE, "stability"),
    ]
    chosen = int(summary["clustering"]["n_clusters"])
    line = {"type": "line", "x0": chosen, "x1": chosen, "y0": 0, "y1": 1, "yref": "paper"}
    frame = layout(
        xaxis=axis("number of kinds"),
        yaxis=axis("1 is best", range=[0, 1.03], tickformat=".1f"),
        shapes=[{**line, "line": {"color": DARK, "dash": "dot", "width": 1}}],
    )
    keys = Key(OURS_COLOUR, "━", "silhouette: how far apart"), Key(MIDDLE, "━", "stability: found again in a half")
    return Plot(
        "How many kinds there are",
        f"How well the abnormal sessions fall into so many kinds; {chosen} was chosen.",
        {"data": data, "layout": frame},
        260,
        keys,
    )


def _scorecard(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    if not rows:
        return None
    damages = list(dict.fromkeys(str(row["damage"]) for row in rows))
    services = list(dict.fromkeys(str(row["service"]) for row in rows))[:4]
    data = []
    for i, service in enumerate(services):
        found = {row["damage"]: row["share"] for row in rows if row["service"] == service}
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "y": list(range(len(damages))),
                "x": [found.get(damage, 0.0) for damage in damages],
                "name": label(service or "all"),
                "marker": {"color": _COLOURS[i]},
                "hovertemplate": "%{x:.0%}<extra>%{fullData.name}</extra>",
            }
        )
    down = {**axis("", autorange="reversed"), **ticks(damages)}
    frame = layout(xaxis=axis("share found", range=[0, 1.02], tickformat=".0%"), yaxis=down)
    keys = tuple(Key(_COLOURS[i], "■", service) for i, service in enumerate(services)) if len(services) > 1 else ()
    return Plot(
        "Does it work on this log",
        "Normal sessions, damaged in known ways, and what share of them is found by what never saw them.",
        {"data": data, "layout": frame},
        260,
        keys,
    )


def _line(x: Sequence[float], y: Sequence[float], colour: str, name: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": {"color": colour, "width": 2},
        "marker": {"size": 5},
        "hovertemplate": "%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
    }


# --- Against the truth ----------------------------------------------------------------------------------------


def truth_plots(findings: Sequence[Finding], truth: Mapping[str, str]) -> list[Plot]:
    """Found classes against true kinds, and whether confidence keeps what it promises.

    Args:
        findings: Verdicts on all sessions, normal ones too.
        truth: Session key -> its true kind; "" and what is not in it is normal.
    """
    kinds = ["normal", *sorted({kind for kind in truth.values() if kind})]
    names = {finding.anomaly_class: finding.class_name for finding in findings}
    classes = sorted(names, key=lambda one: (one != 0, one == UNKNOWN_CLASS, one))
    counts = Counter((finding.anomaly_class, truth.get(finding.session_key) or "normal") for finding in findings)
    table = np.array([[counts[one, kind] for kind in kinds] for one in classes], dtype=np.float64)
    shares = table / np.maximum(table.sum(axis=0, keepdims=True), 1.0)
    heat = {
        "type": "heatmap",
        "x": list(range(len(kinds))),
        "y": list(range(len(classes))),
        "z": shares.round(4).tolist(),
        "text": [[f"{int(n):,}" if n else "" for n in row] for row in table],
        "texttemplate": "%{text}",
        "colorscale": [[0, "white"], [1, OURS_COLOUR]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{text} sessions, %{z:.0%} of the kind<extra></extra>",
    }
    frame = layout(
        xaxis={**axis("true kind"), **ticks(kinds)},
        yaxis={**axis("found", autorange="reversed"), **ticks([names[one] for one in classes])},
    )
    confusion = Plot(
        "Found kinds against true ones",
        "Sessions; the darker, the larger the share of the true kind.",
        {"data": [heat], "layout": frame},
        120 + 34 * len(classes),
    )
    return [confusion, *_reliability(findings, truth)]


def _reliability(findings: Sequence[Finding], truth: Mapping[str, str]) -> list[Plot]:
    abnormal = [finding for finding in findings if finding.is_anomaly]
    by_class: dict[int, Counter[str]] = {}
    for finding in abnormal:
        by_class.setdefault(finding.anomaly_class, Counter())[truth.get(finding.session_key) or "normal"] += 1
    kind_of = {one: counts.most_common(1)[0][0] for one, counts in by_class.items()}
    right = np.array([kind_of[f.anomaly_class] == (truth.get(f.session_key) or "normal") for f in abnormal])
    sure = np.array([finding.confidence for finding in abnormal])
    if len(abnormal) < 20:
        return []
    groups = reliability(sure, right, min(10, len(abnormal) // 10))
    about = (
        "Abnormal sessions in groups of like confidence; on the dotted line it is as often right as it says. Right is "
        "what is of the most frequent true kind of its class."
    )
    return [_reliability_plot("Does confidence keep what it promises", about, groups)]


def _reliability_plot(title: str, about: str, groups: Sequence[Sequence[float]]) -> Plot:
    """Mean confidence against the share that is right, of each group."""
    ideal = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": {"color": PALE, "dash": "dot"}}
    shares = {"range": [0, 1.03], "tickformat": ".1f", "dtick": 0.2}
    frame = layout(xaxis=axis("confidence", **shares), yaxis=axis("share that is right", **shares))
    line = _line([group[0] for group in groups], [group[1] for group in groups], OURS_COLOUR, "sessions")
    return Plot(title, about, {"data": [{**ideal, "hoverinfo": "skip"}, line], "layout": frame}, 300)
