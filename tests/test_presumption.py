"""Which sessions of a log of unknown content are learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.severity import severe_events
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


def parsed(records: LogRecords) -> tuple[EnhancedDeepLog, Sessions]:
    model = EnhancedDeepLog(SMALL)
    (corpus,) = model._parse([records])
    return model, model._sessions(corpus, learn_pauses=True)


def presumed(lines: list[str], severe: tuple[str, ...] = ()) -> np.ndarray:
    model, sessions = parsed(LogRecords.from_lines(lines, format="sequences"))
    is_severe = np.isin(np.arange(len(model.vocabulary)), [model.vocabulary.event_ids[text] for text in severe])
    return presume_normal(sessions, is_severe, SMALL, workers=1, progress=lambda _stage, _share: None)


@pytest.mark.parametrize("n_odd", [1, 3])
def test_what_hardly_any_session_looks_like_is_left_out_even_if_two_or_three_are_alike(n_odd: int) -> None:
    lines = [f"s{i},{events}" for i, events in enumerate(USUAL + ODD * n_odd)]
    usual = presumed(lines)
    assert not usual[len(USUAL) :].any()
    assert usual[: len(USUAL)].mean() > 0.98


def test_what_many_sessions_look_like_is_kept() -> None:
    lines = [f"s{i},{events}" for i, events in enumerate(USUAL + ODD * 100)]
    assert presumed(lines).mean() > 0.98


def test_what_fails_is_left_out_even_if_many_sessions_fail_alike() -> None:
    failing = [f"s{i},{events}" for i, events in enumerate(USUAL[:340] + ODD * 60)]
    assert presumed(failing)[340:].all()
    assert not presumed(failing, severe=("7",))[340:].any()
    assert presumed(failing, severe=("7",))[:340].mean() > 0.98


def test_an_error_that_one_session_in_five_has_is_usual() -> None:
    lines = [f"s{i},{events}" for i, events in enumerate(USUAL[:300] + ODD * 100)]
    assert presumed(lines, severe=("7",)).mean() > 0.98


@pytest.mark.parametrize(
    ("line", "is_severe"),
    [
        ("2026-01-01 00:00:00 | ERROR | db | connection lost", True),
        ("2026-01-01 00:00:00 | CRITICAL | db | connection lost", True),
        ("2026-01-01 00:00:00 | WARN | db | connection failed", False),  # a level says more than a word
        ("connection failed", True),
        ("Traceback (most recent call last)", True),
        ("java.io.IOException: broken pipe", True),
        ("no error so far", False),
        ("connection opened", False),
        ("the queue unfailingly answers", False),
    ],
)
def test_an_event_is_severe_by_its_level_or_without_one_by_its_words(line: str, is_severe: bool) -> None:
    model, sessions = parsed(LogRecords.from_lines([line] * 3))
    severe = severe_events(sessions, model.vocabulary)
    assert severe[np.unique(sessions.records["event_id"])].tolist() == [is_severe]
    assert not severe[:3].any()


def test_of_too_few_sessions_all_are_kept() -> None:
    assert presumed([f"s{i},1 2 3" for i in range(5)] + ["odd,7 8 7 8"]).all()
