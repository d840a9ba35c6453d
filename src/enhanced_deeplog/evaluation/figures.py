"""The figures that are aimed at, read off the rows of runs: mean over seeds, spread, and whether the bar is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "DETECTION_COLUMNS",
    "FIGURES",
    "KIND_COLUMNS",
    "OURS",
    "Figure",
    "Measured",
    "measured",
    "published",
    "value_at",
]

Row = Mapping[str, Any]
OURS = "enhanced-deeplog"
# What tables of systems show.
DETECTION_COLUMNS = ("f1", "precision", "recall", "pr_auc", "oracle_f1", "false_alarms_per_10_000")
KIND_COLUMNS = ("ari", "nmi", "purity", "macro_f1", "n_classes", "called_unknown")


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        number: Of the goal it belongs to; 0 for those beside the goals.
        about: What it says.
        protocol: Whose rows it is read from.
        read: From our rows of one seed to the figure; None where they don't tell.
        bar: What it must reach.
        reach: What is aimed at.
        smaller_is_better: Then bar and reach are upper limits.
        within: The lower limit, where the figure must lie between two.
    """

    number: int
    about: str
    protocol: str
    read: Callable[[Sequence[Row]], float | None]
    bar: float
    reach: float
    smaller_is_better: bool = False
    within: float | None = None

    @property
    def asked(self) -> str:
        """What the mean must be, as people read it."""
        if self.within is not None:
            return f"{self.within:g} to {self.bar:g}"
        return f"{'≤' if self.smaller_is_better else '≥'} {self.bar:g}"

    def is_met(self, value: float) -> bool:
        """Whether a mean reaches the bar."""
        if self.within is not None:
            return self.within <= value <= self.bar
        return value <= self.bar if self.smaller_is_better else value >= self.bar


@dataclass(frozen=True)
class Measured:
    """A figure as measured: one value a seed."""

    figure: Figure
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))


def value_at(row: Row, path: str) -> Any:
    """A value deep in a row, `detection.f1`; None where there is none.

    Example:
        >>> value_at({"detection": {"f1": 0.5}}, "detection.f1")
        0.5
    """
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def published(rows: Sequence[Row]) -> list[Row]:
    """Of rows that runs have appended one after another, those that figures are read from.

    Runs with other settings than the defaults don't count; of several runs of a protocol and seed, the last one does.
    """
    usual = [row for row in rows if not row.get("config")]
    # What others predicted (--predictions) is no run of ours.
    last = {(row["protocol"], row["seed"]): row.get("run") for row in usual if row["system"] == OURS}
    return [row for row in usual if row.get("run") == last.get((row["protocol"], row["seed"]), "none")]


def measured(rows: Sequence[Row]) -> list[Measured]:
    """Every figure that the rows of one run a protocol and seed tell."""
    found = []
    for figure in FIGURES:
        of_protocol = [row for row in rows if row["protocol"] == figure.protocol and row["system"] == OURS]
        seeds = sorted({row["seed"] for row in of_protocol})
        values = [figure.read([row for row in of_protocol if row["seed"] == seed]) for seed in seeds]
        told = tuple(float(value) for value in values if value is not None)
        if told:
            found.append(Measured(figure, told))
    return found


def _at(path: str) -> Callable[[Sequence[Row]], float | None]:
    """The value of the one row that has it."""
    return lambda rows: next((v for row in rows if (v := value_at(row, path)) is not None), None)


def _over_rows(path: str, summary: Callable[[Sequence[float]], float]) -> Callable[[Sequence[Row]], float | None]:
    """A summary over all rows of a seed that have the value: systems, or kinds left out."""

    def read(rows: Sequence[Row]) -> float | None:
        values = [v for row in rows if (v := value_at(row, path)) is not None]
        return float(summary(values)) if values else None

    return read


def _alarms_over_asked(rows: Sequence[Row]) -> float | None:
    achieved, asked = _at("detection.alarm_rate_achieved")(rows), _at("alarm_rate_asked")(rows)
    return None if achieved is None or not asked else achieved / asked


def _new_findings(rows: Sequence[Row]) -> float | None:
    new, n_changes = _at("deploy.new_findings")(rows), _at("deploy.n_changes")(rows)
    return None if new is None or not n_changes else new / n_changes


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


_SEQUENCES, _UNSEEN = "hdfs-sequences/detection", "hdfs-sequences/unseen"

FIGURES = (
    Figure(1, "HDFS, random halves, normal blocks given: F1", "hdfs/random", _at("detection.f1"), 0.98, 0.995),
    Figure(2, "HDFS, halves by time, normal blocks given: F1", "hdfs/time", _at("detection.f1"), 0.90, 0.93),
    Figure(2, "HDFS by time, one class marked as expected: F1", "hdfs/expected", _at("detection.f1"), 0.95, 0.965),
    Figure(2, "HDFS by time: abnormal blocks hidden", "hdfs/expected", _at("expected.n_hidden_abnormal"), 0, 0, True),
    Figure(3, "HDFS, random halves, unlabelled: F1", "hdfs/unlabelled", _at("detection.f1"), 0.88, 0.94),
    Figure(4, "HDFS sequences: recall of all abnormal", _SEQUENCES, _at("detection.recall"), 0.99, 0.999),
    Figure(
        4,
        "HDFS sequences: false alarms on held-out normal",
        _SEQUENCES,
        _at("detection.alarm_rate_achieved"),
        0.003,
        0.0015,
        smaller_is_better=True,
    ),
    Figure(5, "HDFS types, number found: ARI", "hdfs-sequences/types", _at("kinds.ari"), 0.90, 0.95),
    Figure(5, "HDFS types, number found: NMI", "hdfs-sequences/types", _at("kinds.nmi"), 0.92, 0.95),
    Figure(6, "HDFS types, distinct sequences: ARI", "hdfs-sequences/types", _at("kinds_distinct.ari"), 0.70, 0.80),
    Figure(6, "HDFS types, distinct sequences: NMI", "hdfs-sequences/types", _at("kinds_distinct.nmi"), 0.80, 0.86),
    Figure(7, "synthetic, number found: ARI", "synthetic/kinds", _at("kinds.ari"), 0.95, 0.99),
    *(
        figure
        for protocol, data in (("synthetic/unseen", "synthetic"), (_UNSEEN, "HDFS"))
        for figure in (
            Figure(
                8,
                f"{data}, a kind left out: share called unknown",
                protocol,
                _over_rows("left_out_unknown", _mean),
                0.80,
                0.95,
            ),
            Figure(
                8,
                f"{data}, a kind left out: that of the worst kind",
                protocol,
                _over_rows("left_out_unknown", min),
                0.80,
                0.95,
            ),
            Figure(
                8,
                f"{data}, a kind left out: known kinds called unknown",
                protocol,
                _over_rows("known_unknown", _mean),
                0.05,
                0.02,
                smaller_is_better=True,
            ),
            Figure(
                9,
                f"{data}, new sessions: calibration error (ECE)",
                protocol,
                _at("confidence.ece"),
                0.05,
                0.02,
                smaller_is_better=True,
            ),
        )
    ),
    *(
        Figure(
            10,
            f"{protocol}: false alarms over those asked for",
            protocol,
            _alarms_over_asked,
            2.0,
            1.4,
            smaller_is_better=True,
            within=0.5,
        )
        for protocol in ("hdfs/random", "hdfs/time", "hdfs/unlabelled", _SEQUENCES, "service/unseen")
    ),
    Figure(
        13,
        "a deploy: new findings for each changed template",
        "service/deploy",
        _new_findings,
        1.0,
        0.0,
        smaller_is_better=True,
    ),
    Figure(
        13,
        "a deploy: recall of faults falls by",
        "service/deploy",
        _at("deploy.recall_lost"),
        0.02,
        0.0,
        smaller_is_better=True,
    ),
    *(
        Figure(
            0,
            f"{protocol}: damages in the order that the scorecard of fit says",
            protocol,
            _at("scorecard.rank_correlation"),
            0.8,
            0.95,
        )
        for protocol in ("hdfs/random", "service/unseen")
    ),
    Figure(0, "simulated service, without labels: ARI", "service/kinds", _at("kinds.ari"), 0.85, 0.95),
    Figure(0, "simulated service, another log: F1", "service/unseen", _at("detection.f1"), 0.85, 0.95),
    Figure(12, "LogHub 2k, ten systems: grouping accuracy", "parsing", _over_rows("ga", _mean), 0.90, 0.95),
    Figure(12, "LogHub 2k, ten systems: F1 of groups", "parsing", _over_rows("fga", _mean), 0.85, 0.90),
)
