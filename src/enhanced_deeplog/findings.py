"""What a person is given: findings, their evidence, the kinds of anomaly, and their JSON form."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

__all__ = [
    "FINDING_COLUMNS",
    "NORMAL",
    "SCHEMA_VERSION",
    "SEVERITIES",
    "UNKNOWN_CLASS",
    "AnomalyClass",
    "Cause",
    "Evidence",
    "Expected",
    "Finding",
    "OddValue",
    "Pattern",
    "Pause",
    "SequenceVerdict",
    "Severity",
    "finding_id",
]

SCHEMA_VERSION = 1
NORMAL = 0  # the class of every session that is not abnormal
UNKNOWN_CLASS = -1  # abnormal, yet like no known class

Pattern = Literal[
    "rare_event", "repetition", "severe_break", "slight_deviation", "early_end", "volume", "slow_step", "odd_value"
]  # fmt: skip
Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Expected:
    """An event the base model expected, and how strongly.

    Attributes:
        template: Its text; `<END>` is the end of the session.
        probability: [0, 1].
    """

    template: str
    probability: float


@dataclass(frozen=True)
class Pause:
    """How long a record that came late took to come.

    Attributes:
        pause_s: Time since the record before it in the session, s.
        after: Template of that record.
        usual_s: Nearly all pauses of that step in normal sessions are at most so long, s; of steps as rare, where it is
            too rare to tell.
        usual_share: So many of them, [0, 1].
    """

    pause_s: float
    after: str
    usual_s: float
    usual_share: float


@dataclass(frozen=True)
class OddValue:
    """A number of a record that is out of the usual.

    Attributes:
        place: Which of the numbers that stand by themselves in its body, from 1.
        value: The number; one with a unit in s or bytes.
        usual: What it is in normal sessions: the most frequent values, or the least and the most.
        is_range: Whether it is the least and the most.
        usual_share: So many of them are so, [0, 1].
    """

    place: int
    value: float
    usual: tuple[float, ...]
    is_range: bool
    usual_share: float


@dataclass(frozen=True)
class Evidence:
    """One record (or the end of the session) that made the finding.

    Attributes:
        source: Where the record was read.
        line: Of the source, from 1.
        byte_offset: Of the line's first byte in the decompressed source, or None.
        timestamp: ISO 8601 UTC, or None.
        severity: As the log says, or None.
        template_id: Of the observed template; None where it was never seen in `fit`.
        template: The observed template; `<UNKNOWN>` where it was never seen, `<END>` where the session ended.
        event_id: The observed event, of this fit.
        position: Place of the event in its session, from 0.
        expected: The most expected events instead, best first.
        surprise: -log p(observed event), nats.
        text: The line without its secrets; that of the last record where the session's end is what surprised. "" if
            no line is to be shown.
        pause: How late the record came; only there if it came late and pauses are judged (`detection.timing`).
        value: Its oddest number; only there if that is odd and numbers are judged (`detection.values`).
    """

    source: str
    line: int
    byte_offset: int | None
    timestamp: str | None
    severity: str | None
    template_id: str | None
    template: str
    event_id: int
    position: int
    expected: tuple[Expected, ...]
    surprise: float
    text: str
    pause: Pause | None = None
    value: OddValue | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data. By hand: `dataclasses.asdict` looks into every text and copies it."""
        data = {**vars(self), "expected": [vars(event).copy() for event in self.expected]}
        if self.pause is None:
            del data["pause"]
        else:
            data["pause"] = vars(self.pause).copy()
        if self.value is None:
            del data["value"]
        else:
            data["value"] = {**vars(self.value), "usual": list(self.value.usual)}
        return data


@dataclass(frozen=True)
class Cause:
    """What a rule makes of a line that surprised; see `causes.toml`.

    Attributes:
        rule: Name of the rule.
        title: What happened.
        matched: The text that the rule recognised; "" if no line is to be shown.
        source: Where that record was read.
        line: Of the source, from 1.
        position: Place of the record in its session, from 0.
        likely: What mostly leads to it, most likely first.
    """

    rule: str
    title: str
    matched: str
    source: str
    line: int
    position: int
    likely: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is said about one session; the columns of `classify --output`, in this order.

    Attributes:
        schema_version: Of this form.
        id: Hash of logical source, session key and first record: the same however the session was read.
        bundle_id: The bundle that judged, or "" before it was saved.
        source: Where the session's first record was read.
        service: Or "".
        session_key: What groups the records.
        is_anomaly: `anomaly_class != 0`.
        state: "open" while records may follow, else "final".
        complete: Whether the session's end was judged too.
        score: One normal session in exp(score) is at least this odd.
        threshold: A session with a higher score is abnormal.
        anomaly_class: 0 normal, -1 unknown.
        class_key: Stable name of the class for programs.
        class_name: Name of the class for people.
        confidence: Calibrated probability of the class, [0, 1]. Of a normal session and of an unknown anomaly:
            the probability that detection is right to say so.
        class_probabilities: Of each class, by class id as text; they sum to 1.
        pattern: How the session deviates; None for a normal one.
        severity: How bad it looks; None for a normal one.
        reasons: Share of the score that each reason carries: new_template, sequence, counts, early_end, timing;
            values, if numbers are judged.
        n_records: Of the session.
        first_line: Of its first record.
        last_line: Of its last record.
        first_timestamp: ISO 8601 UTC, or None.
        last_timestamp: ISO 8601 UTC, or None.
        evidence: The records that made the finding, in order; empty for a normal session.
        advice: What to look at and what to do; "" for a normal session.
        cause: What a rule makes of the evidence; None where no rule is sure, and of a normal session.
        template_ids: Of all its records, each once; "" stands for templates that `fit` has not seen.
        expected: Whether somebody has said that this is to be expected.
        owner: Who looks after this kind; "" where nobody has been named.
        runbook: Where the team has written what to do; "" where it hasn't.
    """

    schema_version: int
    id: str
    bundle_id: str
    source: str
    service: str
    session_key: str
    is_anomaly: bool
    state: Literal["open", "final"]
    complete: bool
    score: float
    threshold: float
    anomaly_class: int
    class_key: str
    class_name: str
    confidence: float
    class_probabilities: dict[str, float]
    pattern: Pattern | None
    severity: Severity | None
    reasons: dict[str, float]
    n_records: int
    first_line: int
    last_line: int
    first_timestamp: str | None
    last_timestamp: str | None
    evidence: tuple[Evidence, ...]
    advice: str
    cause: Cause | None
    template_ids: tuple[str, ...]
    expected: bool
    owner: str
    runbook: str

    def to_json(self) -> dict[str, Any]:
        """As plain data, keys in the order of the contract; `pause` and `value` only where a record has one."""
        return {
            **vars(self),
            "class_probabilities": dict(self.class_probabilities),
            "reasons": dict(self.reasons),
            "evidence": [line.to_json() for line in self.evidence],
            "cause": None if self.cause is None else {**vars(self.cause), "likely": list(self.cause.likely)},
            "template_ids": list(self.template_ids),
        }

    def without_text(self) -> Finding:
        """The same finding without any line of the log, nor a number of one."""
        return replace(
            self,
            evidence=tuple(replace(line, text="", value=None) for line in self.evidence),
            cause=None if self.cause is None else replace(self.cause, matched=""),
        )


FINDING_COLUMNS = tuple(Finding.__dataclass_fields__)


@dataclass(frozen=True)
class SequenceVerdict:
    """What is said about one bare sequence of event ids.

    Attributes:
        anomaly_class: 0 normal, -1 unknown.
        class_name: Of the class.
        confidence: As in `Finding`.
        class_probabilities: By class id.
        score: As in `Finding`.
        threshold: As in `Finding`.
    """

    anomaly_class: int
    class_name: str
    confidence: float
    class_probabilities: dict[int, float]
    score: float
    threshold: float

    @property
    def is_anomaly(self) -> bool:
        """Whether the sequence is abnormal."""
        return self.anomaly_class != NORMAL


@dataclass(frozen=True)
class AnomalyClass:
    """A kind of anomaly.

    Attributes:
        id: From 1; never reused.
        key: Stable name for programs: a hash of what tells the class.
        name: For people, made from its most telling templates.
        n_findings: Sessions of this class in `fit`.
        pattern: How its sessions mostly deviate.
        templates: The most telling templates with their share of the class's surprise, best first.
        example_key: Session key of the most typical member.
        examples: A few raw lines of the most typical member that show the kind. Kept in memory, not in the bundle.
        mean_confidence: Mean calibrated confidence of its members in `fit`.
        severity: How bad its members mostly look.
        priority: Place among the classes, the worst first, from 1; 0 before that is known.
        cause: Name of the rule that speaks of most members; "" where none is sure.
        advice: What to look at, and what to do.
        recall_when_weak: Share of the members that are still found when half of what tells them is left out, [0, 1]:
            how hard it is to detect.
        typical: Templates of the typical member, in order.
        usual: Templates of the normal session that is most like it; empty where none was seen whole.
        template_ids: Of all records of its members; "" stands for templates without an event.
        patterns: How any of its members deviate.
    """

    id: int
    key: str
    name: str
    n_findings: int
    pattern: Pattern
    templates: tuple[tuple[str, float], ...]
    example_key: str
    mean_confidence: float
    severity: Severity = "info"
    priority: int = 0
    cause: str = ""
    advice: str = ""
    recall_when_weak: float = 0.0
    typical: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    template_ids: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    examples: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle: without the examples, which are raw lines."""
        data = asdict(self)
        del data["examples"]
        return data


def finding_id(source_name: str, session_key: str, part: str, first_timestamp: str | None, first_text: str) -> str:
    """Name a session so that every path that reads it names it alike.

    Args:
        source_name: The logical source: `--source-name`, else the service, else empty; never a path.
        session_key: Key of the session.
        part: Which part of a session that goes on, from "0"; of sessions alike in all else, also which of them.
        first_timestamp: ISO 8601 UTC of the session's first record, or None.
        first_text: Raw line of the session's first record.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> finding_id("orders", "req-1", "0", None, "GET /")
        'ef32b26ac528336a'
    """
    fields = (source_name, session_key, part, first_timestamp or "", first_text)
    joined = "\x1f".join(fields).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:16]
