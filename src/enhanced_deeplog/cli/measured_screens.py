"""What was measured, as screens: every system beside ours, and the figures aimed at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enhanced_deeplog.cli.terminal import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from enhanced_deeplog.evaluation.figures import Measured

__all__ = ["in_short", "measured_screen"]

Row = dict[str, Any]


def measured_screen(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Tables of all systems, and the figures aimed at."""
    from rich.text import Text

    from enhanced_deeplog.cli.tables import table
    from enhanced_deeplog.evaluation.figures import DETECTION_COLUMNS, KIND_COLUMNS, measured

    for part, columns in (("detection", DETECTION_COLUMNS), ("kinds", KIND_COLUMNS)):
        for protocol in dict.fromkeys(row["protocol"] for row in rows if part in row):
            of_protocol = [row for row in rows if row["protocol"] == protocol and part in row]
            n_seeds = len({row["seed"] for row in of_protocol})
            yield shown(f"{protocol}: {part}, mean of {n_seeds} {'seed' if n_seeds == 1 else 'seeds'}", "bold")
            made = table("system", *(f">{_heading(column)}" for column in columns))
            for system in dict.fromkeys(row["system"] for row in of_protocol):
                of_system = [row[part] for row in of_protocol if row["system"] == system]
                made.add_row(shown(system, limit=60), *(_mean(of_system, column) for column in columns))
            yield made
    figures = measured(rows)
    if figures:
        yield Text("Figures aimed at", "bold")
        yield _figure_table(figures)


def _heading(column: str) -> str:
    return column.replace("false_alarms_per_10_000", "alarms/10,000").replace("_", " ")


def _mean(measures: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [value for one in measures if (value := one.get(name)) is not None]
    if not values:
        return ""
    mean = sum(values) / len(values)
    return f"{mean:.1f}" if name.startswith(("n_", "false_alarms")) else f"{mean:.3f}"


def _figure_table(figures: Sequence[Measured]) -> RenderableType:
    from enhanced_deeplog.cli.tables import table

    made = table(">", "figure", ">mean", ">min", ">max", ">seeds", ">bar", "")
    for one in figures:
        figure = one.figure
        made.add_row(
            str(figure.number),
            figure.about,
            *(f"{value:.4g}" for value in (one.mean, min(one.values), max(one.values))),
            str(len(one.values)),
            figure.asked,
            "met" if figure.is_met(one.mean) else "not met",
        )
    return made


def in_short(rows: Sequence[Row]) -> str:
    """The figures of one run, for those who wait."""
    from enhanced_deeplog.evaluation.figures import measured

    return "; ".join(f"{one.figure.about} {one.mean:.4g}" for one in measured(rows)) or "done"
