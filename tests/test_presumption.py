"""Which sessions of a log of unknown content are learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.presumption import presume_normal

SMALL = Config.of(
    {
        "learning": {"hidden_size": 16, "num_layers": 1, "learning_rate": 0.03, "epochs": 25},
        "classifier": {"epochs": 1},
    }
)
RNG = np.random.default_rng(0)
USUAL = [" ".join(["1 2 3"] * int(RNG.integers(1, 4)) + ["4"] * int(RNG.integers(0, 3)) + ["5"]) for _ in range(400)]
ODD = ["1 7 8 7 8 7 8 5"]


def presumed(lines: list[str]) -> np.ndarray:
    model = EnhancedDeepLog(SMALL)
    (corpus,) = model._parse([LogRecords.from_lines(lines, format="sequences")])
    sessions: Sessions = model._sessions(corpus, learn_pauses=True)
    return presume_normal(sessions, SMALL, len(model.vocabulary), workers=1, progress=lambda _stage, _share: None)


@pytest.mark.parametrize("n_odd", [1, 3])
def test_what_hardly_any_session_looks_like_is_left_out_even_if_two_or_three_are_alike(n_odd: int) -> None:
    lines = [f"s{i},{events}" for i, events in enumerate(USUAL + ODD * n_odd)]
    usual = presumed(lines)
    assert not usual[len(USUAL) :].any()
    assert usual[: len(USUAL)].mean() > 0.98


def test_what_many_sessions_look_like_is_kept() -> None:
    lines = [f"s{i},{events}" for i, events in enumerate(USUAL + ODD * 100)]
    assert presumed(lines).mean() > 0.98


def test_of_too_few_sessions_all_are_kept() -> None:
    assert presumed([f"s{i},1 2 3" for i in range(5)] + ["odd,7 8 7 8"]).all()
