"""Of more records than are to be learnt from, whole sessions."""

from __future__ import annotations

import hashlib

import polars as pl

__all__ = ["WholeSessions"]

_OF_ONE_SERVICE = 4  # where there are keys, a quarter of what is kept at most is without one and of one service
_MAX_HALVINGS = 30


class WholeSessions:
    """Records of an input, of which whole sessions are drawn once there are too many.

    What has a key is drawn or left out by the hash of that key. What has none is cut into sessions by time or number:
    of each service the beginning is kept, in which sessions are whole as well.

    Args:
        most_records: So many are kept, at most.
        by_key: Whether sessions are made by key; else no record has one.

    Attributes:
        n_read: Records that came.
        share: Of the keys, so many are kept.
    """

    def __init__(self, most_records: int, *, by_key: bool) -> None:
        self._most_records, self._n_kept = most_records, 0
        self._key = pl.col("session_key") if by_key else pl.lit(None, pl.String)
        self._frames: list[pl.DataFrame] = []
        self._of_service: dict[str, int] = {}  # records without a key that came, by service
        self._most_of_service: int | None = None  # kept of them; None: all
        self._is_full = False
        self.n_read = 0
        self.share = 1.0

    def add(self, frame: pl.DataFrame) -> None:
        """Take some records, in the order of the input."""
        self.n_read += frame.height
        if self._is_full:
            return
        if self._most_of_service is not None:
            frame = self._begun(frame, self._most_of_service)
        self._frames.append(self._drawn(frame))
        self._n_kept += self._frames[-1].height
        if self._n_kept > self._most_records and self._most_of_service is None:
            has_keys = any(map(self._n_keyed, self._frames))
            self._most_of_service = self._most_records // _OF_ONE_SERVICE if has_keys else self._most_records
            self._frames = [self._begun(pl.concat(self._frames), self._most_of_service)]
            self._n_kept = self._frames[0].height
        while self._n_kept > self._most_records and not self._is_full:
            self._halve()

    def records(self) -> pl.DataFrame:
        """The records that are kept, in the order of the input."""
        return pl.concat(self._frames)

    def _begun(self, frame: pl.DataFrame, most: int) -> pl.DataFrame:
        """Without what has no key and comes after the beginning of its service."""
        # Hosts of one service begin together, so that what goes on side by side stays side by side.
        keyless = frame.filter(self._key.is_null())["service"]
        if not len(keyless):
            return frame
        room = {name: most - self._of_service.get(name, 0) for name in keyless.unique()}
        for name, n in keyless.value_counts().iter_rows():
            self._of_service[name] = self._of_service.get(name, 0) + n
        is_keyless = self._key.is_null()
        place = is_keyless.cum_sum().over("service")  # from 1
        begun = place <= pl.col("service").replace_strict(room, default=0, return_dtype=pl.Int64)
        return frame.filter(~is_keyless | begun)

    def _drawn(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.share == 1.0:
            return frame
        keys = frame.select(self._key.drop_nulls().unique()).to_series()
        drawn = keys.filter(pl.Series([_place(key) < self.share for key in keys], dtype=pl.Boolean))
        return frame.filter(self._key.is_null() | self._key.is_in(drawn.implode()))

    def _n_keyed(self, frame: pl.DataFrame) -> int:
        return int(frame.select(self._key.is_not_null().sum()).item())

    def _halve(self) -> None:
        before = self.share
        self.share /= 2.0
        frames = [self._drawn(frame) for frame in self._frames]
        n_kept = sum(frame.height for frame in frames)
        if any(map(self._n_keyed, frames)) and self.share >= 2.0**-_MAX_HALVINGS:
            self._frames, self._n_kept = frames, n_kept
            return
        # A few keys, or many services, that are longer than all that may be kept: their beginning.
        self.share, self._is_full = before, True
        self._frames = [pl.concat(self._frames).head(self._most_records)]
        self._n_kept = self._frames[0].height


def _place(key: str) -> float:
    """Where a key stands among all that could be, [0, 1): by itself alone, on any machine."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=6).digest()) / 2**48
