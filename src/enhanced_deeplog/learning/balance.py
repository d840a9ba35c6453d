"""Events that come equally often in normal sessions, and how rare it is that a session has more of one than the other.

What is opened is closed, what is sent is answered, and what each session does once comes as often as its end. Sessions
may differ in all else: where hardly two have the same counts, these still hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.learning.known_counts import distinct_counts

__all__ = ["LEAST_HAVING", "BalancedPairs"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_HAVING = 20  # sessions from which a pair is learnt
_LEAST_RARITY = float(np.log(20.0))  # more than one session in twenty breaks no rule
_MOST_PARTNERS = 8  # of an event: where ten come equally often, each of them need not be compared with all
_MOST_EVENTS = 1_000  # the most widespread ones: pairs are a matrix
_CELLS = 2**22  # numbers compared at once


@dataclass(frozen=True)
class BalancedPairs:
    """Pairs of events that come equally often in nearly all normal sessions that have either.

    Attributes:
        pairs: The events of each, the smaller first, int64 (P, 2).
        n_having: Normal sessions that have either, int64 (P,).
        n_unequal: Those of them that have more of one than of the other, int64 (P,).

    Source:
        Lou et al., USENIX ATC 2010 (Mining Invariants from Console Logs), which looks for linear relations of counts.
        That they are equal is the only relation here; how rare it is that one is broken is ours.

    Example:
        >>> usual = np.array([[0, 2, 2, n] for n in range(30)], dtype=float)  # (S, V)
        >>> whole = np.ones(30, dtype=bool)
        >>> balanced = BalancedPairs.of(usual, whole)
        >>> balanced.pairs.tolist(), balanced.imbalance(np.array([[0.0, 2, 1, 9]]), whole[:1]).round(1).tolist()
        ([[1, 2]], [3.5])
    """

    pairs: Int64s
    n_having: Int64s
    n_unequal: Int64s

    @classmethod
    def of(cls, counts: Float64s, has_end: Bools) -> BalancedPairs:
        """Learn them from normal sessions that have ended.

        Args:
            counts: float64 (S, V).
            has_end: Whether each has ended; what others lack may still come, bool (S,).
        """
        counts = counts[has_end]
        n_having_event = (counts > 0).sum(axis=0)
        widespread = np.argsort(-n_having_event, kind="stable")[:_MOST_EVENTS]
        events = np.sort(widespread[n_having_event[widespread] > 0])
        distinct, _, n_alike = distinct_counts(counts[:, events])
        n_both, n_equal = _together(distinct, n_alike)
        alone = np.diag(n_both)
        n_having = alone[:, None] + alone - n_both
        n_unequal = n_having - n_equal
        rarity = np.where(n_having >= LEAST_HAVING, _rarity(n_having, n_unequal), 0.0)
        np.fill_diagonal(rarity, 0.0)
        partners = np.argsort(-rarity, axis=1, kind="stable")[:, :_MOST_PARTNERS]
        chosen = np.zeros(rarity.shape, dtype=np.bool_)
        np.put_along_axis(chosen, partners, values=True, axis=1)
        one, other = np.nonzero(np.triu((chosen | chosen.T) & (rarity >= _LEAST_RARITY)))
        return cls(np.column_stack([events[one], events[other]]), n_having[one, other], n_unequal[one, other])

    @classmethod
    def fit(cls, counts: Float64s, has_end: Bools) -> tuple[BalancedPairs, Float64s]:
        """Learn them as `of` does, and judge each of these sessions, too.

        Returns:
            The pairs, and the imbalance of each session judged by all the others, float64 (S,).
        """
        balanced = cls.of(counts, has_end)
        return balanced, balanced._judge(counts, has_end, n_itself=1)

    def imbalance(self, counts: Float64s, has_end: Bools) -> Float64s:
        """How rare it is that a pair is broken which each session breaks, the rarest of them, nats, float64 (S,).

        Args:
            counts: float64 (S, V).
            has_end: Whether each has ended, bool (S,): the others break none, for what they lack may still come.
        """
        return self._judge(counts, has_end, n_itself=0)

    def broken(self, counts: Float64s) -> Int64s:
        """Which pairs one session breaks, counts float64 (V,): rows of `pairs`, the rarest first, int64 (B,)."""
        rows = np.flatnonzero(counts[self.pairs[:, 0]] != counts[self.pairs[:, 1]])
        return np.asarray(rows[np.argsort(-_rarity(self.n_having[rows], self.n_unequal[rows]), kind="stable")])

    def _judge(self, counts: Float64s, has_end: Bools, *, n_itself: int) -> Float64s:
        rarity = _rarity(self.n_having - n_itself, self.n_unequal - n_itself)
        rarest = np.zeros(len(counts))
        if not len(self.pairs):
            return rarest
        step = max(_CELLS // len(self.pairs), 1)
        for start in range(0, len(counts), step):
            some = counts[start : start + step]
            broken = some[:, self.pairs[:, 0]] != some[:, self.pairs[:, 1]]
            rarest[start : start + step] = np.where(broken, rarity, 0.0).max(axis=1)
        return np.where(has_end, rarest, 0.0)


def _together(distinct: Float64s, n_alike: Int64s) -> tuple[Int64s, Int64s]:
    """How many sessions have both of two events, and how many have as many of one as of the other, int64 (V, V) each.

    Args:
        distinct: Distinct counts, float64 (D, V).
        n_alike: How many sessions have each, int64 (D,).
    """
    from scipy import sparse  # fitting alone asks; of many events, few sessions have many

    rows, events = np.nonzero(distinct)
    often = distinct[rows, events]

    def n_with(chosen: Bools | slice) -> sparse.csr_array:
        has = sparse.csr_array((np.ones_like(rows[chosen]), (rows[chosen], events[chosen])), distinct.shape)
        return (has * n_alike[:, None]).T @ has

    equal = sum((n_with(often == n) for n in np.unique(often)), start=n_with(slice(0)))
    return n_with(slice(None)).toarray(), equal.toarray()


def _rarity(n_having: npt.NDArray[np.int64], n_unequal: npt.NDArray[np.int64]) -> Float64s:
    """-log of the share of sessions that break a pair, as one session more would have it, nats."""
    return np.asarray(-np.log((np.maximum(n_unequal, 0) + 1.0) / (n_having + 2.0)))
