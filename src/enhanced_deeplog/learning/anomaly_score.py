"""How odd a session is: novelty of its counts, largest surprise, surprise that accumulates, surprise at its end.

Each kind of evidence becomes a rarity among normal sessions; the rarest one speaks for the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.learning.calibration import Tail, most_expected

__all__ = [
    "EVIDENCE",
    "KnownCounts",
    "SessionScore",
    "accumulated_surprise",
    "count_events",
    "per_session_max",
]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

EVIDENCE = ("counts", "largest_surprise", "accumulated_surprise", "end_surprise")
# Differences smaller than this mean nothing: half a typical step of a count, half a nat.
LEAST_SCALE = dict.fromkeys(EVIDENCE, 0.5)

_MAX_KNOWN = 4000  # distinct count vectors kept: beyond, the most frequent ones
_COUNT_FLOOR = 0.1  # a count that never varied is taken to vary by a tenth
_N_LARGEST = 1000  # normal scores kept to check a threshold by
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


def per_session_max(values: Float64s, starts: Int64s) -> Float64s:
    """The largest value of each session, float64 (S,)."""
    return np.asarray(np.maximum.reduceat(values, starts[:-1]), dtype=np.float64)


def accumulated_surprise(surprise: Float64s, starts: Int64s, drift: float) -> Float64s:
    """The largest sum of surprise above `drift` over any stretch of each session.

    Several weak surprises in a row are odd where one of them is not.

    Args:
        surprise: Of all events, nats, float64 (M,).
        starts: Where each session begins, int64 (S + 1,).
        drift: What an event of a normal session may cost, nats.

    Returns:
        float64 (S,), nats.

    Source:
        Page, Biometrika 1954 (CUSUM).

    Example:
        >>> accumulated_surprise(np.array([0., 3., 3., 0., 9.]), np.array([0, 4, 5]), drift=1.0).tolist()
        [4.0, 8.0]
    """
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")
    current, best = np.zeros(len(lengths)), np.zeros(len(lengths))
    still_running = np.searchsorted(-lengths[order], -np.arange(int(lengths.max(initial=0))), side="left")
    for step, n_running in enumerate(still_running):  # one step of all sessions that are this long
        running = order[:n_running]
        current[running] = np.maximum(0.0, current[running] + surprise[starts[running] + step] - drift)
        best[running] = np.maximum(best[running], current[running])
    return best


@dataclass(frozen=True)
class KnownCounts:
    """The event counts of the normal sessions, and how far from all of them a session is.

    Attributes:
        whole: Distinct counts of sessions that were seen whole, float64 (K, V).
        any: Distinct counts of all sessions, those still open too, float64 (L, V).
        scale: What one more or less of an event weighs: 1 / (its spread among normal sessions + .1), float64 (V,).
    """

    whole: Float64s
    any: Float64s
    scale: Float64s

    @classmethod
    def fit(cls, counts: Float64s, is_open: Bools, *, seed: int) -> tuple[KnownCounts, Float64s]:
        """Remember the counts of normal sessions.

        Args:
            counts: float64 (S, V).
            is_open: Whether the session was still going on when the input ended, bool (S,).
            seed: Chooses which to keep where there are too many.

        Returns:
            The known counts, and the novelty of each of these sessions judged by all the others, float64 (S,).
        """
        scale = 1.0 / (counts.std(axis=0) + _COUNT_FLOOR)
        complete = counts[~is_open] if not is_open.all() else counts
        known = cls(_most_frequent(complete, seed), _most_frequent(counts, seed), scale)
        return known, known._judge(counts, is_open, leave_one_out=True)

    def novelty(self, counts: Float64s, is_open: Bools) -> Float64s:
        """Distance of each session to the nearest known one, in spreads of its counts.

        An open session may still get the events it lacks, so only what it has too many of counts.

        Args:
            counts: float64 (S, V).
            is_open: bool (S,).

        Returns:
            float64 (S,).
        """
        return self._judge(counts, is_open, leave_one_out=False)

    def excess(self, counts: Float64s, is_open: bool) -> Float64s:
        """What one session has too much (or, negative, too little) of, weighed, against the nearest known one, (V,)."""
        known = self.any if is_open else self.whole
        difference = (counts - known) * self.scale
        if is_open:
            difference = np.maximum(difference, 0.0)
        # A copy: a view would keep the differences to all known sessions alive with it.
        return np.array(difference[int(np.abs(difference).sum(axis=1).argmin())])

    def _judge(self, counts: Float64s, is_open: Bools, *, leave_one_out: bool) -> Float64s:
        novelty = np.zeros(len(counts))
        for opened, known in ((False, self.whole), (True, self.any)):
            rows = np.flatnonzero(is_open == opened)
            if not len(rows):
                continue
            # Judged by the others: a session with a twin among them is known without itself. Those of an open one
            # are all sessions, those of a whole one the whole ones.
            among = counts if opened else counts[rows]
            distinct, inverse, n_alike = np.unique(among, axis=0, return_inverse=True, return_counts=True)
            inverse = inverse.ravel()[rows] if opened else inverse.ravel()
            wanted = np.bincount(inverse, minlength=len(distinct)) > 0
            judged = np.flatnonzero(wanted & (n_alike == 1) if leave_one_out else wanted)
            distances = np.zeros(len(distinct))
            distances[judged] = _nearest(
                distinct[judged] * self.scale,
                known * self.scale,
                only_excess=opened,
                skip_itself=leave_one_out,
            )
            novelty[rows] = distances[inverse]
        return novelty


def _most_frequent(counts: Float64s, seed: int) -> Float64s:
    distinct, n_alike = np.unique(counts, axis=0, return_counts=True)
    if len(distinct) <= _MAX_KNOWN:
        return np.asarray(distinct)
    tie_break = np.random.default_rng(seed).random(len(distinct))
    return np.asarray(distinct[np.sort(np.lexsort((tie_break, -n_alike))[:_MAX_KNOWN])])


def _nearest(rows: Float64s, known: Float64s, *, only_excess: bool, skip_itself: bool) -> Float64s:
    """Smallest L1 distance of each row to any known one, its own copy left out if asked."""
    nearest = np.empty(len(rows))
    step = max(1, _CELLS // max(known.size, 1))
    for start in range(0, len(rows), step):
        difference = rows[start : start + step, None, :] - known[None, :, :]  # (B, K, V)
        itself = ~difference.any(axis=2) if skip_itself else None  # (B, K)
        difference = np.maximum(difference, 0.0) if only_excess else np.abs(difference)
        distance = difference.sum(axis=2)
        if itself is not None:
            distance[itself] = np.inf
        nearest[start : start + step] = distance.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, rows.sum(axis=1))


@dataclass(frozen=True)
class SessionScore:
    """From evidence to one score: -log of the share of normal sessions that are at least as odd.

    Attributes:
        tails: Rarity of each kind of evidence.
        combined: Rarity of the rarest kind.
        largest: The largest scores of the normal sessions, descending, float64 (at most 1000,).
        n_normal: How many normal sessions there were.
    """

    tails: Mapping[str, Tail]
    combined: Tail
    largest: Float64s
    n_normal: int

    @classmethod
    def fit(cls, evidence: Mapping[str, Float64s], *, clean_share: float = 1.0) -> SessionScore:
        """Calibrate on sessions that nothing that scores them has seen.

        Args:
            evidence: Each kind of `EVIDENCE`, float64 (S,).
            clean_share: Share of the sessions taken to be normal; 1 where all are known to be.
        """
        tails = {kind: _fit_tail(evidence[kind], LEAST_SCALE[kind], clean_share) for kind in EVIDENCE}
        rarest = np.max([tails[kind].rarity(evidence[kind]) for kind in EVIDENCE], axis=0)
        combined = _fit_tail(rarest, 0.5, clean_share)
        # Where abnormal sessions may be among them, the largest scores contradict nothing.
        scores = np.sort(combined.rarity(rarest))[::-1] if clean_share == 1.0 else np.zeros(0)
        return cls(tails, combined, scores[:_N_LARGEST].copy(), len(rarest))

    def threshold(self, alarm_rate: float) -> float:
        """The score above which a session is abnormal.

        By the extrapolated tail, -log(alarm_rate); more where so many normal sessions score higher that chance
        doesn't explain it.
        """
        may_exceed = most_expected(self.n_normal * alarm_rate)
        seen = float(self.largest[may_exceed]) if may_exceed < len(self.largest) else 0.0
        return max(float(-np.log(alarm_rate)), seen)

    def rarities(self, evidence: Mapping[str, Float64s]) -> Float64s:
        """Rarity of each kind of evidence, float64 (S, 4), nats."""
        return np.stack([self.tails[kind].rarity(evidence[kind]) for kind in EVIDENCE], axis=1)

    def score(self, evidence: Mapping[str, Float64s]) -> Float64s:
        """One normal session in exp(score) is at least this odd, float64 (S,)."""
        return self.combined.rarity(self.rarities(evidence).max(axis=1))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle."""
        return {
            "largest": self.largest.tolist(),
            "n_normal": self.n_normal,
            "combined": self.combined.to_json(),
            "tails": {kind: tail.to_json() for kind, tail in self.tails.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SessionScore:
        """The inverse of `to_json`."""
        tails = {kind: Tail.from_json(data["tails"][kind]) for kind in EVIDENCE}
        largest = np.asarray(data["largest"], dtype=np.float64)
        return cls(tails, Tail.from_json(data["combined"]), largest, int(data["n_normal"]))


def _fit_tail(values: Float64s, least_scale: float, clean_share: float) -> Tail:
    if clean_share < 1.0:
        return Tail.fit_contaminated(values, least_scale=least_scale, clean_share=clean_share)
    return Tail.fit(values, least_scale=least_scale)
