"""How a whole session went, step by step, beside the normal session that is most like it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import END, END_TEXT
from enhanced_deeplog.explanation import aligned
from enhanced_deeplog.findings import SEVERITIES, Finding
from enhanced_deeplog.logs.sessions import Sessions

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["Course", "CourseStep", "KeptCourses", "UnequalCounts", "course_of", "unequal_in_words"]

_MOST_STEPS = 150  # shown of one session
_MOST_UNEQUAL = 3
_AROUND = 3  # steps shown before and behind one that is told of, where not all are shown

Where = Literal["", "only here", "only there", "left out"]


@dataclass(frozen=True)
class CourseStep:
    """A step of a session, or of the normal one that is shown beside it.

    Attributes:
        where: "" both went so; "only here", "only there"; "left out": steps of both that are not shown.
        template: Of the step; of those that are left out, how many they are.
        position: Place in the session, from 0; None where only the normal one has the step.
        line: Of its source, from 1; None likewise, and at the session's end.
        text: The line without its secrets; "" likewise, and if no line is to be shown.
    """

    where: Where
    template: str
    position: int | None = None
    line: int | None = None
    text: str = ""


@dataclass(frozen=True)
class UnequalCounts:
    """Two events that came unequally often, which in normal sessions come equally often.

    Attributes:
        template: Of the one that came less often.
        n: How often it came.
        other: Template of the other.
        n_other: How often that came.
        n_having: Normal sessions that have either.
        n_equal: Those of them that have as many of one as of the other.
    """

    template: str
    n: int
    other: str
    n_other: int
    n_having: int
    n_equal: int


@dataclass(frozen=True)
class Course:
    """How one session went, step by step, beside the normal session that is most like it.

    Attributes:
        finding: What is said about it.
        steps: In order; of many, those near evidence and near what differs.
        has_usual: Whether there is a normal one beside it: none where none was seen whole.
        unequal: Events that usually come equally often and did not here, the rarest first; few of them.
    """

    finding: Finding
    steps: tuple[CourseStep, ...] = ()
    has_usual: bool = False
    unequal: tuple[UnequalCounts, ...] = ()

    def without_text(self) -> Course:
        """The same course without any line of the log."""
        steps = tuple(replace(step, text="") for step in self.steps)
        return replace(self, finding=self.finding.without_text(), steps=steps)


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
    usual = model.detection.usual_sequences.nearest(event_ids)
    if not finding.complete:  # it may still end as usual
        usual = usual[usual != END]
    template = model.vocabulary.template
    both = aligned(list(map(template, event_ids.tolist())), list(map(template, usual.tolist())))
    positions = count()
    steps = [CourseStep(where, text, None if where == "only there" else next(positions)) for where, text in both]
    shown: list[CourseStep] = []
    for wanted, some in groupby(zip(_wanted(steps, finding), steps, strict=True), key=itemgetter(0)):
        run = [step for _, step in some]
        shown += [_with_line(step, sessions, begin) for step in run] if wanted else [_left_out(len(run))]
    unequal = _unequal(model, event_ids) if finding.complete and finding.is_anomaly else ()
    return Course(finding, tuple(shown), has_usual=len(usual) > 0, unequal=unequal)


def _unequal(model: EnhancedDeepLog, event_ids: npt.NDArray[np.int64]) -> tuple[UnequalCounts, ...]:
    balanced, counts = model.detection.calibration.balanced, np.bincount(event_ids, minlength=len(model.vocabulary))
    told = []
    for row in balanced.broken(counts.astype(np.float64))[:_MOST_UNEQUAL]:
        less, more = sorted(balanced.pairs[row].tolist(), key=lambda event: int(counts[event]))
        templates, n_having = (model.vocabulary.template(less), model.vocabulary.template(more)), balanced.n_having[row]
        n_equal = int(n_having - balanced.n_unequal[row])
        told.append(
            UnequalCounts(templates[0], int(counts[less]), templates[1], int(counts[more]), int(n_having), n_equal)
        )
    return tuple(told)


def unequal_in_words(unequal: UnequalCounts) -> str:
    """How often two events came, and what is usual.

    Example:
        >>> unequal_in_words(UnequalCounts("lock <*> released", 0, "lock <*> taken", 2, 1387, 1386))
        '"lock <*> released" 0 times, "lock <*> taken" 2 times: of 1,387 normal sessions 1,386 have them equally often'
    """
    came = [
        ("the end" if text == END_TEXT else f'"{text}"') + (" once" if n == 1 else f" {n:,} times")
        for text, n in ((unequal.template, unequal.n), (unequal.other, unequal.n_other))
    ]
    return f"{', '.join(came)}: of {unequal.n_having:,} normal sessions {unequal.n_equal:,} have them equally often"


def _with_line(step: CourseStep, sessions: Sessions, begin: int) -> CourseStep:
    """The same step with its record, if it has one: `begin` is where its session begins."""
    if step.position is None or step.template == END_TEXT:
        return step
    record = sessions.records[int(sessions.rows[begin + step.position])]
    return replace(step, line=record["line"][0], text=record["text"][0])


def _left_out(n_steps: int) -> CourseStep:
    return CourseStep("left out", f"{n_steps:,} steps more")


def _wanted(steps: Sequence[CourseStep], finding: Finding) -> list[bool]:
    """Which steps to show: all, or of many those near evidence, and near what differs as far as there is room."""
    if len(steps) <= _MOST_STEPS:
        return [True] * len(steps)
    evidence = {line.position for line in finding.evidence}
    told = [i for i, step in enumerate(steps) if step.position in evidence]
    differ = [i for i, step in enumerate(steps) if step.where]
    wanted: set[int] = set()
    for i in (*told, *differ):
        if len(wanted) < _MOST_STEPS:
            wanted.update(range(i - _AROUND, i + _AROUND + 1))
    return [i in wanted for i in range(len(steps))]


@dataclass
class KeptCourses:
    """The courses of the findings worth a look, of however many come: the worst of all, and some of each kind.

    Attributes:
        n_worst: So many of all kinds.
        n_of_kind: So many of each kind, those that are surest.
        as_shown: A finding as people want to see it; None: not at all.
        n_sessions: So many sessions were judged.
    """

    n_worst: int = 10
    n_of_kind: int = 2
    as_shown: Callable[[Finding], Finding | None] = lambda finding: finding
    n_sessions: int = 0
    _worst: list[Course] = field(default_factory=list)
    _of_kind: dict[int, list[Course]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, model: EnhancedDeepLog, sessions: Sessions, rows: Iterable[int], findings: list[Finding]) -> None:
        """Take those of some findings that are worth more than what is kept; safe to call from several threads."""
        made: dict[str, Course] = {}
        with self._lock:
            self.n_sessions += len(sessions)
            for row, judged in zip(rows, findings, strict=True):
                finding = self.as_shown(judged) if judged.is_anomaly else None
                if finding is None:
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
