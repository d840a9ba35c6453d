"""How rare it is that something is at least so large: counted as far as it was seen, and extrapolated beyond.

Some of the largest values are kept as they were seen; what is larger than all of them is taken to be rarer in
proportion. Values are logarithms, so that is a Pareto tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_SCALE", "N_LARGEST", "UsualMost", "largest_of", "rarity_of", "tail_scale", "usual_point"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

N_LARGEST = 24  # values kept
_LEAST_REACHED = 5  # values that must be as large before we say how rare that is
_TAIL_SHARE = 0.1  # of the values, that tell how it goes on beyond the largest
LEAST_SCALE = 0.1  # values that differ by a tenth are the same, nothing is rarer at once
_SHOWN_RARITY = float(np.log(1000.0))  # what is shown to people as usual


def largest_of(ordered: Float64s) -> tuple[Float64s, Float64s]:
    """The values that are kept, and how rare one at least so large is: equal ones counted, nats."""
    largest = ordered[len(ordered) - _n_reached(len(ordered))]
    return largest, np.log(len(ordered) / (len(ordered) - np.searchsorted(ordered, largest, side="left")))


def tail_scale(ordered: Float64s, n_beyond: int = 0) -> float:
    """Mean excess of the largest tenth: the inverse of the exponent of a Pareto tail.

    Args:
        ordered: Ascending, float64 (N,).
        n_beyond: So many of the last are larger than they are said to be: of those, only that they reach so far counts.

    Source:
        Epstein and Sobel, JASA 1953: the mean of an exponential of which the largest values are cut off.
    """
    n_tail = round(len(ordered) * _TAIL_SHARE)
    excess = float((ordered[-n_tail:] - ordered[-n_tail - 1]).sum())
    return max(excess / max(n_tail - n_beyond, 1), LEAST_SCALE)


def rarity_of(values: Float64s, largest: Float64s, rarity: Float64s, scale: float) -> Float64s:
    """How rare values at least so large are, nats: counted, and beyond the largest extrapolated.

    What is hardly larger than what was seen is hardly rarer, also where many values are equal.
    """
    n_smaller = np.searchsorted(largest, values, side="left")
    beyond = n_smaller == len(largest)
    below = np.maximum(n_smaller - 1, 0)
    risen = rarity[below] + (values - largest[below]) / np.where(beyond, scale, LEAST_SCALE)
    counted = rarity[np.minimum(n_smaller, len(largest) - 1)]
    return np.where(n_smaller == 0, 0.0, np.where(beyond, risen, np.minimum(counted, risen)))


def usual_point(n_values: int) -> tuple[int, float]:
    """Which of the kept values nearly all of so many don't pass, and what share of them is as large or larger."""
    reached = _n_reached(n_values)
    point = int(np.flatnonzero(reached >= n_values / np.exp(_SHOWN_RARITY))[-1])
    return point, float(reached[point]) / n_values


def _n_reached(n_values: int) -> Int64s:
    """How many of so many values are as large as each of those kept, int64 (N_LARGEST,): half of them, down to 5."""
    return np.geomspace(n_values // 2, _LEAST_REACHED, N_LARGEST).round().astype(np.int64)


@dataclass(frozen=True)
class UsualMost:
    """How much of something that adds up, lateness or oddness, events of normal sessions have.

    Attributes:
        drift: What an event may have, nats: mean + standard deviation.
        most: What the event of most normal sessions that has the most of it has at most, nats.
    """

    drift: float
    most: float

    @classmethod
    def fit(cls, values: Float64s, starts: Int64s, share: float) -> UsualMost:
        """Learn it from normal sessions that what judges them does not contain.

        Args:
            values: Of all their events, nats, float64 (M,).
            starts: Where each session begins, int64 (S + 1,).
            share: So many sessions are most of them.
        """
        of_each = np.maximum.reduceat(values, starts[:-1])
        return cls(float(values.mean() + values.std()), float(np.quantile(of_each, share)))
