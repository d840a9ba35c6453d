"""One page of tables and plots, made from rows and nothing else: of a run, or of a file that runs left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from enhanced_deeplog.evaluation.figures import DETECTION_COLUMNS, KIND_COLUMNS, OURS, Measured, measured, value_at
from enhanced_deeplog.evaluation.kind_plots import class_map_plot, confusion_plot
from enhanced_deeplog.evaluation.plots import left_out_plot, loss_plot, parsing_plot, pr_plot, reliability_plot
from enhanced_deeplog.evaluation.protocol import PROTOCOLS
from enhanced_deeplog.report.figure_parts import Plot
from enhanced_deeplog.report.page import as_html, page, paragraph, side_by_side, table

__all__ = ["report_page"]

Row = Mapping[str, Any]

_HEADINGS = {
    "f1": "F1",
    "pr_auc": "PR-AUC",
    "oracle_f1": "oracle F1",
    "false_alarms_per_10_000": "alarms / 10,000",
    "ari": "ARI",
    "nmi": "NMI",
    "macro_f1": "macro F1",
    "n_classes": "classes",
    "called_unknown": "unknown",
}
_DETECTION_NOTE = (
    "Means over seeds, the smallest and the largest value below. The oracle F1 is the best that any threshold would "
    "have given: picked by looking at the truth, it is no result."
)
_KINDS_NOTE = (
    "Means over seeds, the smallest and the largest value below. ARI and NMI are 1 where classes and types are the "
    "same partition; for a shuffled answer, and for one class for all, they must be near 0."
)
_BEFORE = "these rows were measured before rows held what it needs."


def report_page(rows: Sequence[Row]) -> str:
    """The page.

    Args:
        rows: Of one run a protocol and seed, as `evaluate` writes them.

    Returns:
        HTML that holds all it needs.
    """
    order = {name: place for place, name in enumerate(PROTOCOLS)}
    rows = sorted(rows, key=lambda row: order.get(row["protocol"], len(order)))
    return page(
        "Enhanced DeepLog: what was measured",
        _circumstances(rows),
        [
            ("Figures aimed at", _figures(measured(rows))),
            ("Detection", _each(_detection, _DETECTION_NOTE, _but(_with(rows, "detection"), "kinds_distinct"))),
            ("Kinds", _each(_kinds, _KINDS_NOTE, _but(_with(rows, "kinds"), "confidence"))),
            ("Kinds that were never seen", _each(_unseen, "", _with(rows, "confidence", "left_out"))),
            ("Parsing", _parsing(rows)),
            ("Learning", _learning(rows)),
        ],
    )


def _with(rows: Sequence[Row], *names: str) -> list[Row]:
    """All rows of the protocols some row of which has one of these."""
    protocols = {row["protocol"] for row in rows if any(row.get(name) is not None for name in names)}
    return [row for row in rows if row["protocol"] in protocols]


def _but(rows: Sequence[Row], name: str) -> list[Row]:
    """Rows of the protocols no row of which has this."""
    protocols = {row["protocol"] for row in _with(rows, name)}
    return [row for row in rows if row["protocol"] not in protocols]


def _each(section: Callable[[Sequence[Row]], str], note: str, rows: Sequence[Row]) -> str:
    """A part of the section for each protocol, below its name and what it is."""
    parts = [paragraph(note)] if rows and note else []
    for name in dict.fromkeys(row["protocol"] for row in rows):
        of_protocol = [row for row in rows if row["protocol"] == name]
        n_seeds = len({row["seed"] for row in of_protocol})
        about = f"{PROTOCOLS[name].about}; " if name in PROTOCOLS else ""
        told = f"{about}{n_seeds} {'seed' if n_seeds == 1 else 'seeds'}."
        parts.append(f"<h3>{as_html(name)}</h3>{paragraph(told[:1].upper() + told[1:])}{section(of_protocol)}")
    return "\n".join(parts)


def _circumstances(rows: Sequence[Row]) -> str:
    def every(name: str) -> str:
        return ", ".join(sorted({str(row[name]) for row in rows if row.get(name)})) or "unknown"

    runs = sorted({str(row["run"]) for row in rows if row.get("run")})
    when = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else every("run")
    settings = sorted({json.dumps(row["config"], sort_keys=True) for row in rows if row.get("config")})
    differ = sorted({str(path) for row in rows for path in row.get("data_differs") or ()})
    return "".join(
        [
            paragraph(
                f"{len(rows):,} rows of {len({row['protocol'] for row in rows}):,} protocols. Each seed is another "
                "split and another initialisation; a figure is the mean over seeds, with the smallest and the largest "
                "value beside it."
            ),
            paragraph(f"Version {every('version')}, commit {every('commit')}, measured {when}.", of_class="note"),
            *(paragraph(f"Settings that are no defaults: {one}", of_class="note") for one in settings),
            paragraph(f"Other files than published figures were measured on: {', '.join(differ)}.", of_class="note")
            if differ
            else "",
        ]
    )


# --- Tables -------------------------------------------------------------------------------------------------------


def _figures(figures: Sequence[Measured]) -> str:
    if not figures:
        return paragraph("No protocol that a figure is aimed at was measured.")
    rows = []
    for one in figures:
        met = one.figure.is_met(one.mean)
        verdict = f'<span class="{"met" if met else "missed"}">{"met" if met else "not met"}</span>'
        cells = (_spread(one.values, _short), one.figure.asked, f"{one.figure.reach:g}", f"{len(one.values)}")
        rows.append(("", (as_html(one.figure.about), verdict, *cells)))
    told = (
        "What was set out to be reached, and what was reached: the mean over seeds is judged; the smallest and the "
        "largest value stand below it."
    )
    return paragraph(told) + table(("figure", "", "mean", "asked for", "reach for", "seeds"), rows, n_texts=2)


def _short(value: float) -> str:
    return "<0.0001" if 0 < value < 0.0001 else f"{value:.3g}"


def _spread(values: Sequence[float], written: Callable[[float], str]) -> str:
    """The mean and, where there are several values, between which they lie; as HTML."""
    mean, least, most = (as_html(written(v)) for v in (sum(values) / len(values), min(values), max(values)))
    return f'{mean}<span class="spread">{least} … {most}</span>' if len(values) > 1 else mean


def _systems(rows: Sequence[Row], part: str, columns: Sequence[str]) -> str:
    """Ours beside all others: means over seeds, the spread below them."""
    lines = []
    for system in dict.fromkeys(row["system"] for row in rows if row.get(part) is not None):
        found = [row[part] for row in rows if row["system"] == system and row.get(part) is not None]
        cells = [_mean_and_spread([one.get(column) for one in found], column) for column in columns]
        lines.append(("ours" if system == OURS else "", (as_html(system), *cells)))
    return table(("system", *(_HEADINGS.get(column, column) for column in columns)), lines)


def _mean_and_spread(values: Iterable[float | None], name: str) -> str:
    known = [value for value in values if value is not None]
    digits = 1 if name.startswith(("n_", "false_alarms")) else 3
    return _spread(known, lambda value: f"{round(value, digits) + 0.0:,.{digits}f}") if known else ""  # never -0.000


# --- Sections -----------------------------------------------------------------------------------------------------


def _detection(rows: Sequence[Row]) -> str:
    gone = _left_out(rows, {"pr_curve": "precision-recall curve"})
    return _systems(rows, "detection", DETECTION_COLUMNS) + _plots([pr_plot(rows)]) + gone


def _kinds(rows: Sequence[Row]) -> str:
    """Tables over all seeds; plots of the first one."""
    own = _first_seed(rows, "confusion")
    gone = _left_out(rows, {"confusion": "confusion matrix", "class_map": "map of classes"})
    told, plots = "", list[Plot | None]()
    if own is not None:
        told = paragraph(f"Plots of seed {own['seed']}:", of_class="note")
        counted, placed = own["confusion"], own.get("class_map")
        plots = [confusion_plot(counted), class_map_plot(placed, counted) if placed else None]
    return _systems(rows, "kinds", KIND_COLUMNS) + told + _plots(plots) + gone


def _unseen(rows: Sequence[Row]) -> str:
    errors = [error for row in rows if (error := value_at(row, "confidence.ece")) is not None]
    shares = [share for row in rows if (share := row.get("known_unknown")) is not None]
    told = ""
    if errors:
        told += f"Expected calibration error: {_range(errors, 'seeds')}. "
    if shares:
        told += f"Share of known kinds called unknown: {_range(shares, 'seeds and types left out')}."
    return paragraph(told) + _plots([reliability_plot(rows), left_out_plot(rows)])


def _range(values: Sequence[float], over: str) -> str:
    mean, least, most = (_short(value) for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({least} … {most} over {over})" if len(values) > 1 else mean


def _parsing(rows: Sequence[Row]) -> str:
    return _plots([parsing_plot([row for row in rows if row["system"] == OURS])])


def _learning(rows: Sequence[Row]) -> str:
    protocols = list(dict.fromkeys(row["protocol"] for row in rows if row.get("fit_s") is not None or row.get("loss")))
    plots: list[Plot | None] = []
    gone = []
    for protocol in protocols:
        own = _first_seed([row for row in rows if row["protocol"] == protocol], "loss")
        plots.append(loss_plot(protocol, own["seed"], own["loss"]) if own is not None else None)
        gone += [protocol] if own is None else []
    if not protocols:
        return ""
    about = (
        "Loss of the base model: of the next event in held-out sessions (solid), by which training is ended; and the "
        "one it is trained on (dotted), which counts the events inside the window, too. So compare how they fall, not "
        "how high they lie; the scale is logarithmic."
    )
    before = paragraph(f"No loss by epoch of {', '.join(gone)}: {_BEFORE}", of_class="note") if gone else ""
    return paragraph(about) + _plots(plots) + before


def _plots(plots: Sequence[Plot | None]) -> str:
    """What there is to draw."""
    drawn = [one for one in plots if one is not None]
    return side_by_side(drawn) if drawn else ""


def _first_seed(rows: Sequence[Row], name: str) -> Row | None:
    """Our row of the smallest seed that has this."""
    own = [row for row in rows if row["system"] == OURS and row.get(name)]
    return min(own, key=lambda row: int(row["seed"]), default=None)


def _left_out(rows: Sequence[Row], needed: Mapping[str, str]) -> str:
    """A sentence about plots that can't be made: older rows lack what they need, newer ones say that there is none."""
    own = [row for row in rows if row["system"] == OURS]
    gone = {what: any(name in row for row in own) for name, what in needed.items() if not any(r.get(name) for r in own)}
    if not own or not gone:
        return ""
    why = "there was nothing to show in it." if all(gone.values()) else _BEFORE
    return paragraph(f"Left out: {' and '.join(gone)}; {why}", of_class="note")
