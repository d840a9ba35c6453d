"""Records to sessions one record at a time: the state machine of `logs.sessions`, for a stream."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from enhanced_deeplog.events import END
from enhanced_deeplog.logs.numbers import MOST_NUMBERS
from enhanced_deeplog.logs.pause_limits import FAR, PauseLimits
from enhanced_deeplog.logs.sessions import SessionRules, Sessions, cut_without_key

__all__ = ["RECORD_COLUMNS", "OpenPart", "OpenSessions", "Stream", "as_sessions"]

_NS = 1_000_000_000
_MOST_DUE = 10_000  # moments to look at sessions again, beside those of sessions that are there
_MAX_BEGINNINGS = 100_000  # first records remembered, to tell apart sessions that begin alike
_NO_NUMBERS = array("d", [math.nan] * MOST_NUMBERS)

# What is kept of a record while its session may be asked for.
RECORD_COLUMNS: dict[str, pl.DataType] = {
    "source": pl.String(),
    "service": pl.String(),
    "line": pl.Int64(),
    "byte_offset": pl.Int64(),
    "timestamp": pl.Int64(),  # ns, UTC
    "severity": pl.String(),
    "text": pl.String(),
}
Record = tuple[str, str, int, int | None, int | None, str | None, str]


class Stream(NamedTuple):
    """What the records of one session after another have in common: their key, or where they come from."""

    keyed: bool
    service: str  # of what has no key
    key: str


@dataclass(slots=True, eq=False)
class OpenPart:
    """A session, or a part of a long one: one row of `Sessions`, as far as it has come.

    Numbers are held in arrays: the garbage collector need not look into them, which it does in the midst of a batch.

    Attributes:
        stream: That it belongs to.
        cut: What cuts the stream into sessions.
        part: Its number in the session.
        ordinal: So many sessions began with the same record before.
        before: The last records of the part that it continues.
        records: What is kept of its records.
        event_ids: Of its records.
        pauses: Since the record before each, s; NaN where there is none.
        numbers: That their bodies carry, four of each record; empty where they are not judged.
        clock: Of its last record.
        source: That the last record came from.
        said: The source says that it has ended.
        waited: Nothing followed for longer than usual.
        outlived: So long that nothing more can follow.
        followed: Another session of the stream has begun.
        goes_on: Its next part has begun.
        surprise, rank, lateness, oddness: Of each event so far: left to whoever judges.
        told: Whether somebody was told that it is abnormal.
        changed: Whether records have come since it was last told of.
        due: When to look at it next, if nothing comes...
        due_of: ...by the clock of this source; "": of all.
    """

    stream: Stream
    cut: str
    part: int
    ordinal: int = 0
    before: OpenPart | None = None
    records: list[Record] = field(default_factory=list)
    event_ids: array[int] = field(default_factory=lambda: array("q"))
    pauses: array[float] = field(default_factory=lambda: array("d"))
    numbers: array[float] = field(default_factory=lambda: array("d"))
    clock: int = 0
    source: str = ""
    said: bool = False
    waited: bool = False
    outlived: bool = False
    followed: bool = False
    goes_on: bool = False
    surprise: array[float] = field(default_factory=lambda: array("d"))
    rank: array[int] = field(default_factory=lambda: array("q"))
    lateness: array[float] = field(default_factory=lambda: array("d"))
    oddness: array[float] = field(default_factory=lambda: array("d"))
    told: bool = False
    changed: bool = False
    due: int = FAR
    due_of: str = ""

    @property
    def ended(self) -> bool:
        """Whether END is judged."""
        by_pause = self.cut in ("key", "idle_gap")
        return not self.goes_on and (self.said or self.waited or (self.followed and by_pause))

    @property
    def final(self) -> bool:
        """Whether nothing more can come."""
        return self.goes_on or self.said or self.followed or self.outlived

    def tail(self, n_records: int) -> OpenPart:
        """The last records of the session, which are all that the next part looks back at."""
        earlier = self.before or OpenPart(self.stream, self.cut, 0)  # where a part is shorter than what is looked at
        return replace(
            self,
            before=None,
            records=[*earlier.records, *self.records][-n_records:],
            event_ids=(earlier.event_ids + self.event_ids)[-n_records:],
            pauses=(earlier.pauses + self.pauses)[-n_records:],
            numbers=(earlier.numbers + self.numbers)[-MOST_NUMBERS * n_records :],
        )


class OpenSessions:
    """The sessions that may still get records.

    A pure function of the records of each session and of the time of the input, as `sessions_of` is: whatever batches
    the records come in, the same sessions come out.

    Args:
        rules: How records become sessions.
        limits: The pauses allowed; None where none are known for this clock.
        any_key: Whether any record has a key.
        unit: What clocks count.
        n_context: Records of a part that the next one looks back at.
        most_records: So many are held at most; beyond, those of the sessions that have paused longest are given up.
    """

    def __init__(
        self,
        rules: SessionRules,
        limits: PauseLimits | None,
        *,
        any_key: bool,
        unit: Literal["ns", "records"],
        n_context: int,
        most_records: int,
    ) -> None:
        self._rules, self._limits, self._n_context, self._most_records = rules, limits, n_context, most_records
        self._ended_after = limits.ended_after.tolist() if limits else []
        self._cut_without_key = cut_without_key(rules, any_key=any_key, unit=unit)
        self._unit = unit
        self._parts: dict[Stream, OpenPart] = {}  # the one whose last record came longest ago first
        self._due: dict[str, list[tuple[int, Stream]]] = {}  # heaps, by the source whose clock counts
        self._beginnings: dict[int, int] = {}
        self.n_records = 0
        self.n_given_up = 0

    def __len__(self) -> int:
        """Number of sessions that may still get records."""
        return len(self._parts)

    def __iter__(self) -> Iterator[OpenPart]:
        """These sessions, the one whose last record came longest ago first."""
        return iter(self._parts.values())

    def add(self, records: pl.DataFrame) -> dict[OpenPart, None]:
        """Take records in the order of the input.

        Args:
            records: With the columns of `RECORD_SCHEMA`, `event_id` and `clock`; `numbers`, if they are judged.

        Returns:
            The parts that something happened to, in that order.
        """
        touched: dict[OpenPart, None] = {}
        kept = records.select(pl.col(name).cast(dtype) for name, dtype in RECORD_COLUMNS.items()).rows()
        others = records.select("session_key", "host", "process", "ends_session", "event_id", "clock").rows()
        by_key = self._rules.by == "key"
        numbers = _numbers_of_each(records)
        for record, (key, host, process, ends, event, clock), carried in zip(kept, others, numbers, strict=True):
            if by_key and key is not None:
                stream, cut = Stream(True, "", key), "key"
            else:
                stream, cut = self._origin(record[1], host, process), self._cut_without_key
            part = self._parts.pop(stream, None)
            if part is None or self._begins(part, clock):
                if part is not None:
                    part.followed = True
                    self._close(part, touched)
                part = self._begin(OpenPart(stream, cut, 0), record)
            elif len(part.records) >= (self._rules.n_records if cut == "count" else self._rules.max_records):
                part.goes_on = True
                self._close(part, touched)
                part = self._begin(OpenPart(stream, cut, part.part + 1, before=part.tail(self._n_context)), record)
            last = part if part.records else part.before
            part.pauses.append(_pause(last.records[-1] if last is not None else None, record))
            part.records.append(record)
            part.event_ids.append(event)
            part.numbers.frombytes(carried)
            part.clock, part.source = clock, record[0]
            part.said, part.waited, part.changed = ends, False, True
            self.n_records += 1
            touched[part] = None
            if ends:
                self._close(part, touched)
                continue
            self._parts[stream] = part
            # Time is one for all sources; record numbers are not.
            self._wake(part, self._ends_at(part), "" if self._unit == "ns" else part.source)
        return touched

    def wait(self, now: Mapping[str, int]) -> dict[OpenPart, None]:
        """Let time go by.

        Args:
            now: The clock of each source; "": of all of them.

        Returns:
            The parts that have ended, or to which nothing more can come.
        """
        changed: dict[OpenPart, None] = {}
        for source, clock in now.items():
            heap = self._due.get(source, [])
            while heap and heap[0][0] < clock:
                due, stream = heapq.heappop(heap)
                part = self._parts.get(stream)
                if part is None or (due, source) != (part.due, part.due_of):
                    continue  # it is gone, or something came since
                part.due = FAR
                ended = clock > self._ends_at(part)
                part.outlived = clock > self._closes_at(part)
                if (ended and not part.waited) or part.outlived:
                    part.waited = ended
                    changed[part] = None
                if part.outlived:
                    del self._parts[part.stream]
                    self._close(part, changed)
                else:
                    self._wake(part, self._closes_at(part) if ended else self._ends_at(part), source)
        return changed

    def give_up(self) -> dict[OpenPart, None]:
        """Forget the sessions that have paused longest, where there are too many records; they stay open."""
        given_up: dict[OpenPart, None] = {}
        while self.n_records > self._most_records and self._parts:
            part = self._parts.pop(next(iter(self._parts)))
            self.n_given_up += 1
            self._close(part, given_up)
        return given_up

    def _origin(self, service: str | None, host: str | None, process: str | None) -> Stream:
        if self._cut_without_key == "idle_gap":
            return Stream(False, service or "", "/".join((service or "", host or "", process or "")).strip("/"))
        return Stream(False, service or "", service or "")

    def _begins(self, part: OpenPart, clock: int) -> bool:
        """Whether a record at this time begins another session."""
        match part.cut:
            case "key":
                return clock - part.clock > (self._limits.closed_after if self._limits else FAR)
            case "idle_gap":
                return clock - part.clock > int(self._rules.idle_gap_s * _NS)
            case "time_span":
                span = int(self._rules.time_span_s * _NS)
                return clock // span != part.clock // span
        return False

    def _begin(self, part: OpenPart, record: Record) -> OpenPart:
        alike = hash((record[1], part.stream.key, part.part, record[4], record[6]))
        part.ordinal = self._beginnings.pop(alike, 0)
        self._beginnings[alike] = part.ordinal + 1
        if len(self._beginnings) > _MAX_BEGINNINGS:
            del self._beginnings[next(iter(self._beginnings))]
        return part

    def _close(self, part: OpenPart, touched: dict[OpenPart, None]) -> None:
        self.n_records -= len(part.records)
        touched[part] = None

    def _ends_at(self, part: OpenPart) -> int:
        """The last moment at which it hasn't ended by waiting."""
        if part.cut == "idle_gap":
            return part.clock + int(self._rules.idle_gap_s * _NS)
        if part.cut == "key" and self._ended_after:
            return part.clock + int(self._ended_after[part.event_ids[-1]])
        return FAR

    def _closes_at(self, part: OpenPart) -> int:
        """The last moment at which something may follow."""
        if part.cut == "key" and self._limits is not None:
            return part.clock + self._limits.closed_after
        return self._ends_at(part)

    def _wake(self, part: OpenPart, due: int, source: str) -> None:
        """Look at it again after `due`, or before."""
        if due < FAR and (due < part.due or source != part.due_of):  # clocks of two sources can't be compared
            part.due, part.due_of = due, source
            heap = self._due.setdefault(source, [])
            heapq.heappush(heap, (due, part.stream))
            if len(heap) > _MOST_DUE + 4 * len(self._parts):  # nearly all of them are of sessions that are gone
                heap[:] = [(p.due, p.stream) for p in self._parts.values() if p.due < FAR and p.due_of == source]
                heapq.heapify(heap)


def _numbers_of_each(records: pl.DataFrame) -> list[bytes]:
    """The numbers of each record as an array holds them; nothing where they are not judged."""
    if "numbers" not in records.columns:
        return [b""] * records.height
    return [row.tobytes() for row in records["numbers"].to_numpy()]


def _pause(before: Record | None, record: Record) -> float:
    """Time between two records, s; NaN where one has none."""
    if before is None or before[4] is None or record[4] is None:
        return math.nan
    return float(record[4] - before[4]) / _NS


def as_sessions(parts: Sequence[OpenPart], unit: Literal["ns", "records"]) -> tuple[Sessions, np.ndarray]:
    """Parts of sessions as columns; what a part continues comes before it, cut to what it looks back at.

    Returns:
        The sessions, and the row of each part, int64 (P,).
    """
    rows: list[tuple[OpenPart, bool]] = []
    wanted = []
    for part in parts:
        if part.before is not None:
            rows.append((part.before, False))
        wanted.append(len(rows))
        rows.append((part, part.ended))
    n_records = np.array([len(part.records) for part, _ in rows], dtype=np.int64)
    ended = np.array([ends for _, ends in rows], dtype=np.bool_)
    firsts = np.cumsum(n_records) - n_records
    starts = np.concatenate([[0], np.cumsum(n_records + ended)]).astype(np.int64)
    event_ids, pauses, numbers = array("q"), array("d"), array("d")
    has_numbers = any(part.numbers for part, _ in rows)
    for part, ends in rows:
        event_ids += part.event_ids
        pauses += part.pauses
        numbers += part.numbers
        if ends:
            event_ids.append(END)
            pauses.append(math.nan)
            numbers.extend(_NO_NUMBERS)
    position = np.arange(starts[-1]) - np.repeat(starts[:-1], n_records + ended)
    records = pl.DataFrame([record for part, _ in rows for record in part.records], RECORD_COLUMNS, orient="row")
    table = pl.DataFrame(
        [
            (part.stream.key, *part.records[0][:2], part.part, part.stream.keyed, ends)
            for part, ends in rows
        ],
        {
            "session_key": pl.String(), "source": pl.String(), "service": pl.String(), "part": pl.Int64(),
            "keyed": pl.Boolean(), "ended": pl.Boolean(),
        },
        orient="row",
    ).with_columns(
        pl.Series("n_records", n_records),
        pl.Series("first", firsts),
        pl.Series("state", ["final" if part.final else "open" for part, _ in rows]),
    )  # fmt: skip
    begins = [starts[row - 1] if part.before is not None else starts[row] for row, (part, _) in enumerate(rows)]
    return Sessions(
        records=records.with_columns(pl.col("timestamp").cast(pl.Datetime("ns"))),
        table=table,
        event_ids=np.frombuffer(event_ids, dtype=np.int64),
        starts=starts,
        context_starts=np.array(begins, dtype=np.int64),
        pauses=np.frombuffer(pauses, dtype=np.float64),
        rows=np.repeat(firsts, n_records + ended) + np.minimum(position, np.repeat(n_records - 1, n_records + ended)),
        unit=unit,
        numbers=np.frombuffer(numbers, np.float64).reshape(-1, MOST_NUMBERS) if has_numbers else None,
    ), np.array(wanted, dtype=np.int64)
