"""What surprises, against the surprise that normal sessions have anyway."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["UsualSurprise", "accumulate", "rare_surprise"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UsualSurprise:
    """The surprise that events of normal sessions have.

    Attributes:
        drift: Surprise that an event may have, nats.
        by_event: Surprise of each event to one who knows how frequent it is and nothing else, nats, float64 (V,).
        misplacement_drift: Misplacement that an event may have, nats.
    """

    drift: float
    by_event: Float64s
    misplacement_drift: float

    @classmethod
    def fit(cls, surprise: Float64s, event_ids: Int64s, n_events: int) -> UsualSurprise:
        """Learn it from normal sessions that the network which scored them never saw.

        Args:
            surprise: Of all their events, nats, float64 (M,).
            event_ids: int64 (M,).
            n_events: Size of the vocabulary (V).
        """
        counts = np.bincount(event_ids, minlength=n_events) + 0.5  # nothing is impossible that merely was not seen
        by_event = -np.log(counts / counts.sum())
        misplacement = surprise - by_event[event_ids]
        return cls(_may_be(surprise), by_event, _may_be(misplacement))

    def misplacement(self, surprise: Float64s, event_ids: Int64s) -> Float64s:
        """How much less likely each event was where it came than anywhere: log p(event) - log p(event | window), nats.

        A rare but harmless record surprises wherever it comes, and is hardly misplaced; a frequent one in the wrong
        place is. The negative of the pointwise mutual information of window and event. An event that was never seen
        has some of it: the network, which spreads what is left over all events, finds it less likely still.

        Args:
            surprise: float64 (M,).
            event_ids: int64 (M,).

        Returns:
            float64 (M,); below 0 where the window made the event more likely.
        """
        return surprise - self.by_event[event_ids]


def _may_be(values: Float64s) -> float:
    return float(values.mean() + values.std())


def accumulate(values: Float64s, starts: Int64s, drift: float) -> Float64s:
    """The largest sum of what lies above `drift` over any stretch of each session.

    Several weak surprises in a row are odd where one of them is not.

    Args:
        values: Of all events, nats, float64 (M,).
        starts: Where each session begins, int64 (S + 1,).
        drift: What an event of a normal session may cost, nats.

    Returns:
        float64 (S,), nats.

    Source:
        Page, Biometrika 1954 (CUSUM).

    Example:
        >>> accumulate(np.array([0., 3., 3., 0., 9.]), np.array([0, 4, 5]), drift=1.0).tolist()
        [4.0, 8.0]
    """
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")
    current, best = np.zeros(len(lengths)), np.zeros(len(lengths))
    still_running = np.searchsorted(-lengths[order], -np.arange(int(lengths.max(initial=0))), side="left")
    for step, n_running in enumerate(still_running):  # one step of all sessions that are this long
        running = order[:n_running]
        current[running] = np.maximum(0.0, current[running] + values[starts[running] + step] - drift)
        best[running] = np.maximum(best[running], current[running])
    return best


_USUAL_RARITY = 3.0  # nats: what one session in twenty shows of an event is usual
_SAME = 0.05  # surprises that differ by less are the same, nats: so much do networks differ that learnt the same


def rare_surprise(surprise: Float64s, event_ids: Int64s, starts: Int64s, n_events: int) -> Float64s:
    """How rare it is among these sessions that events surprise as they do in one of them.

    Each event of the session is asked in what share of all sessions it was there and surprised as much; the rarity of
    that, -log of the share, adds up over the events as far as it is more than usual. An event that often surprises
    a lot, because several things go on at once and their order means nothing, then says little.

    Args:
        surprise: Of all events, nats, float64 (M,).
        event_ids: int64 (M,).
        starts: Where each session begins, int64 (S + 1,).
        n_events: Size of the vocabulary (V).

    Returns:
        float64 (S,), nats.

    Example:
        >>> starts = np.arange(101) * 2
        >>> event_ids = np.tile([3, 4], 100)
        >>> surprise = np.where(np.arange(200) == 11, 5.0, 1.0)
        >>> rare_surprise(surprise, event_ids, starts, 5).nonzero()[0].tolist()
        [5]
    """
    n_sessions = len(starts) - 1
    session = np.repeat(np.arange(n_sessions), np.diff(starts))
    # The largest surprise of each event in each session, by event and then by size.
    order = np.lexsort((-surprise, event_ids, session))
    first = np.flatnonzero(np.diff(session[order] * n_events + event_ids[order], prepend=-1))
    session, event_ids, surprise = session[order][first], event_ids[order][first], surprise[order][first]
    rare = np.zeros(n_sessions)
    for event in np.unique(event_ids):
        has = event_ids == event
        values = surprise[has]
        n_as_much = len(values) - np.searchsorted(np.sort(values), values - _SAME, side="left")
        rare[session[has]] += np.maximum(np.log(n_sessions / n_as_much) - _USUAL_RARITY, 0.0)
    return rare
