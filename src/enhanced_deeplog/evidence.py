"""What a person is given about a session: the verdict, what carried it, and the lines that show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.detection import Calibration, Detection
from enhanced_deeplog.events import END, FIRST_TEMPLATE, UNKNOWN, template_id
from enhanced_deeplog.explanation import advice_for, pattern_of, reasons_of, severity_of, shares_of
from enhanced_deeplog.findings import (
    NORMAL,
    SCHEMA_VERSION,
    Evidence,
    Expected,
    Finding,
    Pattern,
    Pause,
    finding_id,
)
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.verdicts import Verdicts

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["pattern_of_session", "session_findings", "telling_places"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

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
    shown = wanted if always_evidence else wanted[verdicts.classes[wanted] != NORMAL]
    scored = verdicts.scored
    of_each = detection.calibration.known.excess(scored.counts[wanted], scored.is_open[wanted])
    excess = dict(zip(wanted.tolist(), of_each, strict=True))
    evidence = _evidence_of(model, detection, sessions, scored, shown, excess)
    ordinals = _ordinals(sessions)[wanted] if ordinals is None else ordinals
    table = sessions.table[wanted].hstack(_first_and_last(sessions, wanted)).with_columns(ordinal=ordinals)
    return [
        _finding(model, verdicts, session, row, evidence.get(session, ()), excess[session], source_name)
        for session, row in zip(wanted.tolist(), table.to_dicts(), strict=True)
    ]


def _finding(
    model: EnhancedDeepLog,
    verdicts: Verdicts,
    session: int,
    row: dict[str, Any],
    evidence: tuple[Evidence, ...],
    excess: Float64s,
    source_name: str,
) -> Finding:
    """What is said about one session: `row` is its row of the table, with its first and last record; `excess` is what
    it has too much or too little of, float64 (V,)."""
    chosen = int(verdicts.classes[session])
    score, threshold = float(verdicts.scores[session]), float(verdicts.thresholds[session])
    drift = model.detection.drift
    pattern, severity, advice = None, None, ""
    if chosen != NORMAL:
        pattern = pattern_of_session(verdicts.scored, session, verdicts.rarities[session], drift)
        severity = severity_of((e.severity for e in evidence), score, threshold)
        advice = advice_for(pattern)
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
        class_probabilities={str(c): p for c, p in verdicts.class_probabilities(session).items()},
        pattern=pattern,
        severity=severity,
        reasons=_reasons(model, verdicts, session, excess),
        n_records=row["n_records"],
        first_line=row["first_line"],
        last_line=row["last_line"],
        first_timestamp=first_time,
        last_timestamp=row["last_timestamp"],
        evidence=evidence,
        advice=advice,
    )


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
    counts_share, _, timing_share = shares_of(rarities)
    return pattern_of(
        event_ids,
        surprise,
        scored.unseen[events],
        ended_early=by_end > 0.5 * float(weight.sum()) > 0,
        drift=drift,
        counts_share=counts_share,
        timing_share=timing_share,
    )


def telling_places(
    scored: ScoredSessions, session: int, calibration: Calibration, excess: Float64s, *, n_most: int
) -> Int64s:
    """Places of the events that tell best why a session is odd, in the order of the session, int64 (at most n_most,).

    What surprised, what was misplaced, what came late, and what there is too much of; a few even where nothing is odd.

    Args:
        scored: The sessions.
        session: Which of them.
        calibration: What normal sessions are like.
        excess: What this one has too much or too little of, float64 (V,).
        n_most: So many at most.
    """
    events = slice(int(scored.starts[session]), int(scored.starts[session + 1]))
    event_ids, surprise, usual = scored.event_ids[events], scored.surprise[events], calibration.usual
    too_many = np.maximum(excess, 0.0) / np.maximum(scored.counts[session], 1.0)  # each of them has its part in it
    telling = (
        np.maximum(surprise - usual.drift, 0.0)
        + np.maximum(usual.misplacement(surprise, event_ids) - usual.misplacement_drift, 0.0)
        + too_many[event_ids]
        + _late_by(scored, events, calibration)
    )
    order = np.lexsort((-surprise, -telling))
    return np.sort(order[: min(n_most, max(int((telling > 0.0).sum()), _LEAST_EVIDENCE))])


def _late_by(scored: ScoredSessions, events: slice | Int64s, calibration: Calibration) -> Float64s:
    """How much later some of the events, int64 (N,), came than usual ones do, nats, float64 (N,)."""
    if scored.lateness is None or calibration.lateness is None:
        return np.zeros(len(scored.event_ids[events]))
    return np.maximum(scored.lateness[events] - calibration.lateness.most, 0.0)


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


def _first_and_last(sessions: Sessions, wanted: Int64s) -> pl.DataFrame:
    """Line and time of the first and the last record of each session, and the first one's text."""
    firsts = sessions.table["first"].to_numpy()[wanted]
    lasts = firsts + sessions.table["n_records"].to_numpy()[wanted] - 1
    time = pl.col("timestamp").dt.to_string(_ISO)  # of the wanted alone: most sessions are normal and not asked for
    first = sessions.records[firsts].select(
        pl.col("line").alias("first_line"), time.alias("first_timestamp"), pl.col("text").alias("first_text")
    )
    return first.hstack(sessions.records[lasts].select(pl.col("line").alias("last_line"), time.alias("last_timestamp")))


def _evidence_of(
    model: EnhancedDeepLog,
    detection: Detection,
    sessions: Sessions,
    scored: ScoredSessions,
    shown: Int64s,
    excess: Mapping[int, Float64s],
) -> dict[int, tuple[Evidence, ...]]:
    """The evidence of many sessions at once: one look at the records, one run of the network."""
    if not len(shown):
        return {}
    scorer, vocabulary, calibration = detection.scorer, model.vocabulary, detection.calibration
    places = [
        telling_places(scored, session, calibration, excess[session], n_most=_MAX_EVIDENCE)
        for session in shown.tolist()
    ]
    session = np.repeat(shown, [len(of_session) for of_session in places])
    position = np.concatenate(places)
    events = scored.starts[session] + position
    rows = sessions.rows[events]
    columns = ("source", "line", "byte_offset", "severity", "text", pl.col("timestamp").dt.to_string(_ISO))
    distinct, inverse = np.unique(scorer.windows_at(sessions, events), axis=0, return_inverse=True)
    expected = scorer.expected(distinct, _N_EXPECTED + 2)
    late = _late_by(scored, events, calibration)
    found: dict[int, list[Evidence]] = {s: [] for s in shown.tolist()}
    for i, record in enumerate(sessions.records[rows].select(columns).to_dicts()):
        event = int(scored.event_ids[events[i]])
        likely = [(e, p) for e, p in expected[int(inverse.ravel()[i])] if e > UNKNOWN][:_N_EXPECTED]
        found[int(session[i])].append(
            Evidence(
                **record,
                template_id=template_id(vocabulary.template(event)) if event >= FIRST_TEMPLATE else None,
                template=vocabulary.template(event),
                event_id=event,
                position=int(position[i]),
                expected=tuple(Expected(vocabulary.template(e), p) for e, p in likely),
                surprise=float(scored.surprise[events[i]]),
                pause=_pause(model, sessions, int(events[i])) if late[i] > 0 else None,
            )
        )
    return {s: tuple(lines) for s, lines in found.items()}


def _pause(model: EnhancedDeepLog, sessions: Sessions, event: int) -> Pause | None:
    """How late one event came, and how long its step usually takes."""
    usual_pauses = model.detection.scorer.usual_pauses
    if usual_pauses is None:
        return None
    before, event_id = (int(e) for e in sessions.event_ids[event - 1 : event + 1])
    usual_s, usual_share = usual_pauses.usual_s(before, event_id)
    return Pause(float(sessions.pauses[event]), model.vocabulary.template(before), usual_s, usual_share)
