"""The event counts of normal sessions, and how far from them a session is."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.remembered import Remembered

__all__ = ["KnownCounts", "SeenCounts", "count_events", "distinct_counts", "nth_nearest"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_KNOWN = 4000  # distinct count vectors kept: beyond, the most frequent ones
_COUNT_FLOOR = 0.1  # a count that never varied is taken to vary by a tenth
_CELLS = 2**23  # numbers compared at once


def count_events(event_ids: Int64s, starts: Int64s, n_events: int) -> Float64s:
    """How often each event occurred in each session.

    Args:
        event_ids: Events of all sessions one after another, int64 (M,).
        starts: Where each session begins, int64 (S + 1,).
        n_events: Size of the vocabulary (V).

    Returns:
        float64 (S, V).

    Example:
        >>> count_events(np.array([3, 3, 2, 4]), np.array([0, 3, 4]), 5).astype(int).tolist()
        [[0, 0, 1, 2, 0], [0, 0, 0, 0, 1]]
    """
    n_sessions = len(starts) - 1
    session = np.repeat(np.arange(n_sessions), np.diff(starts))
    cells = np.bincount(session * n_events + event_ids, minlength=n_sessions * n_events)
    return cells.reshape(n_sessions, n_events).astype(np.float64)


@dataclass(frozen=True)
class KnownCounts:
    """The event counts of the normal sessions, and how far from them a session is.

    Attributes:
        whole: Distinct counts of sessions that were seen whole, float64 (K, V).
        n_whole: How many sessions had each of them, int64 (K,).
        any: Distinct counts of all sessions, those still open too, float64 (L, V).
        n_any: How many sessions had each of them, int64 (L,).
        scale: What one more or less of an event weighs: 1 / (its spread among normal sessions + .1), float64 (V,).
        n_alike: So many of these sessions must be near for a session to count as known: one where all of them are
            known to be normal and few, more where a few may not be.
    """

    whole: Float64s
    n_whole: Int64s
    any: Float64s
    n_any: Int64s
    scale: Float64s
    n_alike: int

    @classmethod
    def of(cls, counts: Float64s, is_open: Bools, *, n_alike: int, seed: int) -> KnownCounts:
        """Remember the counts of normal sessions.

        Args:
            counts: float64 (S, V).
            is_open: Whether the session was still going on when the input ended, bool (S,).
            n_alike: See the attribute; of all these sessions. Where only the most frequent counts are kept, fewer.
            seed: Chooses which to keep where there are too many.
        """
        scale = 1.0 / (counts.std(axis=0) + _COUNT_FLOOR)
        complete = counts[~is_open] if not is_open.all() else counts
        whole, n_whole = _most_frequent(complete, seed)
        some, n_some = _most_frequent(counts, seed)
        n_alike = max(round(n_alike * int(n_some.sum()) / len(counts)), 1)
        return cls(whole, n_whole, some, n_some, scale, n_alike)

    @classmethod
    def fit(cls, counts: Float64s, is_open: Bools, *, n_alike: int, seed: int) -> tuple[KnownCounts, Float64s]:
        """Remember them as `of` does, and judge each of them, too.

        Returns:
            The known counts, and the novelty of each of these sessions judged by all the others, float64 (S,).
        """
        known = cls.of(counts, is_open, n_alike=n_alike, seed=seed)
        return known, known._judge(counts, is_open, leave_one_out=True)

    def novelty(self, counts: Float64s, is_open: Bools) -> Float64s:
        """Distance within which `n_alike` known sessions lie, in spreads of the counts.

        An open session may still get the events it lacks, so only what it has too many of counts.

        Args:
            counts: float64 (S, V).
            is_open: bool (S,).

        Returns:
            float64 (S,).
        """
        return self._judge(counts, is_open, leave_one_out=False)

    def excess(self, counts: Float64s, is_open: Bools, *, share: float = 0.0) -> Float64s:
        """What sessions have too much (or, negative, too little) of, weighed: their novelty, event by event.

        Args:
            counts: float64 (S, V).
            is_open: Whether more records may follow, bool (S,).
            share: So large a share of the known sessions must be near, at least.

        Returns:
            float64 (S, V).
        """
        excess = np.empty(counts.shape)
        for opened, known, n_known in ((False, self.whole, self.n_whole), (True, self.any, self.n_any)):
            rows = np.flatnonzero(is_open == opened)
            distinct, inverse, _ = distinct_counts(counts[rows])
            n_alike = max(round(share * int(n_known.sum())), self.n_alike)
            compared = distinct * self.scale, known * self.scale
            nearest, _ = _nearest(*compared, n_known, n_alike=n_alike, only_excess=opened, skip_itself=False)
            found = compared[0] - compared[1][nearest]
            excess[rows] = (np.maximum(found, 0.0) if opened else found)[inverse]
        return excess

    def _judge(self, counts: Float64s, is_open: Bools, *, leave_one_out: bool) -> Float64s:
        novelty = np.zeros(len(counts))
        for opened, known, n_known in ((False, self.whole, self.n_whole), (True, self.any, self.n_any)):
            rows = np.flatnonzero(is_open == opened)
            if not len(rows):
                continue
            # Judged by the others: a session with enough twins among them is known without itself. Those of an open
            # one are all sessions, those of a whole one the whole ones.
            among = counts if opened else counts[rows]
            distinct, inverse, n_twins = distinct_counts(among)
            inverse = inverse[rows] if opened else inverse
            wanted = np.bincount(inverse, minlength=len(distinct)) > 0
            judged = np.flatnonzero(wanted & (n_twins <= self.n_alike) if leave_one_out else wanted)
            distances = np.zeros(len(distinct))
            _, distances[judged] = _nearest(
                distinct[judged] * self.scale,
                known * self.scale,
                n_known,
                n_alike=self.n_alike,
                only_excess=opened,
                skip_itself=leave_one_out,
            )
            novelty[rows] = distances[inverse]
        return novelty


class SeenCounts:
    """Novelty of the counts seen last, so that what comes again is not compared again.

    Args:
        known: What it is compared with.
        most: Distinct counts that are remembered.
    """

    def __init__(self, known: KnownCounts, most: int = 100_000) -> None:
        self._known = known
        self._seen = Remembered[bytes, float](most)

    def novelty(self, counts: Float64s, is_open: Bools) -> Float64s:
        """As that of the known counts."""
        rows = np.ascontiguousarray(np.column_stack([is_open, counts]).astype(np.int32))
        keys = rows.view(np.dtype((np.void, rows.shape[1] * 4))).ravel()
        distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        # By a digest: counts of many events are long.
        place = {blake2b(key.tobytes(), digest_size=16).digest(): i for key, i in zip(distinct, first, strict=True)}

        def judge(new: list[bytes]) -> list[float]:
            which = [place[key] for key in new]
            found: list[float] = self._known.novelty(counts[which], is_open[which]).tolist()
            return found

        return np.array(self._seen.of(list(place), judge), dtype=np.float64)[inverse]


def _most_frequent(counts: Float64s, seed: int) -> tuple[Float64s, Int64s]:
    """Distinct counts and how many sessions had each; of too many, the most frequent ones."""
    distinct, _, n_twins = distinct_counts(counts)
    kept = np.arange(len(distinct))
    if len(distinct) > _MAX_KNOWN:
        tie_break = np.random.default_rng(seed).random(len(distinct))
        kept = np.sort(np.lexsort((tie_break, -n_twins))[:_MAX_KNOWN])
    return np.asarray(distinct[kept]), n_twins[kept].astype(np.int64)


def distinct_counts(counts: Float64s) -> tuple[Float64s, Int64s, Int64s]:
    """Distinct counts, ascending, float64 (D, V); which of them each is, int64 (S,); how many are so, int64 (D,).

    Bytes of whole numbers with the highest first have the order of the numbers, and are compared at once: `np.unique`
    by rows goes through them one by one, which takes minutes where there are thousands of events.
    """
    keys = np.ascontiguousarray(counts.astype(">u4")).view(np.dtype((np.void, 4 * counts.shape[1]))).ravel()
    _, first, inverse, n_twins = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return counts[first], inverse.ravel(), n_twins


def _nearest(
    rows: Float64s, known: Float64s, n_known: Int64s, *, n_alike: int, only_excess: bool, skip_itself: bool
) -> tuple[Int64s, Float64s]:
    """The known session within whose L1 distance of each row `n_alike` of them lie (all, where there are fewer).

    Args:
        rows: Counts of none of which is negative, float64 (N, V).
        known: Distinct, float64 (K, V).
        n_known: How many sessions each of them stands for, int64 (K,).
        n_alike: How many must be near.
        only_excess: Count only what a row has more of.
        skip_itself: One of the known sessions is the row itself, and doesn't count.

    Returns:
        Which of the known ones that is, int64 (N,), and its distance, float64 (N,).
    """
    nearest, near = np.empty(len(rows), dtype=np.int64), np.empty(len(rows))
    by_event = np.ascontiguousarray(known.T)  # (V, K)
    total, n_events = known.sum(axis=1), np.count_nonzero(known, axis=1)
    step = max(1, _CELLS // len(known))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        distance = np.empty((len(some), len(known)))  # (B, K)
        itself = np.zeros(distance.shape, dtype=np.bool_)
        for i, row in enumerate(some):
            had = np.flatnonzero(row)  # of thousands of events, few sessions have many
            among = by_event[had]  # (C, K)
            difference = row[had, None] - among
            # Whether a known one has others besides is told by whole numbers: where it has none, that is 0 exactly.
            has_more = n_events > np.count_nonzero(among, axis=0)
            if only_excess:
                distance[i] = np.maximum(difference, 0.0).sum(axis=0)
            else:
                besides = np.where(has_more, total - among.sum(axis=0), 0.0)
                distance[i] = np.abs(difference).sum(axis=0) + besides
            if skip_itself:
                itself[i] = ~(difference.any(axis=0) | has_more)
        others = n_known - itself
        found = nth_nearest(distance, others, n_alike)
        nearest[start : start + step] = found
        # Where no other session is known, all that a row has is too much.
        distance = distance[np.arange(len(some)), found]
        near[start : start + step] = np.where(others.any(axis=1), distance, some.sum(axis=1))
    return nearest, near


def nth_nearest(distance: Float64s, n_known: Int64s, n_alike: int) -> Int64s:
    """Which of what is known is the farthest of the nearest that stand for `n_alike` sessions (or all), int64 (B,).

    Args:
        distance: float64 (B, K).
        n_known: How many sessions each stands for, int64 (B, K).
        n_alike: How many must be near.
    """
    # Only what is as near as the n-th can be it: each but one that doesn't count stands for one session at least.
    n_nearest = min(n_alike + 1, distance.shape[1])
    within = distance <= np.partition(distance, n_nearest - 1, axis=1)[:, n_nearest - 1 : n_nearest]
    rows, columns = np.nonzero(within)
    order = np.lexsort((columns, distance[within], rows))
    rows, columns = rows[order], columns[order]
    n_within = n_known[rows, columns].cumsum()
    begins = np.searchsorted(rows, np.arange(len(distance)))
    before = np.append(0, n_within)[begins]  # of the rows before
    enough = before + np.minimum(n_alike, n_known.sum(axis=1))
    place = np.searchsorted(n_within, enough)
    # Nothing counts where no session is known but the one that is judged.
    return np.asarray(columns[np.maximum(place, begins)])
