"""Baselines and peers: each finds what it is made to find, and learns from training sessions alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from enhanced_deeplog.evaluation.peers import PEERS, PeerInput

USUAL = np.tile([3, 4, 5, 6], 4)
ODD = {
    "new event": np.append(USUAL, 9),
    "2-gram": np.tile([3, 5, 4, 6], 4),
    "count vector": np.append(USUAL, 3),
    "length": np.tile([3, 4, 5, 6], 20),
    "PCA": np.concatenate([USUAL, [9] * 10]),
    "isolation forest": np.array([3] * 40),
    "DeepLog": np.tile([3, 3, 9, 6], 4),
}


def given(judged: list[np.ndarray]) -> PeerInput:
    rng = np.random.default_rng(0)
    # Usual sessions repeat the pattern three to five times.
    training = [np.tile([3, 4, 5, 6], rng.integers(3, 6)) for _ in range(200)]
    return PeerInput(training, judged, n_events=12, alarm_rate=0.01, seed=0)


@pytest.mark.parametrize("name", [name for name in PEERS if name in ODD])
def test_a_peer_finds_what_it_is_made_for_and_leaves_the_usual_alone(name: str) -> None:
    told = PEERS[name](given([ODD[name], USUAL]))
    # With ten events no rank is above 9; and a forest can't tell what lies beyond its training from its edge.
    if name in ("DeepLog", "isolation forest"):
        assert told.scores[0] > told.scores[1]
    else:
        assert told.found.tolist() == [True, False]


def test_every_peer_says_something_of_every_session() -> None:
    sessions = [USUAL, ODD["2-gram"], np.array([3]), np.array([9])]
    for peer in PEERS.values():
        told = peer(given(sessions))
        assert told.scores.shape == told.found.shape == (4,)
        assert np.isfinite(told.scores).all()


def test_all_positive_flags_everything() -> None:
    assert PEERS["all positive"](given([USUAL, USUAL])).found.all()


def test_deeplog_never_flags_a_session_too_short_for_a_window() -> None:
    assert not PEERS["DeepLog"](given([np.array([9] * 10)])).found[0]


def test_what_else_is_judged_changes_no_verdict() -> None:
    for name, peer in PEERS.items():
        one = peer(given([USUAL, ODD["count vector"]]))
        more = peer(replace(given([USUAL, ODD["count vector"]]), judged=[USUAL, ODD["count vector"], ODD["PCA"]]))
        assert more.scores[:2].tolist() == one.scores.tolist(), name
