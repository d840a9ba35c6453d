"""Records to sessions: by key, by idle gap, by time span, by count.

One state machine opens, closes and splits sessions, for a file and for a stream alike. It is a pure function of
a session's own records and of the time of the input:

* a record opens a new session when the one before it in the same stream ended the session by itself, lies further
  back than `closed_after`, or (by time span) in another span;
* a session has *ended*, and END is its last event, when nothing followed its last event for longer than
  `ended_after` of that kind of event;
* a session goes on as its next part, without END, after `max_records` records.

Time is the running maximum of the timestamps. Where a source has none, it is the number of the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.errors import SessionError
from enhanced_deeplog.events import END
from enhanced_deeplog.logs.pause_limits import FAR, PauseLimits

__all__ = [
    "InputClock",
    "SessionRules",
    "Sessions",
    "check_has_time",
    "cut_without_key",
    "input_clock",
    "sessions_of",
    "split_into_sessions",
    "stream_pauses",
]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NS = 1_000_000_000


@dataclass(frozen=True)
class SessionRules:
    """How records become sessions; decided once in `fit`, kept in the bundle.

    Attributes:
        by: What groups records: their key, pauses, spans of time, or a count.
        key: The regular expression of the session key, or None: the key comes from a field of the format.
        idle_gap_s: Pause that cuts records without a key (and all records with `by="idle_gap"`), s.
        time_span_s: Length of a session with `by="time_span"`, s.
        n_records: Length of a session with `by="count"`.
        max_records: A session goes on as a next part after so many records.
    """

    by: Literal["key", "idle_gap", "time_span", "count"] = "key"
    key: str | None = None
    idle_gap_s: float = 60.0
    time_span_s: float = 300.0
    n_records: int = 100
    max_records: int = 1000


@dataclass(frozen=True)
class Sessions:
    """Sessions as columns: what the rest of the method reads.

    Attributes:
        records: The records, those of a session adjacent and in order; `row` is the row of `table` each belongs to.
        table: One row a session (or part of one), in order of the first record: `session_key, source, service, part,
            keyed, n_records, first (row of records), ended, state, context` (records before this part).
        event_ids: Events of all sessions one after another, each ended session closed by END, int64 (M,).
        starts: Where each session begins in `event_ids`, int64 (S + 1,).
        context_starts: Where the past of each session begins in `event_ids`, int64 (S,): its own start, or that of
            the part it continues.
        pauses: Time from the event before to each event, s, float64 (M,); negative where the clock was set back, NaN
            where there is none: no record before it in the session, no timestamp, END.
        rows: Row of `records` of each event, for END that of the session's last record, int64 (M,).
        unit: What the pauses between records are measured in.
        numbers: That the body of each event carries, NaN where there are fewer and of END, float64 (M, 4), see
            `logs.numbers`; None: they are not judged (`detection.values`).
    """

    records: pl.DataFrame
    table: pl.DataFrame
    event_ids: Int64s
    starts: Int64s
    context_starts: Int64s
    pauses: Float64s
    rows: Int64s
    unit: Literal["ns", "records"]
    numbers: Float64s | None = None

    def __len__(self) -> int:
        """Number of sessions (S)."""
        return self.table.height

    def sequence(self, session: int) -> Int64s:
        """The event ids of one session, END included where it has ended, int64 (T,)."""
        return self.event_ids[self.starts[session] : self.starts[session + 1]]

    def take(self, rows: Int64s) -> Sessions:
        """Some of the sessions, int64 (N,), each by itself: a later part of a longer one has no past."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[rows], lengths)
        return replace(
            self,
            table=self.table[rows].with_columns(context=0),
            event_ids=self.event_ids[places],
            starts=starts,
            context_starts=starts[:-1],
            pauses=self.pauses[places],
            rows=self.rows[places],
            numbers=None if self.numbers is None else self.numbers[places],
        )

    def without(self, skipped: Bools) -> Sessions:
        """The same sessions of the same records, where some events, bool (M,), are not judged.

        One that has no others keeps them: there is no session without events.
        """
        session = np.repeat(np.arange(len(self)), np.diff(self.starts))
        has_others = np.zeros(len(self), dtype=np.bool_)
        has_others[session[~skipped & (self.event_ids != END)]] = True
        kept = np.flatnonzero(~skipped | ~has_others[session])
        n_before = np.searchsorted(kept, np.arange(len(skipped) + 1))  # how many are kept before each place
        return replace(
            self,
            event_ids=self.event_ids[kept],
            starts=n_before[self.starts],
            context_starts=n_before[self.context_starts],
            # Each from the last event that is kept.
            pauses=np.add.reduceat(self.pauses[: kept[-1] + 1], np.append(0, kept[:-1] + 1)),
            rows=self.rows[kept],
            numbers=None if self.numbers is None else self.numbers[kept],
        )


@dataclass(frozen=True)
class InputClock:
    """The time of a whole input, of which records may be given a part at a time.

    Attributes:
        unit: What clocks count: ns, or the records of the source where one has no timestamps.
        now: Clock of each source when the input ended.
        any_key: Whether any record has a session key.
    """

    unit: Literal["ns", "records"]
    now: Mapping[str, int]
    any_key: bool


def input_clock(records: pl.DataFrame) -> tuple[pl.DataFrame, InputClock]:
    """Give each record its time: the running maximum of its source, or its number where a source has no time.

    Args:
        records: All records in the order of the input.

    Returns:
        The records with a column `clock` (int64), and the clock of the input.
    """
    timed = records.group_by("source").agg(pl.col("timestamp").is_not_null().any().alias("timed"))
    if timed.height and timed["timed"].all():
        clock = pl.col("timestamp").dt.epoch("ns").cum_max().forward_fill().backward_fill()
        unit: Literal["ns", "records"] = "ns"
    else:
        clock, unit = pl.int_range(pl.len(), dtype=pl.Int64), "records"
    records = records.with_columns(clock.over("source").alias("clock"))
    now = dict(records.group_by("source").agg(pl.col("clock").max()).iter_rows())
    if unit == "ns":
        now = dict.fromkeys(now, max(now.values()))  # time is one for all sources; record numbers are not
    return records, InputClock(unit, now, any_key=records["session_key"].is_not_null().any())


def split_into_sessions(records: pl.DataFrame, rules: SessionRules, limits: Mapping[str, PauseLimits]) -> Sessions:
    """Run the state machine over a whole input.

    Args:
        records: Records in the order of the input, with `event_id`; see `logs.records.RECORD_SCHEMA`.
        rules: How records become sessions.
        limits: The pauses allowed, by unit. Empty while they are being learnt: then every key is one session,
            and nothing has ended that the source does not say has ended.

    Returns:
        The sessions.

    Raises:
        SessionError: If there is no record, or sessions by time are asked of records without time.
    """
    if records.height == 0:
        raise SessionError("Expected log records to make sessions of; none came. Is the input empty?")
    return sessions_of(*input_clock(records), rules, limits)


def sessions_of(
    records: pl.DataFrame, clock: InputClock, rules: SessionRules, limits: Mapping[str, PauseLimits]
) -> Sessions:
    """The same of some of the records of an input: all records of whichever streams they belong to.

    Args:
        records: In the order of the input, with `event_id` and `clock`.
        clock: Of the whole input.
        rules: How records become sessions.
        limits: The pauses allowed, by unit.

    Raises:
        SessionError: If sessions by time are asked of records without time.
    """
    check_has_time(rules, clock.unit)
    limit = limits.get(clock.unit)
    cut = _cut(_streams(records, rules, clock), rules, limit)
    # Every column is brought into the order of the sessions at once, texts among them: once is enough.
    ordered = records[cut["order"]].with_columns(cut.drop("order", "clock", "ends_session").get_columns())
    return _collect(ordered, rules, limit, clock)


def check_has_time(rules: SessionRules, unit: Literal["ns", "records"]) -> None:
    """Refuse sessions by time of records without.

    Raises:
        SessionError: If so.
    """
    if unit == "records" and rules.by in ("idle_gap", "time_span"):
        raise SessionError(
            f"Sessions by {rules.by} need a timestamp on the records of every source, and at least one source has "
            "none. Use a session key or sessions by count, or name the format that reads the timestamps."
        )


def cut_without_key(
    rules: SessionRules, *, any_key: bool, unit: Literal["ns", "records"]
) -> Literal["idle_gap", "time_span", "count"]:
    """What cuts records without a key into sessions."""
    match rules.by:
        case "key":
            # No key at all, or no time to cut by: consecutive blocks, each event judged once.
            return "idle_gap" if any_key and unit == "ns" else "count"
        case other:
            return other


def stream_pauses(sessions: Sessions, n_events: int) -> dict[str, PauseLimits]:
    """Learn the pause limits, by unit, from sessions that were made without any."""
    keyed = sessions.records.filter(pl.col("keyed"))
    stream = keyed.select(pl.col("session_key").rle_id().cast(pl.Int64)).to_series()
    limits = PauseLimits.learn(
        keyed["clock"].to_numpy(),
        stream.to_numpy(),
        keyed["event_id"].to_numpy().astype(np.int64),
        n_events=n_events,
        unit=sessions.unit,
    )
    return {limits.unit: limits}


def _streams(records: pl.DataFrame, rules: SessionRules, clock: InputClock) -> pl.DataFrame:
    """Which stream each record belongs to: that of its key, or of where it comes from.

    Returns:
        For each record, in the order of the input: `order`, its row; `stream`, the row of its stream's first record;
        `stream_key`; `keyed`, whether that is a session key; `cut`, what makes sessions of it; `clock`; `ends_session`.
    """
    has_key = pl.col("session_key").is_not_null() & pl.lit(rules.by == "key")
    cut = cut_without_key(rules, any_key=clock.any_key, unit=clock.unit)
    origin = pl.col("service")
    if cut == "idle_gap":
        parts = [pl.col(name).fill_null("") for name in ("service", "host", "process")]
        origin = pl.concat_str(parts, separator="/").str.strip_chars("/")
    return (
        records.with_row_index("order")
        .select(
            "order",
            pl.when(has_key).then("session_key").otherwise(origin).alias("stream_key"),
            has_key.alias("keyed"),
            # Without a key, no two services share a stream, even where origins of different parts read the same.
            pl.when(has_key).then(pl.lit("")).otherwise("service").alias("stream_service"),
            pl.when(has_key).then(pl.lit("key")).otherwise(pl.lit(cut)).alias("cut"),
            "clock",
            "ends_session",
        )
        .with_columns(stream=pl.col("order").first().over("keyed", "stream_service", "stream_key"))
        .drop("stream_service")
    )


def _cut(records: pl.DataFrame, rules: SessionRules, limit: PauseLimits | None) -> pl.DataFrame:
    """Mark where sessions and parts begin: columns `session`, `row` (dense, in order of first record) and `part`.

    Args:
        records: What `_streams` returns.
        rules: How records become sessions.
        limit: The pauses allowed.

    Returns:
        The same in the order of the sessions, the records of each next to one another.
    """
    stream_begins = (pl.col("stream") != pl.col("stream").shift(1)).fill_null(value=True)
    pause = pl.col("clock") - pl.col("clock").shift(1)
    span = pl.col("clock") // int(rules.time_span_s * _NS)
    allowed = (
        pl.when(pl.col("cut") == "key")
        .then(limit.closed_after if limit else FAR)
        .when(pl.col("cut") == "idle_gap")
        .then(int(rules.idle_gap_s * _NS))
        .otherwise(FAR)
    )
    part_length = pl.when(pl.col("cut") == "count").then(rules.n_records).otherwise(rules.max_records)
    begins = (
        stream_begins
        | (pause > allowed)
        | pl.col("ends_session").shift(1).fill_null(value=False)
        | ((pl.col("cut") == "time_span") & (span != span.shift(1)))
    )
    return (
        records.sort("stream", "order")
        .with_columns(begins.cum_sum().alias("session"))
        .with_columns(
            (pl.int_range(pl.len()).over("session") // part_length).alias("part"),
            pl.col("order").first().over("session").alias("first_order"),
        )
        .sort("first_order", "order")
        .drop("first_order")
        .with_columns(pl.struct("session", "part").rle_id().cast(pl.Int64).alias("row"))
    )


def _collect(records: pl.DataFrame, rules: SessionRules, limit: PauseLimits | None, clock: InputClock) -> Sessions:
    """Decide which sessions have ended, and lay their events out one after another."""
    table = (
        records.with_row_index("at")
        .group_by("row", maintain_order=True)
        .agg(
            pl.col("at").first().cast(pl.Int64).alias("first"),
            pl.len().cast(pl.Int64).alias("n_records"),
            pl.col("stream_key", "stream", "source", "service", "part", "keyed", "cut", "session").first(),
            pl.col("event_id", "clock", "ends_session").last(),
            pl.col("source").last().alias("last_source"),
        )
        .with_columns(
            source_now=pl.col("last_source").replace_strict(clock.now, return_dtype=pl.Int64),
            # The next row goes on with this session, or opens the next session of the same stream.
            goes_on=(pl.col("session") == pl.col("session").shift(-1)).fill_null(value=False),
        )
        .with_columns(
            followed=pl.col("session") != pl.col("session").max().over("stream"),
        )
    )
    ended, final = _ended(table, rules, limit)
    table = table.with_columns(
        pl.Series("ended", ended),
        pl.when(pl.Series(final)).then(pl.lit("final")).otherwise(pl.lit("open")).alias("state"),
    )
    event_ids, starts = _lay_out(records["event_id"].to_numpy(), table["n_records"].to_numpy(), ended)
    places = _places(table["n_records"].to_numpy(), starts)
    first_rows = table.with_row_index("at").select(pl.col("at").first().over("session"))
    context_starts = starts[:-1][first_rows.to_series().to_numpy()]
    return Sessions(
        records=records.drop("cut", "stream", "stream_key", "part", "session"),
        table=table.select(
            pl.col("stream_key").alias("session_key"),
            *("source", "service", "part", "keyed", "n_records", "first", "ended", "state"),
            (pl.col("first") - pl.col("first").first().over("session")).alias("context"),
        ),
        event_ids=event_ids,
        starts=starts,
        context_starts=context_starts,
        pauses=_pauses(records, places, len(event_ids)),
        rows=_rows(table["first"].to_numpy(), table["n_records"].to_numpy(), starts),
        unit=clock.unit,
        numbers=_numbers(records, places, len(event_ids)),
    )


def _ended(table: pl.DataFrame, rules: SessionRules, limit: PauseLimits | None) -> tuple[Bools, Bools]:
    """Which sessions have ended (END is judged), and about which nothing more can come (final), bool (S,) each."""
    goes_on, followed, said = (table[name].to_numpy() for name in ("goes_on", "followed", "ends_session"))
    idle = (table["source_now"] - table["clock"]).to_numpy()
    by_key, by_gap = ((table["cut"] == cut).to_numpy() for cut in ("key", "idle_gap"))
    event_ids = table["event_id"].to_numpy()
    # What is cut by pauses has ended after such a pause, followed or not; what is cut by count or span has no end
    # of its own.
    outlived = by_gap & (idle > int(rules.idle_gap_s * _NS))
    waited = outlived
    if limit is not None:
        waited = waited | (by_key & (idle > limit.ended_after[event_ids]))
        outlived = outlived | (by_key & (idle > limit.closed_after))
    ended = ~goes_on & (said | waited | (followed & (by_key | by_gap)))
    return ended, goes_on | said | followed | outlived


def _lay_out(event_ids: npt.NDArray[Any], n_records: Int64s, ended: Bools) -> tuple[Int64s, Int64s]:
    """Concatenate the sessions' events, END behind each ended one."""
    starts = np.concatenate([[0], np.cumsum(n_records + ended)]).astype(np.int64)
    laid = np.full(starts[-1], END, dtype=np.int64)
    is_end = np.zeros(starts[-1], dtype=np.bool_)
    is_end[starts[1:][ended] - 1] = True
    laid[~is_end] = event_ids
    return laid, starts


def _rows(first: Int64s, n_records: Int64s, starts: Int64s) -> Int64s:
    """The record of each event, int64 (M,)."""
    lengths = np.diff(starts)
    position = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    return np.asarray(np.repeat(first, lengths) + np.minimum(position, np.repeat(n_records - 1, lengths)))


def _places(n_records: Int64s, starts: Int64s) -> Int64s:
    """The event that each record is, int64 (R,)."""
    firsts = np.cumsum(n_records) - n_records
    return np.asarray(np.arange(n_records.sum()) + np.repeat(starts[:-1] - firsts, n_records))


def _pauses(records: pl.DataFrame, places: Int64s, n_events: int) -> Float64s:
    """Time from the record before to each record of a session, laid out as the events are, s, float64 (M,).

    By the timestamps as they stand, not by the clock: what jumped ahead by mistake would stop the clock for all that
    follows.
    """
    since = pl.col("timestamp").diff().dt.total_nanoseconds().cast(pl.Float64)
    same = pl.col("session") == pl.col("session").shift(1)
    # NumPy divides; Polars multiplies by a reciprocal, and makes .053 s .053000000000000005.
    of_records = records.select(pl.when(same).then(since)).to_series().to_numpy() / _NS
    laid = np.full(n_events, np.nan)
    laid[places] = of_records
    return laid


def _numbers(records: pl.DataFrame, places: Int64s, n_events: int) -> Float64s | None:
    """The numbers of each record, laid out as the events are, float64 (M, 4); None where they were not read."""
    if "numbers" not in records.columns:
        return None
    of_records = records["numbers"].to_numpy()
    laid = np.full((n_events, of_records.shape[1]), np.nan)
    laid[places] = of_records
    return laid
