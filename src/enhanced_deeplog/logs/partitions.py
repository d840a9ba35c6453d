"""Records of any number, by the stream they belong to: in memory, and beyond that on disk.

What belongs to one session lies in one partition, so that sessions can be made and judged some partitions at a time.
However long the input is, memory holds a bounded number of records; only those of one stream are never parted.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.errors import OutputError
from enhanced_deeplog.events import UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.corpus import MAX_KNOWN, check_any, look_up, read_bodies
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.sessions import InputClock, Sessions
from enhanced_deeplog.logs.templates import TemplateMiner
from enhanced_deeplog.remembered import Remembered

__all__ = ["IN_MEMORY", "PartitionedRecords", "Place", "places_of", "read_partitions"]

Place: TypeAlias = tuple[int, str, int, int]  # where a session stands among all of an input; in their order

IN_MEMORY = 200_000  # records held before they are written to disk
_N_PARTITIONS = 64  # twice as many take a twelfth more time
_MAX_UNMATCHED = 200_000  # distinct bodies kept that fit no template: what is more varied than that is nobody's deploy


class _Piece(NamedTuple):
    """Some records of a partition: where they stand in the file."""

    begin: int
    n_bytes: int
    n_records: int


class _RecordFile:
    """Records by partition: held in memory, or, where they are many, in one file that only this user can read.

    Raises:
        OutputError: While records are added, if the disk is full.
    """

    def __init__(self, *, by_key: bool, in_memory: int) -> None:
        self._stream = pl.coalesce("session_key", "service") if by_key else pl.col("service")
        self._in_memory, self._held, self._n_held = in_memory, list[pl.DataFrame](), 0
        self._file: IO[bytes] | None = None  # of mode 0600, without a name: it goes however the process ends
        self._n_bytes = 0  # of the file
        self._pieces: list[list[_Piece]] = [[] for _ in range(_N_PARTITIONS)]

    def add(self, frame: pl.DataFrame) -> None:
        """Take some records; those of a partition come out in the order in which they were taken."""
        self._held.append(frame)
        self._n_held += frame.height
        if self._n_held > self._in_memory:
            self._write()

    def close(self) -> None:
        """Give the room on disk back."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written has been told of
                self._file.close()

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The records, some partitions after others; all of them at once where no file was needed."""
        if self._file is None:
            yield pl.concat(self._held)
            return
        if self._held:
            self._write()
        together: list[pl.DataFrame] = []  # several, where they are small: fewer parts take less time
        n_together = 0
        for pieces in self._pieces:
            n_records = sum(piece.n_records for piece in pieces)
            if together and n_together + n_records > self._in_memory:
                yield pl.concat(together)
                together, n_together = [], 0
            if n_records > self._in_memory:  # in parts so much smaller that the whole of it can be held beside one
                yield from self._shares(pieces, 1 + 3 * n_records // (2 * self._in_memory))
            else:
                together += map(self._read, pieces)
                n_together += n_records
        if together:
            yield pl.concat(together)

    def _shares(self, pieces: list[_Piece], n_shares: int) -> Iterator[pl.DataFrame]:
        """One partition in several parts: as it is read it takes little room, what is made of it takes much."""
        shares: list[list[pl.DataFrame]] = [[] for _ in range(n_shares)]
        share = self._stream.hash(1) % n_shares  # by another hash than that of the partition
        for frame in map(self._read, pieces):
            parts = frame.with_columns(share=share).partition_by("share", as_dict=True, include_key=False)
            for (of_share,), part in parts.items():
                shares[of_share].append(part)
        while shares:
            if some := shares.pop():
                yield pl.concat(some)

    def _write(self) -> None:
        held = pl.concat(self._held).with_columns((self._stream.hash() % _N_PARTITIONS).alias("partition"))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
            for (partition,), part in held.partition_by("partition", as_dict=True, include_key=False).items():
                packed = part.write_ipc(None, compression="lz4").getbuffer()
                self._pieces[partition].append(_Piece(self._n_bytes, len(packed), part.height))
                self._n_bytes += self._file.write(packed)
            self._file.flush()  # here a full disk is told of
        except (OSError, pl.exceptions.ComputeError) as error:  # Polars hides a full disk in a ComputeError
            raise OutputError(
                f"{tempfile.gettempdir()}: expected room for records that memory should not hold, but: {error}. "
                "Set TMPDIR to a place with room, or give fewer files at once."
            ) from None
        self._held, self._n_held = [], 0

    def _read(self, piece: _Piece) -> pl.DataFrame:
        if self._file is None:
            raise ValueError("There is no file to read from.")
        self._file.seek(piece.begin)
        return pl.read_ipc(self._file.read(piece.n_bytes))


@dataclass(frozen=True)
class PartitionedRecords:
    """A whole input; a context, which leaves no file behind.

    Attributes:
        files: Its records: `RECORD_SCHEMA` without body and template; `event_id`; `body_id`, place in `unmatched` of
            what fits no template, else null; `number` of the record in its source, and the latest
            time that was `reached` there, ns; `numbers`, if they are read.
        clock: Of the whole input.
        begins: First time of each source, ns; null where it has none.
        unmatched: Distinct masked bodies that fit no template, and how many records have each. A template that a source
            gives by its number is none of them: it does not say what it is.
    """

    files: _RecordFile
    clock: InputClock
    begins: Mapping[str, int | None]
    unmatched: Mapping[str, int]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The records of one partition after another, in the order of the input, each with its `clock`."""
        for frame in self.files:
            begins = pl.col("source").replace_strict(self.begins, return_dtype=pl.Int64)
            frame = frame.with_columns(pl.coalesce("reached", begins))
            if len(self.begins) > 1:
                frame = frame.sort("reached", "source", nulls_last=False, maintain_order=True)
            yield frame.with_columns(pl.col("reached" if self.clock.unit == "ns" else "number").alias("clock"))


def read_partitions(
    records: LogRecords,
    miner: TemplateMiner,
    vocabulary: EventVocabulary,
    *,
    by_key: bool,
    in_memory: int = IN_MEMORY,
    numbers: bool = False,
) -> PartitionedRecords:
    """Read an input batch by batch, and find the event of each record.

    Args:
        records: The input.
        miner: Masks the bodies and knows the templates; it doesn't learn here.
        vocabulary: Numbers the templates.
        by_key: Whether sessions are made by key.
        in_memory: So many records are held at most; the others are on disk.
        numbers: Whether the numbers of the bodies are read, too.

    Raises:
        InputError: If the input can't be read, or has no record.
        OutputError: If there is no room on disk.
    """
    files = _RecordFile(by_key=by_key, in_memory=in_memory)
    try:
        return _read_into(files, records, miner, vocabulary, numbers=numbers)
    except BaseException:
        files.close()
        raise


def _read_into(
    files: _RecordFile,
    records: LogRecords,
    miner: TemplateMiner,
    vocabulary: EventVocabulary,
    *,
    numbers: bool,
) -> PartitionedRecords:
    known = Remembered[str, int](MAX_KNOWN)
    unmatched, sources = _Unmatched(), dict[str, _SourceClock]()
    any_key = False
    for batch, masked, given in in_order(partial(read_bodies, miner=miner, numbers=numbers), records):
        distinct = masked.unique(maintain_order=True).to_list()
        ids = look_up(distinct, given, miner, vocabulary, known=known)
        new = [body for body, event in zip(distinct, ids, strict=True) if event == UNKNOWN and body not in given]
        clock = sources.setdefault(batch["source"][0], _SourceClock())  # a batch comes from one source
        files.add(
            batch.with_columns(
                masked.replace_strict(distinct, ids, return_dtype=pl.Int64).alias("event_id"),
                unmatched.number(masked, new),
                *clock.read(batch["timestamp"]),
            )
        )
        any_key = any_key or batch["session_key"].null_count() < batch.height
    check_any(sources, records)
    begins = {name: clock.begin for name, clock in sources.items()}
    if None in begins.values():
        whole = InputClock("records", {name: clock.n_records - 1 for name, clock in sources.items()}, any_key=any_key)
    else:
        latest = max(clock.latest for clock in sources.values() if clock.latest is not None)
        whole = InputClock("ns", dict.fromkeys(sources, latest), any_key=any_key)
    return PartitionedRecords(files, whole, begins, dict(zip(unmatched.ids, unmatched.n_records, strict=True)))


@dataclass
class _SourceClock:
    """How far one source has been read.

    Attributes:
        n_records: So many records.
        begin: First time, ns; None: there was none yet.
        latest: Latest time, ns.
    """

    n_records: int = 0
    begin: int | None = None
    latest: int | None = None

    def read(self, timestamps: pl.Series) -> tuple[pl.Series, pl.Series]:
        """`number` and `reached` of the next records, Int64 (N,)."""
        times = timestamps.dt.epoch("ns")
        if self.begin is None and times.null_count() < len(times):
            self.begin = self.latest = int(times.drop_nulls()[0])
            reached = times.cum_max().fill_null(strategy="forward")
        else:
            reached = pl.Series([self.latest], dtype=pl.Int64).append(times).cum_max().fill_null(strategy="forward")[1:]
        self.latest = reached[-1]
        first = self.n_records
        self.n_records += len(times)
        number = pl.int_range(first, self.n_records, dtype=pl.Int64, eager=True)
        return number.alias("number"), reached.alias("reached")


class _Unmatched:
    """Distinct bodies that fit no template.

    Attributes:
        ids: A number for each of them.
        n_records: How many records have each.
    """

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.n_records: list[int] = []

    def number(self, masked: pl.Series, new: list[str]) -> pl.Series:
        """`body_id` of records whose body is one of `new`; null for all others, Int64 (N,)."""
        if not new:
            return pl.Series("body_id", [None], pl.Int64).new_from_index(0, len(masked))
        for body in new:
            if body not in self.ids and len(self.ids) < _MAX_UNMATCHED:
                self.ids[body] = len(self.ids)
                self.n_records.append(0)
        kept = [body for body in new if body in self.ids]
        body_ids = masked.replace_strict(kept, [self.ids[b] for b in kept], default=None, return_dtype=pl.Int64)
        for one, n in body_ids.drop_nulls().value_counts().iter_rows():
            self.n_records[one] += n
        return body_ids.alias("body_id")


def places_of(sessions: Sessions, rows: npt.NDArray[np.int64]) -> list[Place]:
    """What some of the sessions of a partition are sorted by to be in the order in which those of the input begin."""
    table = sessions.table[rows]  # the parts of a session follow one another
    firsts = sessions.records[(table["first"] - table["context"]).to_numpy()]
    place = firsts.select(pl.col("reached").fill_null(-(2**63)), "source", "number")
    return place.hstack(table.select("part")).rows()
