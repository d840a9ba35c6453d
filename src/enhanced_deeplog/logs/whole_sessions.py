"""Of more records than are to be learnt from, whole sessions."""

from __future__ import annotations

import hashlib

import polars as pl

__all__ = ["WholeSessions"]

_MAX_HALVINGS = 30


class WholeSessions:
    """Records of an input, of which whole sessions are drawn once there are too many.

    A stream of records is drawn or left out by the hash of its key (or, without one, of where it comes from). Where
    that can't help, because a single stream is longer than that, its first records stay.

    Args:
        most_records: So many are kept, at most.

    Attributes:
        frames: The records that are kept, in the order of the input.
        n_read: Records that came.
        share: Of the streams, so many are kept.
        is_full: No more can be kept: the rest of the input need not be read.
    """

    def __init__(self, most_records: int) -> None:
        self._most_records, self._n_kept = most_records, 0
        self.frames: list[pl.DataFrame] = []
        self.n_read = 0
        self.share = 1.0
        self.is_full = False

    def add(self, frame: pl.DataFrame) -> None:
        """Take some records, in the order of the input."""
        self.n_read += frame.height
        self.frames.append(self._drawn(frame))
        self._n_kept += self.frames[-1].height
        while self._n_kept > self._most_records and not self.is_full:
            self._halve()

    def _drawn(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.share == 1.0:
            return frame
        origin = pl.concat_str([pl.col(name).fill_null("") for name in ("service", "host", "process")], separator="/")
        stream = frame.select(pl.coalesce("session_key", origin)).to_series()
        names = stream.unique()
        return frame.filter(stream.is_in(names.filter(pl.Series([_place(name) < self.share for name in names]))))

    def _halve(self) -> None:
        before = self.share
        self.share /= 2.0
        frames = [self._drawn(frame) for frame in self.frames]
        n_kept = sum(frame.height for frame in frames)
        if n_kept and self.share >= 2.0**-_MAX_HALVINGS:
            self.frames, self._n_kept = frames, n_kept
            return
        self.share, self.is_full = before, True
        self.frames = [pl.concat(self.frames).head(self._most_records)]
        self._n_kept = self.frames[0].height


def _place(name: str) -> float:
    """Where a stream stands among all that could be, [0, 1): by its name alone, on any machine."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).digest()) / 2**48
