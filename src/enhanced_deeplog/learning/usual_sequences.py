"""Whole normal sessions as they mostly go: what an abnormal one is shown beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["UsualSequences"]

Int64s = npt.NDArray[np.int64]

_MOST_SEQUENCES = 500
_MOST_EVENTS = 50_000  # of all of them together


@dataclass(frozen=True)
class UsualSequences:
    """Distinct sequences of normal sessions, the most frequent first.

    Attributes:
        event_ids: Of all sequences one after another, int64 (M,).
        starts: Where each begins, int64 (K + 1,).
        n_alike: Sessions that went so, int64 (K,).

    Example:
        >>> usual = UsualSequences.fit(np.array([3, 4, 2, 3, 4, 2, 3, 5, 2]), np.array([0, 3, 6, 9]))
        >>> usual.n_alike.tolist(), usual.nearest(np.array([5, 5, 2])).tolist()
        ([2, 1], [3, 5, 2])
    """

    event_ids: Int64s
    starts: Int64s
    n_alike: Int64s

    @classmethod
    def fit(cls, event_ids: Int64s, starts: Int64s) -> UsualSequences:
        """Count sequences; of many, the most frequent are kept, of those as frequent the first.

        Args:
            event_ids: Of all normal sessions that were seen whole, int64 (M,).
            starts: Where each begins, int64 (S + 1,).
        """
        n_alike: dict[bytes, int] = {}
        for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            sequence = event_ids[begin:end].tobytes()
            n_alike[sequence] = n_alike.get(sequence, 0) + 1
        ranked = sorted(n_alike.items(), key=lambda one: -one[1])[:_MOST_SEQUENCES]
        kept: list[Int64s] = []
        n_events = 0
        for sequence, _ in ranked:
            events = np.frombuffer(sequence, dtype=np.int64)
            n_events += len(events)
            if kept and n_events > _MOST_EVENTS:
                break
            kept.append(events)
        return cls(
            np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64),
            np.concatenate([[0], np.cumsum([len(events) for events in kept])]).astype(np.int64),
            np.array([n for _, n in ranked[: len(kept)]], dtype=np.int64),
        )

    def __len__(self) -> int:
        """Number of sequences (K)."""
        return len(self.n_alike)

    def nearest(self, event_ids: Int64s) -> Int64s:
        """The sequence whose events are most like these, in whatever order; of two, the more frequent.

        Args:
            event_ids: Of one session, int64 (T,).

        Returns:
            int64 (U,); empty where no normal session was seen whole.
        """
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        n_events = int(max(self.event_ids.max(initial=0), event_ids.max(initial=0))) + 1
        counts = np.zeros((len(self), n_events))
        np.add.at(counts, (np.repeat(np.arange(len(self)), np.diff(self.starts)), self.event_ids), 1.0)
        distance = np.abs(counts - np.bincount(event_ids, minlength=n_events)).sum(axis=1)
        best = int(distance.argmin())
        return self.event_ids[self.starts[best] : self.starts[best + 1]]
