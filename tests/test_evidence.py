"""Which lines are shown of a session."""

from __future__ import annotations

import numpy as np

from enhanced_deeplog.detection import Calibration
from enhanced_deeplog.evidence import telling_places
from enhanced_deeplog.learning.balance import BalancedPairs
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.surprise import UsualSurprise

STEP, HARMLESS, RETRY, END = 3, 4, 5, 2


def session_of(events: list[tuple[int, float]]) -> ScoredSessions:
    event_ids, surprise = zip(*events, strict=True)
    n = len(events)
    return ScoredSessions(
        event_ids=np.array(event_ids),
        starts=np.array([0, n]),
        surprise=np.array(surprise),
        rank=np.ones(n, dtype=np.int64),
        unseen=np.zeros(n, dtype=np.bool_),
        hidden_state=np.zeros((1, 0), dtype=np.float32),
        pair=np.zeros(n, dtype=np.int64),
        is_open=np.array([False]),
        keyed=np.array([True]),
        n_events=6,
    )


UNBALANCED = BalancedPairs.of(np.zeros((0, 6)), np.zeros(0, dtype=np.bool_))


def calibration() -> Calibration:
    """Normal sessions: three steps and their end, one retry at most; a harmless record in one of 400 events."""
    normal = np.array([[0, 0, 1, 3, 0, 0], [0, 0, 1, 3, 1, 0], [0, 0, 1, 3, 0, 1]], dtype=np.float64)
    ones = np.ones(3, dtype=np.int64)
    by_event = np.array([9.0, 9.0, 1.4, 0.4, 6.0, 3.0])
    usual = UsualSurprise(drift=1.0, by_event=by_event, misplacement_drift=0.5)
    return Calibration(KnownCounts(normal, ones, normal, ones, np.full(6, 5.0), 1), UNBALANCED, usual, {})


def places(scored: ScoredSessions, *, n_most: int) -> list[int]:
    (excess,) = calibration().known.excess(scored.counts, scored.is_open)
    found, tells = telling_places(scored, 0, calibration(), excess, n_most=n_most)
    assert tells.all() or len(found) <= 3  # only to make up the least number is shown what tells nothing
    return found.tolist()


def test_a_misplaced_step_tells_more_than_a_rare_but_harmless_record() -> None:
    scored = session_of([(STEP, 0.1), (HARMLESS, 6.0), (STEP, 0.1), (STEP, 5.5), (END, 0.1)])
    assert places(scored, n_most=1) == [3]
    assert places(scored, n_most=10) == [0, 1, 3]  # at least three are shown


def test_what_there_is_too_much_of_tells_even_where_nothing_surprises() -> None:
    scored = session_of([(STEP, 0.1), (STEP, 0.1), (RETRY, 0.5), (RETRY, 0.1), (RETRY, 0.1), (STEP, 0.9), (END, 0.1)])
    assert places(scored, n_most=10) == [2, 3, 4]


def test_the_places_are_in_the_order_of_the_session_and_not_too_many() -> None:
    scored = session_of([(STEP, float(2 + i)) for i in range(8)] + [(END, 0.1)])
    assert places(scored, n_most=4) == [4, 5, 6, 7]
