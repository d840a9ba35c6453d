"""How long normal sessions pause before each event, and how late an event of another session comes.

A step is a pair of events that follow one another. Its usual pauses are kept as they were seen; what takes longer than
all of them is taken to be rarer in proportion to the logarithm of the pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import PADDING
from enhanced_deeplog.learning.groups import groups_of
from enhanced_deeplog.learning.upper_tail import N_LARGEST, largest_of, rarity_of, tail_scale, usual_point

__all__ = ["LEAST_PAUSES", "UsualPauses"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

LEAST_PAUSES = 100  # of a step that is judged by itself
_WIDE = 1 << 32  # more than there are events


@dataclass(frozen=True)
class UsualPauses:
    """The pauses of normal sessions, by step.

    Attributes:
        resolution_s: The shortest pause above 0 that the clock showed, s.
        steps: The event before a pause and the one after it, ascending, int64 (K, 2); `PADDING` stands for any. The
            first row is any step; there is none where there were too few pauses to say anything.
        n_pauses: How many pauses each step had, int64 (K,).
        longest: Some of its longest pauses, from the median on, as log(pause + resolution), ascending,
            float64 (K, N_LARGEST).
        rarity: -log of the share of its pauses that are at least so long, float64 (K, N_LARGEST).
        scale: Beyond the longest of these, rarity rises by 1 for so much in the logarithm, float64 (K,).
    """

    resolution_s: float
    steps: Int64s
    n_pauses: Int64s
    longest: Float64s
    rarity: Float64s
    scale: Float64s

    @classmethod
    def fit(cls, pauses: Float64s, before: Int64s, event_ids: Int64s) -> UsualPauses:
        """Learn the pauses of each step; those of steps that are too rare by event, and those of the rest as one.

        Args:
            pauses: Before each event of normal sessions, s, NaN where there is none, float64 (M,).
            before: The event before each, int64 (M,).
            event_ids: int64 (M,).

        Source:
            Du et al., CCS 2017 (DeepLog), section 3.2, judges the time between events by a second LSTM for each
            template and a normal distribution of its errors. Quantiles by step with a Pareto tail are ours.
        """
        timed = ~np.isnan(pauses)
        pauses, before, event_ids = np.maximum(pauses[timed], 0.0), before[timed], event_ids[timed]
        resolution_s = float(pauses[pauses > 0].min(initial=np.inf))
        resolution_s = resolution_s if np.isfinite(resolution_s) else 1.0
        elapsed = np.log(pauses + resolution_s)
        found = sorted(_by_step(elapsed, before, event_ids), key=lambda step: step[0])
        points = [largest_of(ordered) for _, ordered in found]
        codes = np.array([code for code, _ in found], dtype=np.int64)
        return cls(
            resolution_s,
            np.stack([codes // _WIDE, codes % _WIDE], axis=1),
            np.array([len(ordered) for _, ordered in found], dtype=np.int64),
            np.array([longest for longest, _ in points]).reshape(-1, N_LARGEST),
            np.array([rarity for _, rarity in points]).reshape(-1, N_LARGEST),
            np.array([tail_scale(ordered) for _, ordered in found]),
        )

    def lateness(self, pauses: Float64s, before: Int64s, event_ids: Int64s) -> Float64s:
        """How rare it is among normal sessions that a step takes at least so long; 0 for its faster half.

        A clock that shows whole seconds says 1 s of what may have taken much less, so a pause counts as the shortest
        that it may have been. A clock that was set back makes a pause of 0.

        Args:
            pauses: Before each event, s, NaN where there is none, float64 (M,).
            before: The event before each, int64 (M,).
            event_ids: int64 (M,).

        Returns:
            nats, float64 (M,); 0 where there is no pause.
        """
        late = np.zeros(len(pauses))
        timed = np.flatnonzero(~np.isnan(pauses))
        if not len(self.steps) or not len(timed):
            return late
        at_least = np.maximum(pauses[timed] - self.resolution_s, 0.0)
        elapsed = np.log(at_least + self.resolution_s)
        for row, members in groups_of(self.rows(before[timed], event_ids[timed])):
            late[timed[members]] = rarity_of(elapsed[members], self.longest[row], self.rarity[row], self.scale[row])
        return late

    def rows(self, before: Int64s, event_ids: Int64s) -> Int64s:
        """The row of `steps` by which each step is judged, int64 (M,): its own, that of its event, that of any."""
        known = _codes(self.steps[:, 0], self.steps[:, 1])
        any_event = np.full(len(event_ids), PADDING)
        of_event = _place(known, _codes(any_event, event_ids), otherwise=np.zeros(len(event_ids), dtype=np.int64))
        return _place(known, _codes(before, event_ids), otherwise=of_event)

    def median_s(self, before: Int64s, event_ids: Int64s) -> Float64s:
        """How long half of the normal pauses of each step take at most, s, float64 (M,); 0 where nothing is known."""
        if not len(self.steps):
            return np.zeros(len(event_ids))
        median = np.exp(self.longest[self.rows(before, event_ids), 0]) - self.resolution_s
        return np.asarray(np.maximum(median, 0.0), dtype=np.float64)

    def usual_s(self, before: int, event_id: int) -> tuple[float, float]:
        """How long nearly all normal pauses of a step take at most, s, and which share of them that is."""
        (row,) = self.rows(np.array([before]), np.array([event_id]))
        point, share_above = usual_point(int(self.n_pauses[row]))
        return float(np.exp(self.longest[row, point]) - self.resolution_s), 1.0 - share_above


def _codes(before: Int64s, event_ids: Int64s) -> Int64s:
    return before * _WIDE + event_ids


def _place(known: Int64s, codes: Int64s, *, otherwise: Int64s) -> Int64s:
    """Where each code is among the known ones, which ascend."""
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, place, otherwise)


def _by_step(elapsed: Float64s, before: Int64s, event_ids: Int64s) -> Iterator[tuple[int, Float64s]]:
    """The pauses of each row of steps, ascending: each pause in one row, that by which it would be judged.

    So rare steps, which often are slow ones, are compared with one another and not with what is usual elsewhere.
    """
    left = np.arange(len(elapsed))
    any_event = np.full(len(elapsed), PADDING)
    for codes in (_codes(before, event_ids), _codes(any_event, event_ids)):
        rows = [(code, left[members]) for code, members in groups_of(codes[left])]
        enough = [(code, members) for code, members in rows if len(members) >= LEAST_PAUSES]
        yield from ((code, np.sort(elapsed[members])) for code, members in enough)
        left = np.setdiff1d(left, np.concatenate([members for _, members in enough])) if enough else left
    rest = elapsed[left] if len(left) >= LEAST_PAUSES else elapsed
    if len(rest) >= LEAST_PAUSES:
        yield _codes(any_event[:1], any_event[:1])[0], np.sort(rest)
