"""How far normal sessions are trusted to be normal."""

from __future__ import annotations

import numpy as np
import pytest

from enhanced_deeplog.detection import GIVEN_AS_NORMAL, calibrate
from enhanced_deeplog.learning.features import ScoredSessions

USUAL, ODD = [3, 4, 5], [3, 6, 6]


def as_scored(sessions: list[list[int]]) -> ScoredSessions:
    """Sessions whose order surprises nobody."""
    event_ids = np.concatenate([np.asarray(session, dtype=np.int64) for session in sessions])
    n = len(event_ids)
    return ScoredSessions(
        event_ids=event_ids,
        starts=np.cumsum([0, *map(len, sessions)]).astype(np.int64),
        surprise=np.full(n, 0.01),
        rank=np.ones(n, dtype=np.int64),
        unseen=np.zeros(n, dtype=np.bool_),
        hidden_state=np.zeros((1, 1), dtype=np.float32),
        pair=np.zeros(n, dtype=np.int64),
        is_open=np.zeros(len(sessions), dtype=np.bool_),
        keyed=np.ones(len(sessions), dtype=np.bool_),
        n_events=7,
    )


@pytest.mark.parametrize(("n_usual", "n_odd", "is_known"), [(2_000, 1, True), (20_000, 1, False), (20_000, 3, True)])
def test_the_more_normal_sessions_there_are_the_more_of_them_must_be_like_one_for_it_to_be_known(
    n_usual: int, n_odd: int, is_known: bool
) -> None:
    calibration = calibrate(as_scored([USUAL] * n_usual + [ODD] * n_odd), GIVEN_AS_NORMAL, seed=0)
    (novelty,) = calibration.evidence(as_scored([ODD]))["counts"]
    assert (novelty == 0.0) == is_known
