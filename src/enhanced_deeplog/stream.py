"""Judging records as they come: the same findings as `classify` gives on the same records, ids included."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.detection import detect
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.events import END, PADDING
from enhanced_deeplog.evidence import session_findings
from enhanced_deeplog.findings import Finding
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.logs.arrivals import Arrivals
from enhanced_deeplog.logs.corpus import MAX_KNOWN, look_up, read_bodies
from enhanced_deeplog.logs.numbers import MOST_NUMBERS
from enhanced_deeplog.logs.open_sessions import OpenPart, OpenSessions, as_sessions
from enhanced_deeplog.logs.records import RECORD_SCHEMA, redact_records
from enhanced_deeplog.logs.session_keys import session_key_of
from enhanced_deeplog.logs.sessions import check_has_time
from enhanced_deeplog.redaction import REDACTED
from enhanced_deeplog.remembered import Remembered

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["StreamOutput", "StreamingClassifier", "WindowVerdicts"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_BATCH = 512  # records judged at once
_NOTHING = array("q")


@dataclass(frozen=True)
class WindowVerdicts:
    """What the base model says of each record that was judged, in the order in which they were.

    Attributes:
        records: `source`, `line`, `session_key` (where it has none, where it comes from) and `event_id` of each.
        surprise: -log p(observed event), nats, float64 (N,).
        rank: 1-based place of the observed event in the prediction, int64 (N,).
    """

    records: pl.DataFrame
    surprise: Float64s
    rank: Int64s


@dataclass(frozen=True)
class StreamOutput:
    """What changed.

    Attributes:
        findings: Sessions that are found abnormal, or of which more is known; the latest word on an id holds. One
            that isn't an anomaly takes back what was said before.
        verdicts: On the records judged just now: some may wait for those of other sources.
    """

    findings: tuple[Finding, ...]
    verdicts: tuple[WindowVerdicts, ...]


@dataclass
class StreamingClassifier:
    """Judges records as they come, by a fitted model; learns nothing.

    When the input has ended and `finish` was called, the latest word on each id is what `classify` says of the same
    records: same id, session key, verdict, class, evidence and score. Not the same are inputs in whose midst a deploy
    changes templates: `classify`, which sees what follows, takes them as usual, and a stream reports them; and several
    sources without timestamps, which a stream takes in the order in which their records come. What people say about
    classes is applied afterwards: `Knowledge.viewer(model.classes)` shows a finding as they want to see it.

    Args:
        model: A fitted one, or one that was loaded.
        source_name: The logical source, for the ids of findings.
        sources: Names of the sources that records come from, where all of them are to be waited for from the beginning.
        max_delay_s: So far a source may fall behind the others, in the time of the log, before they stop waiting;
            100,000 records wait at most. A source whose clock has jumped ahead waits until the others are there.
        most_records: Records held in memory, at most; beyond, the sessions that have paused longest are given up: they
            are judged as they are, and what comes later with their key is another session.
        evidence: "full" leaves secrets in the lines that findings show, if they are still in the records.

    Example:
        >>> from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords
        >>> lines = [f"s{i},1 2 3 1 2 3" for i in range(200)]
        >>> config = Config.of({"learning": {"hidden_size": 16, "epochs": 5}, "classifier": {"epochs": 1}})
        >>> model = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines, format="sequences"))
        >>> stream = StreamingClassifier(model)
        >>> new = LogRecords.from_lines(["odd,1 2 9 9 9 9", "usual,1 2 3 1 2 3"], format="sequences")
        >>> [finding.session_key for batch in new for finding in stream.process_many(batch).findings]
        ['odd']
        >>> stream.finish().findings
        ()
    """

    model: EnhancedDeepLog
    source_name: str = ""
    sources: Sequence[str] = ()
    max_delay_s: float = 60.0
    most_records: int = 200_000
    evidence: Literal["redacted", "full"] = "redacted"

    def __post_init__(self) -> None:
        self.model.check_fitted()
        rules, limits = self.model.session_rules, self.model.pause_limits
        self._detection = self.model.detection.remembering()
        self._arrivals = Arrivals("records" if "records" in limits else "ns", self.sources, self.max_delay_s)
        self._key = None if rules.key is None else session_key_of(rules.key)
        self._open: OpenSessions | None = None
        self._known_events = Remembered[str, int](MAX_KNOWN)

    @property
    def n_late(self) -> int:
        """Records that came after later ones of other sources had been judged."""
        return self._arrivals.n_late

    @property
    def n_given_up(self) -> int:
        """Sessions that were given up because too many records were held."""
        return self._open.n_given_up if self._open is not None else 0

    @property
    def n_open(self) -> int:
        """Sessions that may still get records."""
        return len(self._open) if self._open is not None else 0

    @property
    def n_held(self) -> int:
        """Records that wait for those of other sources; they are judged when these have caught up."""
        return self._arrivals.n_held

    def process(self, record: Mapping[str, Any]) -> StreamOutput:
        """Judge one record: `process_many` of it alone. Many at once are far cheaper."""
        return self.process_many([record])

    def process_many(self, records: pl.DataFrame | Iterable[Mapping[str, Any]]) -> StreamOutput:
        """Judge records, in micro-batches.

        Args:
            records: In the order in which they came from each source: a batch of `LogRecords`, or mappings with the
                fields of `RECORD_SCHEMA`, of which only `body` must be there. Session keys are looked for as in `fit`;
                a mapping may bring its own where none is found.

        Raises:
            InputError: If records lack a field, or a value isn't of its type.
            SessionError: If sessions are made by time, and records have none.
        """
        frame = _checked(records) if isinstance(records, pl.DataFrame) else self._frame_of(list(records))
        own_keys = not isinstance(records, pl.DataFrame)
        findings: list[Finding] = []
        verdicts: list[WindowVerdicts] = []
        for batch in frame.iter_slices(_BATCH):
            arrived = self._arrivals.take(self._with_events(batch, own_keys=own_keys))
            self._judge(arrived, findings, verdicts)
        return StreamOutput(tuple(findings), tuple(verdicts))

    def _frame_of(self, records: list[Mapping[str, Any]]) -> pl.DataFrame:
        """Mappings as a batch of records; a session key that one has is its own."""
        rows = [_row_of(record, i) for i, record in enumerate(records, 1)]
        columns = {name: [row.get(name) for row in rows] for name in RECORD_SCHEMA}
        try:
            return _checked(pl.DataFrame(columns, RECORD_SCHEMA))
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise InputError(f"Expected records whose fields have the types of RECORD_SCHEMA, but: {error}") from None

    def finish(self) -> StreamOutput:
        """The input has ended: judge what was held back, and give the last word on every open session."""
        findings: list[Finding] = []
        verdicts: list[WindowVerdicts] = []
        self._judge(self._arrivals.rest(), findings, verdicts)
        if self._open is not None:
            self._tell([part for part in self._open if part.told and part.changed], findings)
        return StreamOutput(tuple(findings), tuple(verdicts))

    def _with_events(self, batch: pl.DataFrame, *, own_keys: bool) -> pl.DataFrame:
        """The records with their session key and event, without their text's body."""
        model = self.model
        if self._key is not None and self._key.column != "session_key":
            found = self._key.extract(batch)
            batch = batch.with_columns(pl.coalesce(found, "session_key") if own_keys else _known_apart(found, batch))
        # Mappings say what they like in any field; a batch of `LogRecords` has it all from its lines.
        by = (
            ("text", "body", "session_key", "host", "process", "component", "service") if own_keys else ("text", "body")
        )
        batch = redact_records(batch, model.redactor, keep_text=self.evidence == "full", by=by)
        batch, masked, given = read_bodies(batch, model.miner, numbers=model.config.detection.values)
        distinct = masked.unique(maintain_order=True).to_list()
        ids = look_up(distinct, given, model.miner, model.vocabulary, known=self._known_events)
        event_ids = masked.replace_strict(distinct, ids, return_dtype=pl.Int64).alias("event_id")
        return batch.with_columns(event_ids)

    def _judge(self, arrived: pl.DataFrame | None, findings: list[Finding], verdicts: list[WindowVerdicts]) -> None:
        """Add records to their sessions, let time go by, and judge the sessions that this changes."""
        if arrived is None:
            return
        unit = self._arrivals.unit
        if self._open is None:
            rules = self.model.session_rules
            check_has_time(rules, unit)
            self._open = OpenSessions(
                rules,
                self.model.pause_limits.get(unit),
                any_key=rules.key is not None or True in self.model.detection.calibration.scores,
                unit=unit,
                n_context=max([self._detection.scorer.window_size, *self._detection.by_size]),
                most_records=self.most_records,
            )
        touched = self._open.add(arrived)
        verdicts.append(self._look_at(touched))
        waited, given_up = self._open.wait(self._arrivals.now), self._open.give_up()
        changed = touched | waited | given_up
        closing = {*waited, *given_up, *(part for part in touched if part.final or part.ended)}
        unsure = [part for part in changed if not part.told]
        odd = {part for part, is_odd in zip(unsure, self._are_odd(unsure), strict=True) if is_odd}
        self._tell([part for part in changed if part in odd or (part.told and part in closing)], findings)

    # --- what the base model says ----------------------------------------------------------------------------------

    def _look_at(self, parts: Iterable[OpenPart]) -> WindowVerdicts:
        """Score the events that have come."""
        new = [(part, len(part.surprise)) for part in parts if len(part.surprise) < len(part.event_ids)]
        n_new = [len(part.event_ids) - begin for part, begin in new]
        windows = self._windows((part, at) for part, begin in new for at in range(begin, len(part.event_ids)))
        event_ids = np.frombuffer(b"".join(part.event_ids[begin:] for part, begin in new), np.int64)
        scores = self._detection.scorer.look_at(windows, event_ids)
        lateness = self._lateness(new, windows, event_ids)
        oddness = self._oddness(new, event_ids)
        place = 0
        for (part, _), n in zip(new, n_new, strict=True):
            part.surprise.frombytes(scores.surprise[place : place + n].tobytes())
            part.rank.frombytes(scores.rank[place : place + n].tobytes())
            part.lateness.frombytes(lateness[place : place + n].tobytes())
            part.oddness.frombytes(oddness[place : place + n].tobytes())
            place += n
        seen = [
            (source, line, part.stream.key, event)
            for part, begin in new
            for (source, _, line, *_), event in zip(part.records[begin:], part.event_ids[begin:], strict=True)
        ]
        schema = {"source": pl.String(), "line": pl.Int64(), "session_key": pl.String(), "event_id": pl.Int64()}
        return WindowVerdicts(pl.DataFrame(seen, schema, orient="row"), scores.surprise, scores.rank)

    def _window(self, part: OpenPart, at: int) -> array[int]:
        """The events before one of a part, as many as the base model reads."""
        size = self._detection.scorer.window_size
        if at >= size:
            return part.event_ids[at - size : at]
        before = part.before.event_ids[at - size :] if part.before is not None else _NOTHING
        return array("q", [PADDING]) * (size - len(before) - at) + before + part.event_ids[:at]

    def _windows(self, places: Iterable[tuple[OpenPart, int]]) -> Int64s:
        """The window before each of some places in parts, int64 (N, W)."""
        together = b"".join(self._window(part, at) for part, at in places)
        return np.frombuffer(together, np.int64).reshape(-1, self._detection.scorer.window_size)

    def _lateness(self, new: list[tuple[OpenPart, int]], windows: Int64s, event_ids: Int64s) -> Float64s:
        usual = self._detection.scorer.usual_pauses
        if usual is None:
            return np.zeros(0)
        pauses = np.frombuffer(b"".join(part.pauses[begin:] for part, begin in new), np.float64)
        return usual.lateness(pauses, windows[:, -1], event_ids)

    def _oddness(self, new: list[tuple[OpenPart, int]], event_ids: Int64s) -> Float64s:
        usual = self._detection.scorer.usual_values
        if usual is None:
            return np.zeros(0)
        numbers = np.frombuffer(b"".join(part.numbers[MOST_NUMBERS * begin :] for part, begin in new), np.float64)
        return usual.oddness(numbers.reshape(-1, MOST_NUMBERS), event_ids)

    def _are_odd(self, parts: Sequence[OpenPart]) -> npt.NDArray[np.bool_]:
        """Whether detection finds each of them abnormal: all that most sessions are ever asked, bool (P,)."""
        if not parts:
            return np.zeros(0, dtype=np.bool_)
        _, scores, thresholds, _ = detect(self._scored(parts), self._detection.calibration, self.model.config)
        return np.asarray(scores > thresholds)

    def _scored(self, parts: Sequence[OpenPart]) -> ScoredSessions:
        """What is known of some parts, END scored where they have ended."""
        scorer = self._detection.scorer
        ended = np.array([part.ended for part in parts])
        n_events = np.array([len(part.event_ids) for part in parts], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(n_events + ended)]).astype(np.int64)
        is_end = np.zeros(starts[-1], dtype=np.bool_)
        is_end[starts[1:][ended] - 1] = True
        ends = self._windows((part, len(part.event_ids)) for part in parts if part.ended)
        of_end = scorer.look_at(ends, np.full(len(ends), END))

        def laid_out(name: str, at_end: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
            laid = np.empty(starts[-1], dtype=dtype)
            laid[~is_end] = np.frombuffer(b"".join(getattr(part, name) for part in parts), dtype)
            laid[is_end] = at_end
            return laid

        event_ids = laid_out("event_ids", np.full(len(ends), END), np.int64)
        no_lateness, no_oddness = scorer.usual_pauses is None, scorer.usual_values is None
        return ScoredSessions(
            event_ids=event_ids,
            starts=starts,
            surprise=laid_out("surprise", of_end.surprise, np.float64),
            rank=laid_out("rank", of_end.rank, np.int64),
            unseen=~scorer.known[event_ids],
            hidden_state=of_end.hidden_state[:0],  # of no account in detection
            pair=event_ids[:0],
            is_open=np.array([not part.final and not part.ended for part in parts]),
            keyed=np.array([part.stream.keyed for part in parts]),
            n_events=len(scorer.known),
            lateness=None if no_lateness else laid_out("lateness", np.zeros(len(ends)), np.float64),
            oddness=None if no_oddness else laid_out("oddness", np.zeros(len(ends)), np.float64),
        )

    # --- what a person is told -------------------------------------------------------------------------------------

    def _tell(self, parts: Sequence[OpenPart], findings: list[Finding]) -> None:
        """Judge some parts as `classify` does, and add what is to be said of them."""
        if not parts:
            return
        sessions, rows = as_sessions(parts, self._arrivals.unit)
        verdicts = self.model.kinds.judge(self._detection.look_at(sessions), self._detection, self.model.config)
        ordinals = np.array([part.ordinal for part in parts], dtype=np.int64)
        told = session_findings(
            self.model, self._detection, sessions, verdicts, rows, source_name=self.source_name, ordinals=ordinals
        )
        for part, finding in zip(parts, told, strict=True):
            if finding.is_anomaly or part.told:
                findings.append(finding)
            part.told, part.changed = finding.is_anomaly, False


def _known_apart(found: pl.Series, batch: pl.DataFrame) -> pl.Series:
    """Session keys; where the line has them no more, for they are secrets, those that were found when it was read.

    Raises:
        InputError: If it was read without looking for them.
    """
    is_lost = found.str.contains(REDACTED).fill_null(value=False)
    if not is_lost.any():
        return found
    before = batch["session_key"]
    if not before.filter(is_lost).str.contains(f"{REDACTED}-[0-9a-f]{{8}}").fill_null(value=False).all():
        raise InputError(
            "Expected records with the session key of the model, which is a secret here and no longer in their lines. "
            "Read them with it: read_records(..., session_key=model.session_rules.key)."
        )
    return pl.select(pl.when(is_lost).then(before).otherwise(found).alias("session_key")).to_series()


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    """Exactly the columns of a batch of records, in their types.

    Raises:
        InputError: If one is missing or can't be brought into its type.
    """
    missing = [name for name in RECORD_SCHEMA if name not in frame.columns]
    if missing:
        raise InputError(
            f"Expected records with the columns {', '.join(RECORD_SCHEMA)}; {', '.join(missing)} is missing. "
            "Batches of read_records have them all."
        )
    try:
        frame = frame.select(pl.col(name).cast(dtype) for name, dtype in RECORD_SCHEMA.items())
    except pl.exceptions.PolarsError as error:
        raise InputError(f"Expected records whose fields have the types of RECORD_SCHEMA, but: {error}") from None
    return frame.with_columns(
        pl.col("source", "service", "body").fill_null(""),
        pl.col("line").fill_null(0),
        pl.col("ends_session").fill_null(value=False),
        pl.col("text").fill_null(pl.col("body")).fill_null(""),
    )


def _row_of(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One record, its texts mended and its time in UTC.

    Raises:
        InputError: If a field is unknown, or the body is no text.
    """
    unknown = [name for name in record if name not in RECORD_SCHEMA]
    if unknown or not isinstance(record.get("body"), str):
        what = f"the field {unknown[0]!r}" if unknown else f"the body {record.get('body')!r}"
        raise InputError(
            f"Record {number}: expected the fields {', '.join(RECORD_SCHEMA)}, body being text; got {what}."
        )
    row: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # as `LogRecords` mends it
        elif isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        row[name] = value
    return row
