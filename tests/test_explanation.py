"""What people are told: patterns, reasons, names, advice."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enhanced_deeplog.explanation import (
    advice_for,
    class_key,
    class_name,
    pattern_of,
    reasons_of,
    severity_of,
    telling_events,
)
from enhanced_deeplog.findings import Pattern

PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
DRIFT = 1.0


def pattern(
    events: list[int],
    surprise: list[float],
    *,
    unseen: tuple[int, ...] = (),
    ended_early: bool = False,
    counts_share: float = 0.0,
) -> Pattern:
    return pattern_of(
        np.array(events),
        np.array(surprise),
        np.isin(events, unseen),
        ended_early=ended_early,
        drift=DRIFT,
        counts_share=counts_share,
    )


# --- How a session deviates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("early_end", pattern([3, 4, 2], [0, 0, 9], ended_early=True)),
        ("repetition", pattern([3, 7, 7, 7, 7, 4], [0, 3, 3, 3, 3, 0])),
        ("severe_break", pattern([3, 9, 8, 7, 6], [0, 5, 5, 5, 5])),
        ("rare_event", pattern([3, 4, 99, 5, 6, 3, 4, 5], [0, 0, 9, 0, 0, 0, 0, 0], unseen=(99,))),
        ("volume", pattern([3, 4, 5], [0, 0, 0], counts_share=0.9)),
        ("slight_deviation", pattern([3, 5, 4], [0, 2, 0], counts_share=0.5)),
    ],
)
def test_a_deviation_has_one_pattern(expected: Pattern, found: Pattern) -> None:
    assert found == expected


def test_three_times_the_same_is_no_repetition_yet() -> None:
    assert pattern([3, 7, 7, 7, 4, 3, 4, 3, 4, 3, 4, 3, 4], [0, 3, 3, 3, *[0] * 9]) == "slight_deviation"


# --- Reasons ------------------------------------------------------------------------------------------------

nats = st.floats(0, 20)


@given(
    st.lists(nats, min_size=5, max_size=5),
    st.lists(st.tuples(nats, st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(-3, 3), st.booleans()), min_size=3, max_size=3),
)
def test_reasons_are_shares_of_the_score(
    rarities: list[float], events: list[tuple[float, bool, bool]], excess: list[tuple[float, bool]]
) -> None:
    surprise, unseen, is_end = (np.array(column) for column in zip(*events, strict=True))
    unseen &= ~is_end  # the end is always known
    weight = np.maximum(surprise - DRIFT, 0).sum()
    size = sum(abs(e) for e, _ in excess)
    reasons = reasons_of(
        np.array(rarities),
        surprise,
        unseen,
        is_end,
        np.array([e for e, _ in excess]),
        np.array([u for _, u in excess]),
        drift=DRIFT,
    )
    assert list(reasons) == ["new_template", "sequence", "counts", "early_end", "timing"]
    assert all(0 <= share <= 1 for share in reasons.values())
    assert weight < 1e-9 or size < 1e-9 or sum(reasons.values()) == pytest.approx(1.0, abs=1e-5)


def reasons(
    rarities: list[float], surprise: list[float], unseen: list[bool], **arrays: list[float]
) -> dict[str, float]:
    return reasons_of(
        np.array(rarities),
        np.array(surprise),
        np.array(unseen),
        np.array(arrays.get("is_end", [False] * len(surprise)), dtype=bool),
        np.array(arrays.get("excess", [0.0, 2.0])),
        np.array([True, False]),
        drift=DRIFT,
    )


def test_a_new_template_is_the_reason_where_it_carries_the_surprise() -> None:
    found = reasons([0.0, 0.0, 9.0, 9.0, 0.0], [0.5, 9.0], [False, True])
    assert found == {"new_template": 1.0, "sequence": 0.0, "counts": 0.0, "early_end": 0.0, "timing": 0.0}


def test_counts_of_known_events_are_a_reason_of_their_own() -> None:
    assert reasons([9.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5], [False, False])["counts"] == 1.0
    assert reasons([0.0, 9.0, 0.0, 0.0, 0.0], [0.5, 0.5], [False, False])["counts"] == 1.0
    of_new = reasons([9.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5], [False, False], excess=[2.0, 0.0])
    assert of_new["new_template"] == 1.0


def test_an_end_that_comes_too_early_is_a_reason() -> None:
    found = reasons([3.0, 0.0, 9.0, 9.0, 9.0], [0.5, 9.0], [False, False], is_end=[0, 1])
    assert found["early_end"] == pytest.approx(0.75)
    assert found["counts"] == pytest.approx(0.25)


def test_a_usual_session_has_reasons_too() -> None:
    assert sum(reasons([0.0, 0.0, 0.0, 0.0, 0.0], [0.1], [False], excess=[0.0, 0.0]).values()) <= 1.0


# --- Severity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "score", "severity"),
    [
        (["INFO", "FATAL", "ERROR"], 8, "critical"),
        (["info", "error"], 8, "high"),
        (["WARN", None], 8, "medium"),
        (["INFO"], 15, "medium"),
        (["INFO"], 14, "low"),
        ([], 8, "low"),
    ],
)
def test_severity_is_the_worst_level_shown_else_how_rare_it_is(
    levels: list[str | None], score: float, severity: str
) -> None:
    assert severity_of(levels, score, 7.0) == severity


# --- Classes ------------------------------------------------------------------------------------------------


def test_what_tells_a_class_is_surprising_in_it_and_in_few_others() -> None:
    profiles = np.array([[0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.49, 0.01]])
    first, second = telling_events(profiles)
    assert [event for event, _ in first] == [1, 0]
    assert [event for event, _ in second] == [2, 0]
    assert second[0] == (2, pytest.approx(0.49))


def test_at_most_three_events_tell_a_class() -> None:
    (events,) = telling_events(np.full((1, 10), 0.1))
    assert len(events) == 3


def test_a_class_is_named_after_its_pattern_and_templates() -> None:
    assert class_name("early_end", ["<END>"]) == "ends too early"
    assert class_name("early_end", ["<END>", "irrelevant"]) == "ends too early"
    assert class_name("rare_event", ["disk <*> full: <*> <*> left", "b", "c"]) == (
        "unseen or rare event: disk ... full: ... left; b"
    )
    assert class_name("volume", []) == "unusual counts"
    assert len(class_name("volume", ["x" * 500])) < 100


@given(st.dictionaries(st.text(max_size=5), st.floats(0, 1), min_size=1, max_size=4))
def test_the_key_of_a_class_follows_from_what_tells_it_alone(shares: dict[str, float]) -> None:
    changed = dict.fromkeys(reversed(shares), 0.5)
    assert class_key(shares) == class_key(changed)
    assert class_key({**shares, "another one": 0.1}) != class_key(shares)


def test_each_pattern_has_a_name_and_advice_of_its_own() -> None:
    assert len({class_name(p, []) for p in PATTERNS}) == len(PATTERNS)
    assert len({advice_for(p) for p in PATTERNS}) == len(PATTERNS)
