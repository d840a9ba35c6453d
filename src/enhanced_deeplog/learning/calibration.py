"""Scores that mean something: how rare among normal sessions, how probable a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["N_QUANTILES", "CleanPart", "Tail", "expected_calibration_error", "fit_temperature", "most_expected"]

Float64s = npt.NDArray[np.float64]

N_QUANTILES = 257
_LEAST_REACHED = 5  # normal sessions that must have reached a value before it limits what is called rare
_HARDLY = 0.05  # two networks that learnt the same differ by so much in what they find surprising, nats
_TRIMMED = 0.1
_TRIMMED_VARIANCE = 1.25  # of a scale from a trimmed mean, over that from all values; 20,000 samples of 20 and of 56
# Mean of an exponential variable of scale 1 without its largest tenth.
_TRIMMED_MEAN = 1.0 - _TRIMMED / (1.0 - _TRIMMED) * float(np.log(1.0 / _TRIMMED))


@dataclass(frozen=True)
class CleanPart:
    """What a tail is fitted to where some of the largest values may not be those of normal sessions.

    Attributes:
        share: So many of the values, smallest first, are taken to be all that normal sessions have.
        start: Quantile of these at which the tail begins.
        end: Quantile of these up to which they tell how the tail goes on; nothing above it does.
    """

    share: float
    start: float
    end: float


@dataclass(frozen=True)
class Tail:
    """How rare a value is among those of normal sessions, beyond the largest one seen, too.

    Below `start`, rarity is counted; above it, values are taken to thin out exponentially, yet nothing is called
    rarer than it was seen to be.

    Attributes:
        quantiles: Evenly spaced quantiles of the values, float64 (257,).
        start: Where the tail begins.
        at_start: How rare that value itself is, counted, nats; less than the tail says where many are equal to it.
        share: Share of the values beyond `start`.
        scale: Mean excess of those over `start`, from all but the largest tenth.
        n_tail: How many they were.
        seen: Values that were reached or passed by so many as to be sure of it, descending, float64 (K,).
        seen_rarity: How rare each of these was, nats, float64 (K,).
    """

    quantiles: Float64s
    start: float
    at_start: float
    share: float
    scale: float
    n_tail: int
    seen: Float64s
    seen_rarity: Float64s

    @classmethod
    def fit(cls, values: Float64s, *, least_scale: float, tail_share: float = 0.01) -> Tail:
        """Fit the tail to the values of normal sessions.

        Args:
            values: float64 (S,).
            least_scale: The tail is never taken to be thinner than this: differences that small mean nothing.
            tail_share: Share of the values that make the tail; at least ten values, at most half of them.

        Source:
            Peaks over threshold with an exponential tail (Pickands, Annals of Statistics 1975, shape 0).
        """
        ordered = np.sort(values)
        n_tail = int(np.clip(round(len(ordered) * tail_share), min(10, len(ordered) // 2), len(ordered) // 2))
        start = float(ordered[-n_tail - 1])
        # Without its largest tenth: a few sessions unlike all others must not hide what is merely rare.
        n_used = int(np.ceil(n_tail * (1.0 - _TRIMMED)))
        mean_excess = float(ordered[-n_tail:][:n_used].mean()) - start
        scale = max(mean_excess / _TRIMMED_MEAN, least_scale)
        # Of the largest values, those that at least five reached; at most 64 of them, evenly spaced by rarity.
        n_reached = np.unique(np.geomspace(min(_LEAST_REACHED, n_tail), n_tail, 64).astype(np.int64))
        seen, seen_rarity = ordered[-n_reached], -np.log(n_reached / len(ordered))
        at_start = _counted(ordered, start)
        return cls(_quantiles(ordered), start, at_start, n_tail / len(ordered), scale, n_tail, seen, seen_rarity)

    @classmethod
    def fit_contaminated(cls, values: Float64s, clean: CleanPart, *, least_scale: float) -> Tail:
        """Fit the tail where some of the largest values are not those of normal sessions.

        The scale follows from two quantiles below the contamination, and from nothing above it.

        Args:
            values: float64 (S,).
            clean: Which of them to trust.
            least_scale: As for `fit`.
        """
        ordered = np.sort(values)
        ordered = ordered[: max(int(np.ceil(len(ordered) * clean.share)), 2)]
        start, end = (float(q) for q in np.quantile(ordered, [clean.start, clean.end]))
        beyond = 1.0 - clean.start
        scale = max((end - start) / float(np.log(beyond / (1.0 - clean.end))), least_scale)
        n_tail, at_start, nothing = max(int(len(ordered) * beyond), 1), _counted(ordered, start), np.zeros(0)
        return cls(_quantiles(ordered), start, at_start, beyond, scale, n_tail, nothing, nothing)

    def rarity(self, values: Float64s) -> Float64s:
        """-log of the share of normal sessions with at least this value, nats, float64 (S,)."""
        place = np.searchsorted(self.quantiles, values, side="left") / (len(self.quantiles) - 1)
        counted = -np.log(np.clip(1.0 - place, self.share, 1.0))
        extrapolated = -np.log(self.share) + (values - self.start) / self.scale
        for value, rarity in zip(self.seen, self.seen_rarity, strict=True):
            extrapolated = np.minimum(extrapolated, rarity + np.maximum(values - value, 0.0) / self.scale)
        # Where many values are equal to the start, what is hardly more must not be rare at once.
        hardly_more = self.at_start + np.maximum(values - self.start, 0.0) / _HARDLY
        return np.minimum(np.where(values > self.start, extrapolated, counted), hardly_more)

    def interval(self, rarity: float) -> tuple[float, float]:
        """Between which shares of normal sessions that rarity lies, with 95 % confidence.

        From the standard errors of the share beyond `start` and of the mean excess.
        """
        beyond = max(rarity + np.log(self.share), 0.0)
        spread = 1.96 * np.sqrt((1.0 + _TRIMMED_VARIANCE * beyond**2) / self.n_tail)
        return float(np.exp(-rarity - spread)), float(min(np.exp(-rarity + spread), 1.0))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle."""
        return {
            "quantiles": self.quantiles.tolist(),
            "start": self.start,
            "at_start": self.at_start,
            "share": self.share,
            "scale": self.scale,
            "n_tail": self.n_tail,
            "seen": self.seen.tolist(),
            "seen_rarity": self.seen_rarity.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tail:
        """The inverse of `to_json`."""
        quantiles = np.asarray(data["quantiles"], dtype=np.float64)
        seen, seen_rarity = (np.asarray(data[name], dtype=np.float64) for name in ("seen", "seen_rarity"))
        start, at_start, share, scale = (float(data[name]) for name in ("start", "at_start", "share", "scale"))
        return cls(quantiles, start, at_start, share, scale, int(data["n_tail"]), seen, seen_rarity)


def _counted(ordered: Float64s, value: float) -> float:
    """-log of the share of the ordered values that are at least this large, nats."""
    n_reached = len(ordered) - int(np.searchsorted(ordered, value, side="left"))
    return float(np.log(len(ordered) / n_reached))


def _quantiles(ordered: Float64s) -> Float64s:
    return np.quantile(ordered, np.linspace(0.0, 1.0, N_QUANTILES))


def most_expected(mean: float, confidence: float = 0.975) -> int:
    """How many of something rare may well happen where `mean` are expected: a quantile of the Poisson distribution.

    Example:
        >>> most_expected(2.8)
        6
    """
    counts = np.arange(int(mean + 10.0 * np.sqrt(mean)) + 20)
    # In logarithms: exp(-mean) itself is 0 from a mean of 746 on.
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    chances = np.exp(counts * np.log(mean) - mean - factorials)
    return int(np.searchsorted(np.cumsum(chances), confidence))


def fit_temperature(logits: npt.NDArray[Any], classes: npt.NDArray[np.int64]) -> float:
    """The temperature at which probabilities of held-out examples are most likely.

    Args:
        logits: float (N, C).
        classes: The true class of each, int64 (N,).

    Returns:
        The temperature, within [.05, 20].

    Source:
        Guo et al., ICML 2017 (On Calibration of Modern Neural Networks), section 4.2.
    """
    candidates = np.geomspace(0.05, 20.0, 200)
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    own = shifted[np.arange(len(classes)), classes]
    losses = [float((np.log(np.exp(shifted / t).sum(axis=1)) - own / t).mean()) for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def reliability(confidence: Float64s, correct: npt.NDArray[np.bool_], n_bins: int) -> list[tuple[float, float, int]]:
    """Of answers in groups of like confidence: mean confidence, share that is right, and how many.

    Example:
        >>> reliability(np.array([.5, .9, .5, .9]), np.array([True, True, False, True]), 2)
        [(0.5, 0.5, 2), (0.9, 1.0, 2)]
    """
    groups = [rows for rows in np.array_split(np.argsort(confidence, kind="stable"), n_bins) if len(rows)]
    return [(float(confidence[rows].mean()), float(correct[rows].mean()), len(rows)) for rows in groups]


def expected_calibration_error(confidence: Float64s, correct: npt.NDArray[np.bool_], n_bins: int = 15) -> float:
    """Mean gap between confidence and share of right answers, over bins of equal mass.

    Example:
        >>> round(expected_calibration_error(np.array([.9, .9, .6, .6]), np.array([True, True, True, False]), 2), 2)
        0.1
    """
    return sum(abs(sure - right) * n for sure, right, n in reliability(confidence, correct, n_bins)) / len(confidence)
