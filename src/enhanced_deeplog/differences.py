"""Bad logs against good ones: which templates are new, which are gone, which come more or less often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import FIRST_TEMPLATE, EventVocabulary
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.severity import SEVERE_LEVELS

__all__ = ["Differences", "TemplateDifference", "What", "differences_between"]

_LEAST_Z = 4.0  # standard errors between two means that chance hardly makes, of some thousand templates
_LEAST_RATIO = 1.5  # of the means: what differs less is of no use to anybody

Float64s = npt.NDArray[np.float64]
What = Literal["new", "gone", "more", "less"]


@dataclass(frozen=True)
class TemplateDifference:
    """One template that the logs have otherwise than the normal ones.

    Attributes:
        what: "new" in the logs, "gone" from them, or "more" or "less" often in a session.
        template: Its text.
        n_sessions: Sessions of the logs that have it.
        n_normal_sessions: Sessions of the normal logs that have it.
        per_session: How often it is in a session of the logs, on average.
        per_normal_session: How often in one of the normal logs.
        source: Where it is first in the logs; "" if it is gone...
        line: ...from 1; 0 if it is gone.
        text: That line without its secrets; "" if it is gone.
    """

    what: What
    template: str
    n_sessions: int
    n_normal_sessions: int
    per_session: float
    per_normal_session: float
    source: str
    line: int
    text: str


@dataclass(frozen=True)
class Differences:
    """How logs differ from normal ones.

    Attributes:
        templates: New ones, those that are gone, those that come more or less often; of each, the clearest first.
        severe_share: Share of the records that say of themselves that something failed; None if none has a level.
        normal_severe_share: The same of the normal logs.
    """

    templates: tuple[TemplateDifference, ...]
    severe_share: float | None
    normal_severe_share: float | None

    def of(self, *what: What) -> tuple[TemplateDifference, ...]:
        """Those of some kinds."""
        return tuple(one for one in self.templates if one.what in what)

    def without_text(self) -> Differences:
        """The same without any line of the logs."""
        return replace(self, templates=tuple(replace(one, text="") for one in self.templates))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def differences_between(sessions: Sessions, normal: Sessions, vocabulary: EventVocabulary) -> Differences:
    """Compare how often sessions have each template.

    A mean is another one where it differs by four standard errors of the difference, and is half as large again as the
    other; a template that normal logs don't have at all is new however rare it is.

    Args:
        sessions: Of the logs.
        normal: Of normal logs.
        vocabulary: Of both.
    """
    ours, theirs = _Counts.of(sessions, len(vocabulary)), _Counts.of(normal, len(vocabulary))
    z = _standard_errors_apart(ours, theirs)
    # The smallest mean that can be told from none: a template of half a session.
    ratio = np.maximum(ours.mean, 0.5 / ours.n) / np.maximum(theirs.mean, 0.5 / theirs.n)
    clear = (np.abs(z) >= _LEAST_Z) & (np.abs(np.log(ratio)) >= np.log(_LEAST_RATIO))
    what: dict[int, What] = {}
    for event in np.flatnonzero((ours.mean > 0) | (theirs.mean > 0)).tolist():
        if event < FIRST_TEMPLATE:
            continue
        if theirs.mean[event] == 0:
            what[event] = "new"
        elif clear[event]:
            what[event] = "gone" if ours.mean[event] == 0 else "more" if z[event] > 0 else "less"
    order = ("new", "gone", "more", "less")
    ranked = sorted(what, key=lambda event: (min(order.index(what[event]), 2), -abs(z[event]), event))
    firsts = _first_places(sessions)
    found = (
        TemplateDifference(
            what[event],
            vocabulary.template(event),
            n_sessions=int(ours.present[event]),
            n_normal_sessions=int(theirs.present[event]),
            per_session=float(ours.mean[event]),
            per_normal_session=float(theirs.mean[event]),
            **firsts.get(event, {"source": "", "line": 0, "text": ""}),
        )
        for event in ranked
    )
    return Differences(tuple(found), _severe_share(sessions), _severe_share(normal))


@dataclass(frozen=True)
class _Counts:
    """How often sessions have each event: all float64 (V,) but n, the number of sessions."""

    n: int
    mean: Float64s
    mean_square: Float64s
    present: Float64s  # sessions that have it

    @classmethod
    def of(cls, sessions: Sessions, n_events: int) -> _Counts:
        session = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
        pairs, times = np.unique(session * n_events + sessions.event_ids, return_counts=True)
        event, n = pairs % n_events, len(sessions)
        total, squares = (np.bincount(event, weights=times**power, minlength=n_events) for power in (1, 2))
        return cls(n, total / n, squares / n, np.bincount(event, minlength=n_events).astype(np.float64))


def _standard_errors_apart(a: _Counts, b: _Counts) -> Float64s:
    """How many standard errors the means differ by, as if all sessions were of one kind, float64 (V,)."""
    mean = (a.n * a.mean + b.n * b.mean) / (a.n + b.n)
    variance = (a.n * a.mean_square + b.n * b.mean_square) / (a.n + b.n) - mean**2
    error = np.sqrt(np.maximum(variance, 1e-12) * (1 / a.n + 1 / b.n))
    return np.asarray((a.mean - b.mean) / error)


def _first_places(sessions: Sessions) -> Mapping[int, dict[str, Any]]:
    columns = ["source", "line", "text"]
    firsts = sessions.records.group_by("event_id").agg(pl.col(columns).sort_by("timestamp", "source", "line").first())
    return {row.pop("event_id"): row for row in firsts.select("event_id", *columns).iter_rows(named=True)}


def _severe_share(sessions: Sessions) -> float | None:
    levels = sessions.records["severity"].drop_nulls()
    return float(levels.is_in(SEVERE_LEVELS).sum()) / sessions.records.height if len(levels) else None
