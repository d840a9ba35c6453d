"""Sessions to distinct windows: the one place a frame becomes arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.errors import SessionError
from enhanced_deeplog.events import PADDING

__all__ = ["DistinctWindows", "distinct_windows", "make_windows", "session_windows"]

Int64s = npt.NDArray[np.int64]


def make_windows(event_ids: Int64s, window_size: int) -> tuple[Int64s, Int64s]:
    """Pair every event of one session with the window of events before it.

    A session of T events gives T windows, so each event is judged exactly once.

    Args:
        event_ids: Events of one session in time order, int64 (T,).
        window_size: Number of past events the model sees (h in DeepLog).

    Returns:
        windows: int64 (T, window_size), left-padded with `PADDING`.
        next_events: int64 (T,); `next_events[t]` is what followed `windows[t]`.

    Raises:
        SessionError: If the session is empty or already contains `PADDING`.

    Source:
        Du et al., CCS 2017 (DeepLog), section 3. The left padding is ours.

    Example:
        >>> windows, next_events = make_windows(np.array([5, 7, 5]), window_size=2)
        >>> windows.tolist()
        [[0, 0], [0, 5], [5, 7]]
        >>> next_events.tolist()
        [5, 7, 5]
    """
    event_ids = np.asarray(event_ids, dtype=np.int64)
    if not len(event_ids):
        raise SessionError("Expected a session of at least one event; an empty one came.")
    if (event_ids == PADDING).any():
        raise SessionError(f"Event id {PADDING} is PADDING and can't be an event; a session contains it.")
    return session_windows(event_ids, np.zeros(len(event_ids), dtype=np.int64), window_size), event_ids


def session_windows(event_ids: Int64s, context_starts: Int64s, window_size: int) -> Int64s:
    """Windows of many sessions at once.

    Args:
        event_ids: Events of all sessions one after another, int64 (N,).
        context_starts: For each event, where the past it may see begins, int64 (N,).
        window_size: Number of past events the model sees (W).

    Returns:
        int64 (N, W), left-padded with `PADDING`.

    Example:
        >>> session_windows(np.array([5, 7, 5, 9]), np.array([0, 0, 2, 2]), window_size=2).tolist()
        [[0, 0], [0, 5], [0, 0], [0, 5]]
    """
    past = np.arange(len(event_ids))[:, None] + np.arange(-window_size, 0)  # (N, W)
    return np.where(past >= context_starts[:, None], event_ids[np.maximum(past, 0)], PADDING)


@dataclass(frozen=True)
class DistinctWindows:
    """Each distinct pair of a window and its next event once: the network sees it once, too.

    Attributes:
        windows: int64 (N, W).
        next_events: int64 (N,).
        counts: How often each pair occurred, int64 (N,).
        inverse: For each event of the input, its pair, int64 (M,).
        keys: Each pair as bytes, which sort as the pairs do, void (N,).
    """

    windows: Int64s
    next_events: Int64s
    counts: Int64s
    inverse: Int64s
    keys: npt.NDArray[np.void]


def distinct_windows(windows: Int64s, next_events: Int64s) -> DistinctWindows:
    """Find the distinct pairs of window and next event.

    The order of the result depends on the set of pairs alone, not on the order they came in.

    Args:
        windows: int64 (M, W).
        next_events: int64 (M,).

    Example:
        >>> found = distinct_windows(np.array([[0, 5], [0, 5], [5, 5]]), np.array([5, 5, 2]))
        >>> found.counts.tolist(), found.inverse.tolist()
        ([2, 1], [0, 0, 1])
    """
    pairs = np.ascontiguousarray(np.column_stack([windows, next_events]).astype(np.int32))
    # Sorting rows as bytes is several times faster than numpy's unique(axis=0); big-endian bytes sort as numbers do.
    keys = pairs.astype(">i4").view(np.dtype((np.void, pairs.shape[1] * 4))).ravel()
    keys, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    found = pairs[first].astype(np.int64)
    return DistinctWindows(found[:, :-1], found[:, -1], counts.astype(np.int64), inverse.astype(np.int64), keys)
