"""How a whole session went, line by line, beside the normal session that is most like it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from enhanced_deeplog.events import END
from enhanced_deeplog.findings import SEVERITIES, Finding
from enhanced_deeplog.logs.sessions import Sessions

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["Course", "CourseLine", "KeptCourses", "course_of"]

_MOST_LINES = 120  # of one session
_AROUND = 3  # lines kept before and behind a line that is told of, where not all are kept
_ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"


@dataclass(frozen=True)
class CourseLine:
    """A record of a session.

    Attributes:
        line: Of its source, from 1.
        timestamp: ISO 8601 UTC, or None.
        text: The line without its secrets.
        template: Of the record.
        position: Place in the session, from 0.
    """

    line: int
    timestamp: str | None
    text: str
    template: str
    position: int


@dataclass(frozen=True)
class Course:
    """How one session went.

    Attributes:
        finding: What is said about it.
        lines: Its records in order; of many, those round the evidence.
        usual: Templates of the normal session that is most like it, END last; empty where none was seen whole.
    """

    finding: Finding
    lines: tuple[CourseLine, ...]
    usual: tuple[str, ...]

    def without_text(self) -> Course:
        """The same course without any line of the log."""
        lines = tuple(replace(line, text="") for line in self.lines)
        return replace(self, finding=self.finding.without_text(), lines=lines)

    @property
    def n_left_out(self) -> int:
        """Records that are not among the lines."""
        return self.finding.n_records - len(self.lines)


def course_of(model: EnhancedDeepLog, sessions: Sessions, session: int, finding: Finding) -> Course:
    """How a session went.

    Args:
        model: That judged it.
        sessions: Where it is one of.
        session: Which of them.
        finding: What is said about it.
    """
    begin, end = (int(place) for place in sessions.starts[session : session + 2])
    event_ids = sessions.event_ids[begin:end]
    positions = np.flatnonzero(event_ids != END)
    if len(positions) > _MOST_LINES:
        near = np.abs(positions[:, None] - np.array([line.position for line in finding.evidence] or [0])[None, :])
        positions = positions[near.min(axis=1) <= _AROUND][:_MOST_LINES]
    columns = ("line", "text", pl.col("timestamp").dt.to_string(_ISO))
    records = sessions.records[sessions.rows[begin + positions]].select(columns).iter_rows(named=True)
    lines = tuple(
        CourseLine(**record, template=model.vocabulary.template(event), position=position)
        for record, event, position in zip(records, event_ids[positions].tolist(), positions.tolist(), strict=True)
    )
    usual = model.detection.usual_sequences.nearest(event_ids)
    return Course(finding, lines, tuple(map(model.vocabulary.template, usual[:_MOST_LINES].tolist())))


@dataclass
class KeptCourses:
    """The courses of the findings worth a look, of however many come: the worst of all, and some of each kind.

    Attributes:
        n_worst: So many of all kinds.
        n_of_kind: So many of each kind, those that are surest.
        n_sessions: So many sessions were judged.
    """

    n_worst: int = 10
    n_of_kind: int = 2
    n_sessions: int = 0
    _worst: list[Course] = field(default_factory=list)
    _of_kind: dict[int, list[Course]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, model: EnhancedDeepLog, sessions: Sessions, rows: Iterable[int], findings: list[Finding]) -> None:
        """Take those of some findings that are worth more than what is kept; safe to call from several threads."""
        made: dict[str, Course] = {}
        with self._lock:
            self.n_sessions += len(sessions)
            for row, finding in zip(rows, findings, strict=True):
                if not finding.is_anomaly:
                    continue
                of_kind = self._of_kind.setdefault(finding.anomaly_class, [])
                for kept, most, rank in ((self._worst, self.n_worst, _badness), (of_kind, self.n_of_kind, _sureness)):
                    if len(kept) >= most and rank(finding) <= rank(kept[-1].finding):
                        continue
                    if finding.id not in made:
                        made[finding.id] = course_of(model, sessions, row, finding)
                    kept.append(made[finding.id])
                    kept.sort(key=lambda course: rank(course.finding), reverse=True)
                    del kept[most:]

    def courses(self) -> list[Course]:
        """What was kept, each once, the worst first."""
        every = [*self._worst, *(course for of_kind in self._of_kind.values() for course in of_kind)]
        by_id = {course.finding.id: course for course in every}
        return sorted(by_id.values(), key=lambda course: _badness(course.finding), reverse=True)


def _badness(finding: Finding) -> tuple[int, float, str]:
    return SEVERITIES.index(finding.severity or "info"), finding.score, finding.id


def _sureness(finding: Finding) -> tuple[float, float, str]:
    return finding.confidence, finding.score, finding.id
