"""What a person is given about a session: the verdict, what carried it, and the lines that show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.causes import CauseRule, CauseRules, RuleMatch
from enhanced_deeplog.detection import Calibration, Detection
from enhanced_deeplog.events import END, END_TEXT, FIRST_TEMPLATE, UNKNOWN, EventVocabulary
from enhanced_deeplog.explanation import advice_for, pattern_of, reasons_of, severity_of, shares_of, worst_of
from enhanced_deeplog.findings import (
    NORMAL,
    SCHEMA_VERSION,
    Cause,
    Evidence,
    Expected,
    Finding,
    OddValue,
    Pattern,
    Pause,
    finding_id,
)
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.learning.values import ValueRange
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.redaction import Redactor
from enhanced_deeplog.verdicts import Verdicts

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["pattern_of_session", "session_findings", "telling_places"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_EVIDENCE = 10  # records shown of one finding
_LEAST_EVIDENCE = 3  # shown even where fewer tell anything
_N_EXPECTED = 3  # PADDING and UNKNOWN are asked for besides, and left out
_ISO = "%Y-%m-%dT%H:%M:%S%.6fZ"


def session_findings(
    model: EnhancedDeepLog,
    detection: Detection,
    sessions: Sessions,
    verdicts: Verdicts,
    wanted: Int64s,
    *,
    source_name: str,
    always_evidence: bool = False,
    ordinals: Int64s | None = None,
) -> list[Finding]:
    """Say what a person is given about the wanted sessions.

    Args:
        model: That judged.
        detection: Of this model; one that remembers what it has seen is faster.
        sessions: All sessions that were judged.
        verdicts: What was decided about them.
        wanted: Rows of the sessions to speak about, int64 (F,).
        source_name: The logical source, or "".
        always_evidence: Show the most telling records of normal sessions, too.
        ordinals: How many sessions of the same key, time and first record came before each of the wanted, int64 (F,);
            None: these are all sessions of their keys, and it can be counted.
    """
    deviations = _deviations(model, verdicts, wanted)
    shown = np.ones(len(wanted), dtype=np.bool_) if always_evidence else verdicts.classes[wanted] != NORMAL
    of_shown = [deviation for deviation, show in zip(deviations, shown, strict=True) if show]
    lines = _evidence_of(model, detection, sessions, verdicts.scored, wanted[shown], of_shown)
    evidence = dict(zip(wanted[shown].tolist(), lines, strict=True))
    abnormal = verdicts.classes[wanted[shown]] != NORMAL
    spoken_of = [
        tuple(
            one for one, tells in zip(line, deviation.tells.tolist(), strict=True) if tells and one.template != END_TEXT
        )
        if is_anomaly
        else ()
        for line, deviation, is_anomaly in zip(lines, of_shown, abnormal.tolist(), strict=True)
    ]
    causes = dict(zip(wanted[shown].tolist(), causes_of(spoken_of, model.cause_rules), strict=True))
    ordinals = _ordinals(sessions)[wanted] if ordinals is None else ordinals
    table = (
        sessions.table[wanted].hstack(_first_and_last(sessions, wanted, model.redactor)).with_columns(ordinal=ordinals)
    )
    return [
        _finding(
            model,
            verdicts,
            session,
            row,
            deviation,
            evidence.get(session, ()),
            causes.get(session),
            source_name=source_name,
        )
        for session, row, deviation in zip(wanted.tolist(), table.to_dicts(), deviations, strict=True)
    ]


@dataclass(frozen=True)
class _Deviation:
    """What can be said about a session without its records: the same of all sessions that are alike.

    Attributes:
        places: Of its most telling events, int64 (P,).
        tells: Whether each of them tells anything, bool (P,); a few are shown even where none does.
        pattern: How it deviates; None for a normal session.
        reasons: As in `Finding`.
        class_probabilities: As in `Finding`.
        template_ids: As in `Finding`.
    """

    places: Int64s
    tells: Bools
    pattern: Pattern | None
    reasons: dict[str, float]
    class_probabilities: dict[str, float]
    template_ids: tuple[str, ...]


def _deviations(model: EnhancedDeepLog, verdicts: Verdicts, wanted: Int64s) -> list[_Deviation]:
    """Of each of the wanted sessions. A fault makes many alike, and each distinct one is looked at once."""
    scored, calibration = verdicts.scored, model.detection.calibration
    alike: dict[tuple[bytes | bool, ...], int] = {}
    inverse = [alike.setdefault(_what_counts(verdicts, session), len(alike)) for session in wanted.tolist()]
    distinct = wanted[np.unique(np.asarray(inverse, dtype=np.int64), return_index=True)[1]]
    excess = calibration.known.excess(scored.counts[distinct], scored.is_open[distinct])
    patterns = [
        pattern_of_session(scored, session, verdicts.rarities[session], model.detection.drift)
        if verdicts.classes[session] != NORMAL
        else None
        for session in distinct.tolist()
    ]
    of_distinct = [
        _Deviation(
            *telling_places(scored, session, calibration, too_many, n_most=_MAX_EVIDENCE, pattern=pattern),
            pattern,
            _reasons(model, verdicts, session, too_many),
            {str(c): p for c, p in verdicts.class_probabilities(session).items()},
            template_ids_of(
                scored.event_ids[int(scored.starts[session]) : int(scored.starts[session + 1])], model.vocabulary
            ),
        )
        for session, too_many, pattern in zip(distinct.tolist(), excess, patterns, strict=True)
    ]
    return [of_distinct[i] for i in inverse]


def _what_counts(verdicts: Verdicts, session: int) -> tuple[bytes | bool, ...]:
    """All that a deviation is made of: sessions for which it is equal deviate alike."""
    scored = verdicts.scored
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    return (
        scored.event_ids[events].tobytes(),
        scored.surprise[events].tobytes(),
        scored.lateness[events].tobytes() if scored.lateness is not None else b"",
        scored.oddness[events].tobytes() if scored.oddness is not None else b"",
        bool(scored.is_open[session]),
        verdicts.rarities[session].tobytes(),
        verdicts.probabilities[session].tobytes(),
        bool(verdicts.classes[session] != NORMAL),
    )


def _finding(
    model: EnhancedDeepLog,
    verdicts: Verdicts,
    session: int,
    row: dict[str, Any],
    deviation: _Deviation,
    evidence: tuple[Evidence, ...],
    told: tuple[Cause, CauseRule] | None,
    *,
    source_name: str,
) -> Finding:
    """What is said about one session: `row` is its row of the table, with its first and last record."""
    chosen = int(verdicts.classes[session])
    score, threshold = float(verdicts.scores[session]), float(verdicts.thresholds[session])
    pattern = deviation.pattern
    severity = severity_of((e.severity for e in evidence), score, threshold) if pattern else None
    cause, rule = told or (None, None)
    if severity is not None and rule is not None:
        severity = worst_of(severity, rule.severity)
    # Sessions alike in all that an id is made of are told apart by their order.
    part = f"{row['part']}/{row['ordinal']}" if row["ordinal"] else str(row["part"])
    first_time, first_text = row["first_timestamp"], row["first_text"]
    return Finding(
        schema_version=SCHEMA_VERSION,
        id=finding_id(source_name or row["service"], row["session_key"], part, first_time, first_text),
        bundle_id=model.bundle_id,
        source=row["source"],
        service=row["service"],
        session_key=row["session_key"],
        is_anomaly=chosen != NORMAL,
        state=row["state"],
        complete=row["ended"],
        score=score,
        threshold=threshold,
        anomaly_class=chosen,
        class_key=model.kinds.key(chosen),
        class_name=model.kinds.name(chosen),
        confidence=float(verdicts.confidence[session]),
        class_probabilities=dict(deviation.class_probabilities),
        pattern=pattern,
        severity=severity,
        reasons=dict(deviation.reasons),
        n_records=row["n_records"],
        first_line=row["first_line"],
        last_line=row["last_line"],
        first_timestamp=first_time,
        last_timestamp=row["last_timestamp"],
        evidence=evidence,
        advice=rule.advice if rule is not None else advice_for(pattern) if pattern else "",
        cause=cause,
        template_ids=deviation.template_ids,
        expected=False,
        owner="",
        runbook="",
    )


def template_ids_of(event_ids: Int64s, vocabulary: EventVocabulary) -> tuple[str, ...]:
    """The templates of a session's events, each once, in the order of their ids; "" for those that are unknown."""
    events = np.unique(event_ids[event_ids != END]).tolist()
    return tuple(vocabulary.template_ids[e - FIRST_TEMPLATE] if e >= FIRST_TEMPLATE else "" for e in events)


def causes_of(evidence: Sequence[tuple[Evidence, ...]], rules: CauseRules) -> list[tuple[Cause, CauseRule] | None]:
    """What a rule makes of each session's evidence: the rule whose lines surprised most, None where none matches."""
    matches = iter(rules.look_at([line.text for lines in evidence for line in lines]))
    return [_cause_of(lines, [next(matches) for _ in lines]) for lines in evidence]


def _cause_of(lines: tuple[Evidence, ...], matches: Sequence[RuleMatch | None]) -> tuple[Cause, CauseRule] | None:
    told = [(line, match) for line, match in zip(lines, matches, strict=True) if match is not None]
    if not told:
        return None
    surprise: dict[str, float] = defaultdict(float)
    for line, match in told:
        surprise[match.rule.name] += line.surprise
    most = max(surprise, key=lambda name: surprise[name])
    line, match = max(((li, m) for li, m in told if m.rule.name == most), key=lambda one: one[0].surprise)
    rule = match.rule
    return Cause(most, rule.title, match.text, line.source, line.line, line.position, rule.causes), rule


def pattern_of_session(scored: ScoredSessions, session: int, rarities: Float64s, drift: float) -> Pattern:
    """How one session deviates.

    Args:
        scored: The sessions.
        session: Which of them.
        rarities: Of each kind of evidence of this session, as in `shares_of`.
        drift: Surprise that an event of a normal session may have, nats.
    """
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    surprise, event_ids = scored.surprise[events], scored.event_ids[events]
    weight = np.maximum(surprise - drift, 0.0)
    by_end = float(weight[event_ids == END].sum())
    counts_share, _, timing_share, values_share = shares_of(rarities)
    return pattern_of(
        event_ids,
        surprise,
        scored.unseen[events],
        ended_early=by_end > 0.5 * float(weight.sum()) > 0,
        drift=drift,
        counts_share=counts_share,
        timing_share=timing_share,
        values_share=values_share,
    )


def telling_places(
    scored: ScoredSessions,
    session: int,
    calibration: Calibration,
    excess: Float64s,
    *,
    n_most: int,
    pattern: Pattern | None = None,
) -> tuple[Int64s, Bools]:
    """Places of the events that tell best why a session is odd, in the order of the session.

    What surprised, what was misplaced, what came late, what has odd numbers, and what there is too much of; a few even
    where nothing is odd.

    Args:
        scored: The sessions.
        session: Which of them.
        calibration: What normal sessions are like.
        excess: What this one has too much or too little of, float64 (V,).
        n_most: So many at most.
        pattern: How it deviates, if it does.

    Returns:
        The places, int64 (at most n_most,), and whether each of them tells anything, bool (at most n_most,).
    """
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    event_ids, surprise, usual = scored.event_ids[events], scored.surprise[events], calibration.usual
    too_many = np.maximum(excess, 0.0) / np.maximum(scored.counts[session], 1.0)  # each of them has its part in it
    telling = (
        np.maximum(surprise - usual.drift, 0.0)
        + np.maximum(usual.misplacement(surprise, event_ids) - usual.misplacement_drift, 0.0)
        + too_many[event_ids]
        + _late_by(scored, session, calibration, pattern)
        + _odd_by(scored, session, calibration, pattern)
    )
    order = np.lexsort((-surprise, -telling))
    places = np.sort(order[: min(n_most, max(int((telling > 0.0).sum()), _LEAST_EVIDENCE))])
    return places, telling[places] > 0.0


def _late_by(scored: ScoredSessions, session: int, calibration: Calibration, pattern: Pattern | None) -> Float64s:
    """How much later the events of a session came than usual ones do, nats, float64 (T,)."""
    return _beyond(scored, session, scored.lateness, calibration.lateness, is_called=pattern == "slow_step")


def _odd_by(scored: ScoredSessions, session: int, calibration: Calibration, pattern: Pattern | None) -> Float64s:
    """How much odder the numbers of the events of a session are than usual ones, nats, float64 (T,)."""
    return _beyond(scored, session, scored.oddness, calibration.oddness, is_called=pattern == "odd_value")


def _beyond(
    scored: ScoredSessions,
    session: int,
    values: Float64s | None,
    usual: UsualMost | None,
    *,
    is_called: bool,
) -> Float64s:
    """How far values of a session lie above the usual most; above the drift where they add up, and it is called so."""
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    if values is None or usual is None:
        return np.zeros(events.stop - events.start)
    beyond = np.maximum(values[events] - usual.most, 0.0)
    return np.maximum(values[events] - usual.drift, 0.0) if is_called and not beyond.any() else beyond


def _reasons(model: EnhancedDeepLog, verdicts: Verdicts, session: int, excess: Float64s) -> dict[str, float]:
    scored, detection = verdicts.scored, model.detection
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    return reasons_of(
        verdicts.rarities[session],
        scored.surprise[events],
        scored.unseen[events],
        scored.event_ids[events] == END,
        excess,
        ~detection.scorer.known,
        drift=detection.drift,
    )


def _ordinals(sessions: Sessions) -> Int64s:
    """How many sessions of the same key, time and first record came before each one, nearly always 0, int64 (S,)."""
    firsts = sessions.records[sessions.table["first"].to_numpy()].select("timestamp", "text")
    alike = sessions.table.select("service", "session_key", "part").hstack(firsts)
    return alike.select(pl.int_range(pl.len(), dtype=pl.Int64).over(alike.columns)).to_series().to_numpy()


def _first_and_last(sessions: Sessions, wanted: Int64s, redactor: Redactor) -> pl.DataFrame:
    """Line and time of the first and the last record of each session, and the first one's text."""
    firsts = sessions.table["first"].to_numpy()[wanted]
    lasts = firsts + sessions.table["n_records"].to_numpy()[wanted] - 1
    time = pl.col("timestamp").dt.to_string(_ISO)  # of the wanted alone: most sessions are normal and not asked for
    first = sessions.records[firsts].select(
        pl.col("line").alias("first_line"), time.alias("first_timestamp"), pl.col("text").alias("first_text")
    )
    # An id is made of the first text. That is the same whether or not findings show secrets.
    first = first.with_columns(redactor.redact(first["first_text"]))
    return first.hstack(sessions.records[lasts].select(pl.col("line").alias("last_line"), time.alias("last_timestamp")))


def _evidence_of(
    model: EnhancedDeepLog,
    detection: Detection,
    sessions: Sessions,
    scored: ScoredSessions,
    shown: Int64s,
    deviations: Sequence[_Deviation],
) -> list[tuple[Evidence, ...]]:
    """The evidence of each of the sessions shown: one look at the records, one run of the network for all of them."""
    if not len(shown):
        return []
    n_places = [len(deviation.places) for deviation in deviations]
    position = np.concatenate([deviation.places for deviation in deviations])
    events = np.repeat(scored.starts[shown], n_places) + position
    distinct, inverse = np.unique(detection.scorer.windows_at(sessions, events), axis=0, return_inverse=True)
    expected = [
        tuple(Expected(model.vocabulary.template(e), p) for e, p in likely if e > UNKNOWN)[:_N_EXPECTED]
        for likely in detection.scorer.expected(distinct, _N_EXPECTED + 2)
    ]
    observed, kinds = np.unique(scored.event_ids[events], return_inverse=True)
    templates = [model.vocabulary.template(event) for event in observed.tolist()]
    template_ids = [
        model.vocabulary.template_ids[event - FIRST_TEMPLATE] if event >= FIRST_TEMPLATE else None
        for event in observed.tolist()
    ]
    marked = [
        tuple(
            (by(scored, session, detection.calibration, deviation.pattern)[deviation.places] > 0).tolist()
            for by in (_late_by, _odd_by)
        )
        for session, deviation in zip(shown.tolist(), deviations, strict=True)
    ]
    columns = ("source", "line", "byte_offset", "severity", "text", pl.col("timestamp").dt.to_string(_ISO))
    of_each = zip(
        sessions.records[sessions.rows[events]].select(columns).iter_rows(named=True),
        events.tolist(),
        position.tolist(),
        kinds.tolist(),
        inverse.ravel().tolist(),
        scored.surprise[events].tolist(),
        [is_late for late, _ in marked for is_late in late],
        [is_odd for _, odd in marked for is_odd in odd],
        strict=True,
    )
    lines = iter(
        Evidence(
            **record,
            template_id=template_ids[kind],
            template=templates[kind],
            event_id=int(observed[kind]),
            position=place,
            expected=expected[window],
            surprise=surprise,
            pause=_pause(model, sessions, event) if is_late else None,
            value=_odd_value(model, sessions, event) if is_odd else None,
        )
        for record, event, place, kind, window, surprise, is_late, is_odd in of_each
    )
    return [tuple(islice(lines, n)) for n in n_places]


def _pause(model: EnhancedDeepLog, sessions: Sessions, event: int) -> Pause | None:
    """How late one event came, and how long its step usually takes."""
    usual_pauses = model.detection.scorer.usual_pauses
    if usual_pauses is None:
        return None
    before, event_id = (int(e) for e in sessions.event_ids[event - 1 : event + 1])
    usual_s, usual_share = usual_pauses.usual_s(before, event_id)
    return Pause(float(sessions.pauses[event]), model.vocabulary.template(before), usual_s, usual_share)


def _odd_value(model: EnhancedDeepLog, sessions: Sessions, event: int) -> OddValue | None:
    """The oddest number of one record, and what is usual there."""
    usual_values, numbers = model.detection.scorer.usual_values, sessions.numbers
    if usual_values is None or numbers is None:
        return None
    of_event = numbers[event]
    place = int(usual_values.by_place(numbers[[event]], sessions.event_ids[[event]])[0].argmax())
    n_numbers = int((~np.isnan(of_event)).sum())
    form = usual_values.form_of(int(sessions.event_ids[event]), n_numbers, place)
    if form is None:
        return None
    usual, share = form.usual()
    return OddValue(place + 1, float(of_event[place]), tuple(usual.tolist()), isinstance(form, ValueRange), share)
