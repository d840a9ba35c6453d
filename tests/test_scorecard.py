"""The scorecard: damage is what its name says, and the share that is found is told as it is."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli_logs import fitted_once
from conftest import sequences_of, small_config
from enhanced_deeplog import EnhancedDeepLog, load_bundle
from enhanced_deeplog.cli.learnt import learnt_screen
from enhanced_deeplog.events import END
from enhanced_deeplog.scorecard import DAMAGES, damage
from test_cli import SMALL, run

events = st.lists(st.integers(3, 6), min_size=4, max_size=20).map(np.array)


def damaged(kind: str, session: np.ndarray, seed: int) -> list[int]:
    return DAMAGES[kind](session, np.arange(3, 10), np.random.default_rng(seed)).tolist()


@given(events, st.integers(0, 99))
def test_each_damage_is_what_its_name_says(session: np.ndarray, seed: int) -> None:
    before = session.tolist()
    early = damaged("early end", session, seed)
    assert early == before[: len(early)]
    assert 0 < len(early) < len(before)

    missing = damaged("missing step", session, seed)
    assert len(missing) == len(before) - 1
    assert any(missing == before[:i] + before[i + 1 :] for i in range(len(before)))

    swapped = damaged("swapped steps", session, seed)
    assert sorted(swapped) == sorted(before)
    assert sum(a != b for a, b in zip(swapped, before, strict=True)) == (2 if len(set(before)) > 1 else 0)

    repeated = damaged("repetition", session, seed)
    assert 5 <= len(repeated) - len(before) <= 10
    (more,) = {event for event in before if repeated.count(event) > before.count(event)}
    assert repeated.count(more) - before.count(more) == len(repeated) - len(before)

    foreign = damaged("foreign event", session, seed)
    (one,) = set(foreign) - set(before)
    assert foreign.count(one) == 1


def test_damage_changes_no_original_and_closes_each_copy_with_its_end() -> None:
    model = EnhancedDeepLog(small_config())
    (corpus,) = model._parse([sequences_of([f"s{i},1 2 3 4" for i in range(30)])])
    sessions = model._sessions(corpus)
    before = sessions.event_ids.copy()
    made, differs = damage(sessions, np.arange(5), "repetition", np.array([3]), np.random.default_rng(0))
    assert (sessions.event_ids == before).all()
    assert len(made) == 5
    assert differs.all()
    assert (made.event_ids[made.starts[1:] - 1] == END).all()


@pytest.fixture(scope="module")
def strict() -> EnhancedDeepLog:
    """Sessions of one shape: whatever is changed in them shows."""
    rng = np.random.default_rng(0)
    lines = [f"s{i},1 2 {'3 4 ' * int(rng.integers(1, 3))}5 {6 + i % 2}" for i in range(300)]
    return EnhancedDeepLog(small_config(learning={"epochs": 25})).fit(normal=sequences_of(lines), workers=1)


def test_where_sessions_are_all_of_one_shape_damage_is_found(strict: EnhancedDeepLog) -> None:
    found = {one.damage: one.share for one in strict.detection.scorecard}
    assert set(found) == set(DAMAGES)
    assert min(found.values()) > 0.7, found


def test_where_anything_may_end_anywhere_the_scorecard_says_that_an_early_end_is_not_seen() -> None:
    rng = np.random.default_rng(0)
    lines = [f"s{i},{' '.join(map(str, rng.integers(1, 9, rng.integers(4, 30))))}" for i in range(300)]
    model = EnhancedDeepLog(small_config()).fit(normal=sequences_of(lines), workers=1)
    found = {one.damage: one.share for one in model.detection.scorecard}
    assert found["early end"] < 0.1
    assert found["swapped steps"] < 0.1


def test_without_normal_logs_fit_says_how_many_alarms_there_are_in_all() -> None:
    model = load_bundle(fitted_once().bundle)
    console = Console(record=True, width=300, file=io.StringIO())
    console.print(*learnt_screen(model.summary, model.classes))
    n_abnormal, n_sessions = model.summary["n_abnormal"], model.summary["n_sessions"]
    assert f"{n_abnormal} of the {n_sessions} sessions of this log" in console.export_text()


def test_fit_shows_the_scorecard_and_the_alarms_to_expect_a_day(tmp_path: object) -> None:
    lines = [
        f"2024-03-01 08:{i // 60:02d}:{i % 60:02d},000 | INFO | shop | [req-{i:012x}] {text}"
        for i in range(400)
        for text in ("accepted", "stored", "answered")
    ]
    words = ("fit", "--normal", "-", *SMALL)
    result = run(*words, "--bundle", f"{tmp_path}/one", input="\n".join(lines))
    assert result.exit_code == 0, result.stderr
    assert "Does it work here" in result.stdout
    assert "missing step" in result.stdout
    assert "at the rate of this log" in result.stdout
    assert "all alarms" not in result.stdout
    told = json.loads(run(*words, "--bundle", f"{tmp_path}/two", "--json", input="\n".join(lines)).stdout)
    assert {row["damage"] for row in told["scorecard"]} <= set(DAMAGES)
    assert told["sessions_a_day"] == pytest.approx(86_400, rel=0.02)
