"""How odd a session is: novelty and imbalance of its counts; surprise, misplacement and the like that add up; its end.

Each kind of evidence becomes a rarity among normal sessions. There are two views of a session, what it consists of and
how that goes together (what comes equally often, in which order); the view in which it is rarer speaks for it, and the
other may agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.learning.calibration import CleanPart, Tail, most_expected
from enhanced_deeplog.learning.values import HANDICAP

__all__ = ["EVERY_EVIDENCE", "EVIDENCE", "TIMING", "VALUES", "SessionScore"]

Float64s = npt.NDArray[np.float64]

EVIDENCE = ("counts", "balance", "surprise", "misplacement", "end")
TIMING = "timing"  # one kind more, where pauses are judged
VALUES = "values"  # another, where the numbers of records are judged
EVERY_EVIDENCE = (*EVIDENCE, TIMING, VALUES)
_LEAST_SCALE = 0.5  # differences smaller than this mean nothing: half a typical step of a count, half a nat

_N_LARGEST = 1000  # normal scores kept to check a threshold by


@dataclass(frozen=True)
class SessionScore:
    """From evidence to one score: -log of the share of normal sessions that are at least as odd.

    Attributes:
        tails: Rarity of each kind of evidence that counts.
        agreement: Share of the rarity of one view that is added to that of the other, rarer one.
        combined: Rarity of the two together.
        largest: The largest scores that normal sessions had, descending, float64 (at most 1000,).
        n_normal: How many normal sessions there were.
    """

    tails: Mapping[str, Tail]
    agreement: float
    combined: Tail
    largest: Float64s
    n_normal: int

    @classmethod
    def fit(
        cls, evidence: Mapping[str, Float64s], *, agreement: float = 0.0, clean: CleanPart | None = None
    ) -> SessionScore:
        """Calibrate on sessions that nothing that scores them has seen.

        Args:
            evidence: Each kind of it that counts, float64 (S,); "counts" is one of them.
            agreement: See the attribute.
            clean: Which of the values to trust; None where all sessions are known to be normal.
        """
        tails = {kind: _fit_tail(values, clean) for kind, values in evidence.items()}
        together = _together(_rarities(tails, evidence), agreement)
        combined = _fit_tail(together, clean)
        # Where abnormal sessions may be among them, the largest scores contradict nothing.
        scores = np.sort(combined.rarity(together))[::-1] if clean is None else np.zeros(0)
        return cls(tails, agreement, combined, scores[:_N_LARGEST].copy(), len(together))

    def raised_to(self, scores: Float64s) -> SessionScore:
        """The same, where the network that will judge has given these scores to sessions it learnt from.

        Networks that learnt almost the same still differ a little; where all normal sessions are much alike, a little
        is all there is. What the judging network says of its own sessions must raise no more alarms than are asked for.
        """
        own = np.sort(scores)[::-1][: len(self.largest)]
        return replace(self, largest=np.maximum(self.largest[: len(own)], own))

    def threshold(self, alarm_rate: float) -> float:
        """The score above which a session is abnormal.

        By the extrapolated tail, -log(alarm_rate); more where so many normal sessions score higher that chance
        doesn't explain it.
        """
        may_exceed = most_expected(self.n_normal * alarm_rate)
        seen = float(self.largest[may_exceed]) if may_exceed < len(self.largest) else 0.0
        return max(float(-np.log(alarm_rate)), seen)

    def alarm_interval(self, alarm_rate: float) -> tuple[float, float]:
        """Between which shares of normal sessions the alarms will lie, with 95 % confidence.

        By the extrapolated tail; where that was too thin and the threshold is higher, by counting who passes it
        (Garwood, Biometrika 1936: the exact interval of a Poisson count).
        """
        threshold = self.threshold(alarm_rate)
        if threshold <= -np.log(alarm_rate):
            return self.combined.interval(threshold)
        from scipy.stats import chi2  # fitting alone asks

        n_above = int((self.largest > threshold).sum())
        low = chi2.ppf(0.025, 2 * n_above) / 2 if n_above else 0.0
        return float(low / self.n_normal), float(chi2.ppf(0.975, 2 * n_above + 2) / 2 / self.n_normal)

    def rarities(self, evidence: Mapping[str, Float64s]) -> dict[str, Float64s]:
        """Rarity of each kind of evidence that counts, that of odd numbers less a handicap, nats, float64 (S,)."""
        return _rarities(self.tails, evidence)

    def score(self, evidence: Mapping[str, Float64s]) -> Float64s:
        """One normal session in exp(score) is at least this odd, float64 (S,)."""
        return self.combined.rarity(_together(self.rarities(evidence), self.agreement))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the bundle."""
        return {
            "largest": self.largest.tolist(),
            "n_normal": self.n_normal,
            "agreement": self.agreement,
            "combined": self.combined.to_json(),
            "tails": {kind: tail.to_json() for kind, tail in self.tails.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SessionScore:
        """The inverse of `to_json`."""
        kinds = [kind for kind in EVERY_EVIDENCE if kind in data["tails"]]
        tails = {kind: Tail.from_json(data["tails"][kind]) for kind in kinds}
        largest = np.asarray(data["largest"], dtype=np.float64)
        combined = Tail.from_json(data["combined"])
        return cls(tails, float(data["agreement"]), combined, largest, int(data["n_normal"]))


def _rarities(tails: Mapping[str, Tail], evidence: Mapping[str, Float64s]) -> dict[str, Float64s]:
    rarities = {kind: tail.rarity(evidence[kind]) for kind, tail in tails.items()}
    if VALUES in rarities:
        rarities[VALUES] = np.maximum(rarities[VALUES] - HANDICAP, 0.0)
    return rarities


def _together(rarities: Mapping[str, Float64s], agreement: float) -> Float64s:
    """The rarity of what a session consists of and of the order in which it came, together, nats, float64 (S,)."""
    content = rarities["counts"]
    order = np.max([rarity for kind, rarity in rarities.items() if kind != "counts"], axis=0)
    return np.asarray(np.maximum(content, order) + agreement * np.minimum(content, order))


def _fit_tail(values: Float64s, clean: CleanPart | None) -> Tail:
    if clean is not None:
        return Tail.fit_contaminated(values, clean, least_scale=_LEAST_SCALE)
    return Tail.fit(values, least_scale=_LEAST_SCALE)
