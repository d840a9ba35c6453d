"""The order of records that arrive from several sources at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

__all__ = ["Arrivals"]

_UNTIMED = 1_000  # records without a timestamp, after which a source is taken to have none
_MAX_HELD = 100_000  # records that wait for other sources; beyond, none waits
_NS = 1_000_000_000
_BEFORE_ALL, _AFTER_ALL = -(2**62), 2**62  # times that no record has, ns
_LONGEST_DELAY_S = 2**31  # 68 years: for good


@dataclass
class _Arriving:
    """One source.

    Attributes:
        n_records: That came from it.
        reached: Latest time so far, ns; None: there was none yet.
    """

    n_records: int = 0
    reached: int | None = None


class Arrivals:
    """Puts the records of several sources into the order that they have as files: that of time, then of the source.

    A record is let through once no source can bring an earlier one. A source that falls behind the others by more
    than `max_delay_s` is not waited for: what it brings later is late.

    Args:
        unit: What pauses are measured in, where the input doesn't contradict it.
        sources: Names of the sources, if all are to be waited for from the beginning.
        max_delay_s: See above.

    Attributes:
        unit: What `clock` counts: ns, or the records of each source. It may change until something is let through.
        n_late: Records that came after later ones of other sources had been let through.
    """

    def __init__(self, unit: Literal["ns", "records"], sources: Iterable[str], max_delay_s: float) -> None:
        self.unit: Literal["ns", "records"] = unit
        self._decided = False
        self._sources = {name: _Arriving() for name in sources}
        self._max_delay = int(min(max_delay_s, _LONGEST_DELAY_S) * _NS)
        self._held: list[pl.DataFrame] = []
        self._let_through: int | None = None
        self.n_late = 0

    @property
    def now(self) -> dict[str, int]:
        """The clock of each source, as far as records were let through; "": of all of them."""
        if self.unit == "records":
            return {name: source.n_records - 1 for name, source in self._sources.items()}
        return {} if self._let_through is None else {"": self._let_through}

    @property
    def n_held(self) -> int:
        """Records that wait for other sources."""
        return sum(frame.height for frame in self._held)

    def take(self, records: pl.DataFrame) -> pl.DataFrame | None:
        """Take records; returns those whose place is sure, with `clock`, or None where there are none.

        Args:
            records: In the order in which they arrived, with the columns of `RECORD_SCHEMA`.
        """
        for frame in records.partition_by("source", maintain_order=True) if len(records) else []:
            arrived = self._read(frame)  # which may change what is held
            self._held.append(arrived)
        if not self._decided:
            self._decide()
        if self.n_held > _MAX_HELD:
            return self.rest()
        return self._let(self._sure_until()) if self._decided else None

    def rest(self) -> pl.DataFrame | None:
        """All that is held, whatever may still come."""
        spoke = [source for source in self._sources.values() if source.n_records]
        if spoke and not self._decided:
            self._set("ns" if all(source.reached is not None for source in spoke) else "records")
        return self._let(_AFTER_ALL)

    def _read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Records of one source, with the time that it had `reached` by each, and their `number`."""
        source = self._sources.setdefault(frame["source"][0], _Arriving())
        times = frame["timestamp"].dt.epoch("ns")
        reached = pl.Series([source.reached], dtype=pl.Int64).append(times).cum_max().fill_null(strategy="forward")[1:]
        times_known = [other.reached for other in self._sources.values() if other.reached is not None]
        is_timed = times.null_count() < len(times)
        number = pl.int_range(source.n_records, source.n_records + len(frame), dtype=pl.Int64, eager=True)
        if source.reached is None and is_timed:
            begin = int(times.drop_nulls()[0])  # what has no time before that begins with it
            reached = reached.fill_null(begin)
            if source.n_records:
                since = pl.when(pl.col("source") == frame["source"][0]).then(pl.col("reached").fill_null(begin))
                self._held = [held.with_columns(since.otherwise("reached")) for held in self._held]
        elif source.reached is None and self._decided and self.unit == "ns" and times_known:
            reached = reached.fill_null(max(times_known))  # the others have a time: what has none has come by now
        source.n_records += len(frame)
        source.reached = reached[-1]
        return frame.with_columns(reached.alias("reached"), number.alias("number"))

    def _decide(self) -> None:
        """By the time of all sources, or by the number of the record where one has none."""
        untimed = [source for source in self._sources.values() if source.reached is None]
        if any(source.n_records >= _UNTIMED for source in untimed):
            self._set("records")
        elif self._sources and not untimed:
            self._set("ns")
        elif self.unit == "records" and len(untimed) == len(self._sources):
            self._set("records")
        elif self._held and not any(source.n_records for source in untimed):  # some that are waited for are silent
            reached = pl.concat(self._held)["reached"].to_numpy()
            if int(np.ptp(reached)) > self._max_delay:
                self._set("ns")

    def _set(self, unit: Literal["ns", "records"]) -> None:
        self.unit, self._decided = unit, True

    def _sure_until(self) -> int:
        """No source can bring a record before that time any more, unless late."""
        if self.unit == "records" or len(self._sources) == 1:
            return _AFTER_ALL
        reached = [_BEFORE_ALL if s.reached is None else s.reached for s in self._sources.values()]
        return max(min(reached), max(reached) - self._max_delay)

    def _let(self, until: int) -> pl.DataFrame | None:
        """Let through what was held and is before that time."""
        if not self._held:
            return None
        held = pl.concat(self._held) if len(self._held) > 1 else self._held[0]
        self._held = []
        if self.unit == "records":
            return held.with_columns(clock="number").drop("reached", "number")
        if len(self._sources) > 1:
            # A source that has told no time yet has to tell one first.
            sure = pl.col("reached").fill_null(_AFTER_ALL - 1) < until
            waiting = held.filter(~sure)
            if len(waiting):
                self._held = [waiting]
            held = held.filter(sure).sort("reached", "source", maintain_order=True)
        if not len(held):
            return None
        before = self._let_through
        if before is not None:
            self.n_late += int((held["reached"] < before).sum())
            # What is late, or of a source that never told a time, comes at the time that it is by now.
            held = held.with_columns(pl.max_horizontal("reached", pl.lit(before)))
        self._let_through = held["reached"][-1]
        return held.with_columns(clock="reached").drop("reached", "number")
