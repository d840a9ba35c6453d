"""What numbers lines usually carry, and what is said of one that is out of the usual."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Container
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from conftest import small_config
from enhanced_deeplog import (
    Config,
    EnhancedDeepLog,
    Finding,
    LogRecords,
    StreamingClassifier,
    load_bundle,
    save_bundle,
)
from enhanced_deeplog.base_scorer import _order_of_input
from enhanced_deeplog.cli.verdict_screens import explanation_screen
from enhanced_deeplog.courses import Course
from enhanced_deeplog.detection import Calibration
from enhanced_deeplog.detector import ModelParts
from enhanced_deeplog.errors import BundleError, ConfigError
from enhanced_deeplog.evidence import telling_places
from enhanced_deeplog.explanation import advice_for, pause_in_words, value_in_words
from enhanced_deeplog.findings import OddValue, Pattern, Pause
from enhanced_deeplog.learning.balance import BalancedPairs
from enhanced_deeplog.learning.features import ScoredSessions, lateness_profile, oddness_profile
from enhanced_deeplog.learning.known_counts import KnownCounts
from enhanced_deeplog.learning.surprise import UsualSurprise
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.learning.values import FewValues, UsualValues, ValueRange
from enhanced_deeplog.logs.masks import normalise_bodies
from enhanced_deeplog.logs.numbers import MOST_NUMBERS, numbers_of, with_numbers
from enhanced_deeplog.logs.parsing import miner_of
from enhanced_deeplog.output import finding_line, write_findings
from enhanced_deeplog.output_schema import output_schema
from enhanced_deeplog.report.cards import course_html
from enhanced_deeplog.scorecard import DAMAGES, ODD_VALUE, odd_value
from naive import naive_numbers

A, B = 3, 4
START = datetime(2024, 3, 1, 8)

# --- Numbers of bodies --------------------------------------------------------------------------------------


def numbers(body: str) -> list[float]:
    (row,) = numbers_of(pl.Series([body])).to_list()
    return [value for value in row if value == value]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("sent 17 of 20 rows", [17, 20]),
        ('took=12ms size:4.5KiB (3.2 KiB free) [7] "8"', [0.012, 4608, 3276.8, 7]),
        ("rate -3.5% after 1e-05 s, then 900 us; 2.", [-3.5, 1e-05, 0.0009, 2]),
        ('{"status":200,"bytes":512}', [512, 200]),  # keys in order
        ("blk_12 req-5f3a v2 10.0.0.1 10.0.0.1:80 fe80::5 aa:bb:cc:dd:ee:05 0x1f 5f3a9c 12e4", []),
        ("550e8400-e29b-41d4-a716-446655440000 2024-03-01 08:16:53,123 Mar 01 08:16:53 3/5 1,234 1-2 #5 $5 .5 5x", []),
        ("1 2 3 4 5 6", [1, 2, 3, 4]),
        ("1e+400 " + "9" * 400 + " 7", [7]),
        ("\x1b[31m5\x1b[0m\t6", [5, 6]),
        ("", []),
    ],
)
def test_numbers_stand_by_themselves(body: str, found: list[float]) -> None:
    assert numbers(body) == pytest.approx(found)


FRAGMENTS = (
    *" =:,;()[]{}'<>&|.-+%/07EBKk\t\"!",
    *(
        "  ",
        "12",
        "3.5",
        "1e+400",
        "1e-05",
        "9" * 320,
        "ms",
        "s",
        " s",
        " KiB",
        "µs",
        "a",
        "blk_",
        "size:",
        "0x1f",
        "10.0.0.1",
    ),
    *("\u00e9", "\u0663", "\uff19", "\u2028", "\x1b[31m", "<*>"),
)


@given(st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join) | st.text(max_size=30), max_size=6))
@settings(max_examples=150)
def test_numbers_of_hostile_text_are_those_that_a_reader_finds(bodies: list[str]) -> None:
    column = pl.Series(bodies, dtype=pl.String)
    found = numbers_of(column)
    assert found.dtype == pl.Array(pl.Float64, MOST_NUMBERS)
    for row, body in zip(found.to_list(), normalise_bodies(column), strict=True):
        assert [value for value in row if value == value] == naive_numbers(body)


# --- How odd ------------------------------------------------------------------------------------------------


def usual_of(values: np.ndarray, event: int = A, *, sessions: np.ndarray | None = None) -> UsualValues:
    """Of values that come in this order, each in a session of its own if nothing else is said."""
    of_session = np.arange(len(values)) if sessions is None else sessions
    return UsualValues.fit(alone(values), np.full(len(values), event), of_session, min_sessions=5)


def range_of(values: np.ndarray) -> ValueRange:
    """Each in a session of its own."""
    made = ValueRange.fit(values, np.arange(len(values)), min_sessions=5)
    assert made is not None
    return made


def alone(values: np.ndarray) -> np.ndarray:
    """Records with one number each."""
    made = np.full((len(values), MOST_NUMBERS), np.nan)
    made[:, 0] = values
    return made


def oddness(usual: UsualValues, *values: float, event: int = A) -> list[float]:
    return usual.oddness(alone(np.array(values)), np.full(len(values), event)).tolist()


def shuffled(*values: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.array(values))


def test_of_few_values_the_rare_ones_are_odd_and_a_new_one_is_the_oddest() -> None:
    usual = usual_of(shuffled(*[200.0] * 900, *[404.0] * 90, *[500.0] * 10))
    often, seldom, rare, new = oddness(usual, 200.0, 404.0, 500.0, 503.0)
    assert often == 0.0
    assert seldom == pytest.approx(np.log(1000 / 100))
    assert rare == pytest.approx(np.log(1000 / 10))
    assert new == pytest.approx(np.log(1001))


def test_what_is_always_the_same_is_odd_when_it_is_not() -> None:
    assert oddness(usual_of(np.full(300, 8080.0)), 8080.0, 8081.0) == pytest.approx([0.0, np.log(301)])


def test_of_a_quantity_both_ends_are_odd_as_rarely_as_they_are_seen() -> None:
    rng = np.random.default_rng(0)
    usual = usual_of(rng.lognormal(6.0, 1.0, 20_000))
    fresh = np.array(oddness(usual, *rng.lognormal(6.0, 1.0, 100_000)))
    for one_in in (4, 20, 100, 1000):
        assert 0.6 < (fresh >= np.log(one_in)).mean() * one_in < 1.5
    least, middle, most = oddness(usual, 400.0 / 1000, 400.0, 400.0 * 1000)
    assert middle < 0.1
    assert min(least, most) > np.log(20_000)


def test_a_sign_that_turns_round_is_odd() -> None:
    usual = usual_of(np.random.default_rng(0).lognormal(3.0, 0.3, 1000))
    assert oddness(usual, -20.0)[0] > np.log(1000)


def test_a_place_is_an_event_how_many_numbers_there_are_and_which_of_them() -> None:
    rng = np.random.default_rng(0)
    one = alone(rng.uniform(1, 2, 300))
    two = np.column_stack([rng.uniform(100, 200, 300), rng.uniform(1e6, 2e6, 300), *np.full((2, 300), np.nan)])
    every = np.concatenate([one, two, one])
    usual = UsualValues.fit(every, np.repeat([A, A, B], 300), np.arange(900), min_sessions=5)
    assert usual.places.tolist() == [[A, 1, 0], [A, 2, 0], [A, 2, 1], [B, 1, 0]]
    asked = np.array([[1.5, np.nan, np.nan, np.nan], [150.0, np.nan, np.nan, np.nan], [150.0, 1.5e6, np.nan, np.nan]])
    first, second, third = usual.oddness(asked, np.full(3, A)).tolist()
    assert max(first, third) < 1.0
    assert second > 5.0


def test_too_few_numbers_say_nothing() -> None:
    usual = usual_of(np.full(99, 5.0))
    assert not len(usual.places)
    assert oddness(usual, 1e9) == [0.0]


@pytest.mark.parametrize(
    "changing",
    [
        50_000.0 + np.arange(500.0),  # another that is far from 0
        np.arange(500.0),  # a counter
        5000.0 - np.arange(500.0),
        np.arange(500.0) // 50,  # slowly, so that its values are few
        np.repeat([7.0, 9.0], 250),  # a number of a process, that was started again
        np.random.default_rng(0).normal(100.0, 5.0, 500) + np.arange(500.0),  # a heap that grows
    ],
)
def test_what_changes_with_time_is_not_judged(changing: np.ndarray) -> None:
    assert oddness(usual_of(changing), 1e12) == [0.0]


@pytest.mark.parametrize("seed", range(5))
def test_random_numbers_stay_as_odd_as_they_were(seed: int) -> None:
    rng = np.random.default_rng(seed)
    usual = usual_of(rng.integers(10**5, 10**9, 3000).astype(float))
    later = np.array(oddness(usual, *rng.integers(10**5, 10**9, 3000).astype(float)))
    assert (later > np.log(1000)).mean() < 0.005


def test_the_usual_most_is_what_one_session_in_a_hundred_passes() -> None:
    usual = UsualMost.fit(np.arange(400.0), np.arange(0, 401, 2), 0.99)
    assert (np.arange(1.0, 400.0, 2.0) > usual.most).sum() == 2


def test_what_is_usual_is_told_with_the_share_that_it_is_seen_of() -> None:
    values, share = FewValues.fit(np.repeat([404.0, 200.0], [10, 90])).usual()
    assert (values.tolist(), share) == ([200.0, 404.0], 1.0)
    (least, most), share = range_of(np.arange(1.0, 10_001.0)).usual()
    assert share == pytest.approx(0.998, abs=0.001)
    assert (least, most) == pytest.approx((10, 9990), rel=0.3)


@pytest.mark.parametrize(
    ("values", "usual"),
    [
        (np.linspace(1003.0, 1048.0, 500), (1000.0, 1100.0)),
        (np.linspace(-1048.0, -1003.0, 500), (-1100.0, -1000.0)),
        (np.linspace(-0.0312, 0.0312, 501).clip(0.0), (0.0, 0.031)),
        (np.repeat(np.arange(20.0, 60.0), 10), (19.0, 59.0)),  # to a hundredth, 20 may have been 19.9
    ],
)
def test_the_ends_of_what_is_usual_are_rounded_outwards(values: np.ndarray, usual: tuple[float, float]) -> None:
    (least, most), _ = range_of(values).usual()
    assert (least, most) == usual


def test_a_number_of_any_size_is_told_as_a_finite_one(odd_finding: Finding) -> None:
    usual = range_of(10.0 ** np.linspace(-307, 299, 500))
    assert np.isfinite(usual.oddness(np.array([0.0, 1e-320, -1e299, 1e299]))).all()
    (line, *_) = (line for line in odd_finding.evidence if line.value is not None)
    ends, share = usual.usual()
    told = OddValue(1, -1e299, (float(ends[0]), float(ends[1])), is_range=True, usual_share=share)
    written = finding_line(replace(odd_finding, evidence=(replace(line, value=told),)))
    assert all(np.isfinite(json.loads(written)["evidence"][0]["value"]["usual"]))


# --- What is told of single sessions ---------------------------------------------------------------------------


def test_a_value_of_few_sessions_is_not_kept_however_often_it_was_seen() -> None:
    values = np.repeat([200.0, 404.0, 4711.0, 4712.0], [900, 90, 8, 8])
    sessions = np.concatenate([np.arange(990), np.full(8, 2000), np.arange(3000, 3008)])
    order = np.random.default_rng(0).permutation(len(values))
    (form,) = usual_of(values[order], sessions=sessions[order]).forms
    assert isinstance(form, FewValues)
    assert form.values.tolist() == [200.0, 404.0, 4712.0]
    assert form.n_seen.tolist() == [900, 90, 8]


def test_a_place_of_which_much_is_of_few_sessions_is_not_judged() -> None:
    for values in (shuffled(*[1.0] * 100, *[2.0] * 100), np.random.default_rng(0).uniform(1.0, 1e4, 400)):
        assert len(usual_of(values).places)
        assert not len(usual_of(values, sessions=np.arange(len(values)) % 4).places)
    own = np.where(np.arange(400) < 200, 1.0, 2.0)
    assert not len(usual_of(shuffled(*own), sessions=np.random.default_rng(0).permutation(own).astype(int)).places)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_range_keeps_nothing_that_only_few_sessions_reach(sign: float) -> None:
    rng = np.random.default_rng(0)
    values = sign * rng.uniform(10.0, 100.0, 1000)
    sessions = np.arange(1000)
    few = np.arange(0, 1000, 50)  # four sessions with five numbers each
    sessions[few] = np.arange(len(few)) % 4
    apart = [values.copy() for _ in range(2)]
    apart[0][few], apart[1][few] = sign * 4e6, sign * 7e9
    first, second = (ValueRange.fit(numbers, sessions, min_sessions=5) for numbers in apart)
    assert first is not None
    assert second is not None
    side = 0 if sign > 0 else 1
    assert first.largest[side].tolist() == second.largest[side].tolist()
    assert first.scale[side] == second.scale[side]
    assert np.exp(first.largest[side, -1]) * first.resolution < 102.0


def test_where_each_session_has_one_number_a_range_is_what_it_would_be_without_the_rule() -> None:
    numbers = np.random.default_rng(0).lognormal(3.0, 1.0, 20_000)
    ruled, free = (ValueRange.fit(numbers, np.arange(20_000), min_sessions=n) for n in (5, 1))
    assert ruled is not None
    assert free is not None
    assert (ruled.largest == free.largest).all()
    assert (ruled.rarity == free.rarity).all()
    assert ruled.scale == pytest.approx(free.scale, rel=0.02)


def test_what_own_masks_take_is_no_number() -> None:
    config = small_config(templates={"extra_masks": [("pin", "pin [0-9]+"), ("half", "^77|88$")]})
    batch = pl.DataFrame({"body": ["pin 4711 after 3 tries", "771 2 588", "pins 5"]})
    (row, half, other) = with_numbers(batch, miner_of(config.templates).masks)["numbers"].to_list()
    assert [value for value in row if value == value] == [3.0]
    assert [value for value in half if value == value] == [2.0]
    assert [value for value in other if value == value] == [5.0]
    (plain, *_) = with_numbers(batch, miner_of(small_config().templates).masks)["numbers"].to_list()
    assert plain[:2] == [4711.0, 3.0]


def test_what_one_session_says_often_or_a_mask_takes_is_in_no_bundle() -> None:
    rng = random.Random(0)
    lines: list[str] = []
    for i in range(300):
        at, prefix = (
            (START + timedelta(seconds=5 * i)).isoformat(" ", "milliseconds"),
            f"| INFO | api | {session_key(i)}",
        )
        pins = [48151] * 6 if i == 7 else [rng.choice([1, 2, 3])]
        lines += [f"{at} {prefix} {step}" for step in (*(f"pin {pin} given" for pin in pins), f"code {i % 4}", "done")]
    config = small_config(
        detection={"values": True}, learning={"epochs": 1}, templates={"extra_masks": [("code", "code [0-9]+")]}
    )
    usual = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines), workers=1).detection.scorer.usual_values
    assert usual is not None
    (form,) = usual.forms
    assert isinstance(form, FewValues)
    assert form.values.tolist() == [1.0, 2.0, 3.0]


# --- Sessions that overlap ------------------------------------------------------------------------------------


def overlapping(first: int, seed: int) -> LogRecords:
    """A hundred sessions that all last as long as the log, served in random order, and one counter of them all."""
    rng = random.Random(seed)
    lines: list[str] = []
    for _ in range(10):
        for i in rng.sample(range(100), 100):
            at = START + timedelta(seconds=len(lines))
            prefix = f"{at.isoformat(' ', 'milliseconds')} | INFO | api | {session_key(i)}"
            lines += [f"{prefix} accepted as order {first + len(lines) // 2}", f"{prefix} answered ok"]
    return LogRecords.from_lines(lines)


@pytest.fixture(scope="module")
def overlapped() -> EnhancedDeepLog:
    config = small_config(detection={"values": True, "alarm_rate": 0.001}, learning={"epochs": 2})
    return EnhancedDeepLog(config).fit(normal=overlapping(5_000, 0), workers=1)


def test_a_counter_of_all_sessions_is_not_judged_where_they_overlap(overlapped: EnhancedDeepLog) -> None:
    usual = overlapped.detection.scorer.usual_values
    assert usual is not None
    assert not len(usual.places)
    for first in (6_000, 90_000):
        assert not [finding for finding in overlapped.classify(overlapping(first, 1)) if finding.pattern == "odd_value"]


def test_the_order_of_the_input_is_that_in_which_its_records_were_read(overlapped: EnhancedDeepLog) -> None:
    sessions = overlapped.read_sessions(overlapping(5_000, 0))
    counted = sessions.numbers
    assert counted is not None
    is_counter = ~np.isnan(counted[:, 0])
    order = _order_of_input(sessions.records)[sessions.rows[is_counter]]
    assert not (np.diff(counted[is_counter, 0]) > 0).all()
    assert (np.diff(counted[is_counter, 0][np.argsort(order)]) == 1).all()


# --- Many numbers that are a little odd -----------------------------------------------------------------------


def little_odd() -> ScoredSessions:
    """One session of four events, of which three carry numbers that are a little odd."""
    return ScoredSessions(
        event_ids=np.array([A, B, B, A]),
        starts=np.array([0, 4]),
        surprise=np.full(4, 0.1),
        rank=np.ones(4, dtype=np.int64),
        unseen=np.zeros(4, dtype=np.bool_),
        hidden_state=np.zeros((1, 0), dtype=np.float32),
        pair=np.zeros(4, dtype=np.int64),
        is_open=np.array([False]),
        keyed=np.array([True]),
        n_events=5,
        lateness=np.array([0.0, 3.0, 4.0, 3.0]),
        oddness=np.array([0.0, 3.0, 4.0, 3.0]),
    )


@pytest.mark.parametrize("pattern", ["odd_value", "slow_step"])
def test_what_a_session_is_called_after_is_shown_even_where_it_only_adds_up(pattern: Pattern) -> None:
    ones = np.ones(1, dtype=np.int64)
    counts = np.array([[0.0, 0.0, 0.0, 2.0, 2.0]])
    calibration = Calibration(
        KnownCounts(counts, ones, counts, ones, np.full(5, 5.0), 1),
        BalancedPairs.of(counts, np.ones(1, dtype=np.bool_)),
        UsualSurprise(drift=1.0, by_event=np.full(5, 1.0), misplacement_drift=0.5),
        {},
        UsualMost(drift=1.0, most=5.0),
        UsualMost(drift=1.0, most=5.0),
    )
    places, tells = telling_places(little_odd(), 0, calibration, np.zeros(5), n_most=9, pattern=pattern)
    assert (places.tolist(), tells.tolist()) == ([1, 2, 3], [True] * 3)
    _, tells = telling_places(little_odd(), 0, calibration, np.zeros(5), n_most=9, pattern="volume")
    assert not tells.any()


def test_what_a_kind_is_called_after_names_it_even_where_it_only_adds_up() -> None:
    called = np.array([True])
    for profile in (
        oddness_profile(little_odd(), UsualMost(drift=1.0, most=5.0), called),
        lateness_profile(little_odd(), UsualMost(drift=1.0, most=5.0), called),
    ):
        assert np.square(profile[0]) == pytest.approx([0, 0, 0, 2 / 7, 5 / 7])
    assert not oddness_profile(little_odd(), UsualMost(drift=1.0, most=5.0), ~called).any()
    assert not oddness_profile(little_odd(), UsualMost(drift=1.0, most=5.0)).any()


# --- A session with a number that is absurd -------------------------------------------------------------------


def lines_of(n_sessions: int, *, odd: Container[int] = (), seed: int = 0, first_order: int = 50_000) -> list[str]:
    """Interleaved requests with a counter, a random number, a size, a duration, a status; odd ones send too much."""
    rng = random.Random(seed)
    written: list[tuple[float, str]] = []
    for i in range(n_sessions):
        at = i * 2.0 + rng.random()
        size = int(rng.lognormvariate(8.0, 0.5)) * (10_000 if i in odd else 1)
        for step in (
            f"accepted as order {first_order + i}",
            f"ticket {rng.randrange(10**6, 10**9)} drawn",
            f"sent {size} bytes in {rng.randint(3, 90)} ms, status {rng.choice([200, 200, 200, 404])}",
            "answered",
        ):
            written.append((at, f"| INFO | api | {session_key(i)} {step}"))
            at += 0.05
    return [f"{(START + timedelta(seconds=at)).isoformat(' ', 'milliseconds')} {text}" for at, text in sorted(written)]


def session_key(number: int) -> str:
    return f"req-{0xABC000 + number:08x}"


def fit(*, values: bool, mixed: list[str] | None = None) -> EnhancedDeepLog:
    config = small_config(detection={"values": values, "alarm_rate": 0.001}, learning={"epochs": 4})
    records = None if mixed is None else LogRecords.from_lines(mixed)
    return EnhancedDeepLog(config).fit(records, normal=LogRecords.from_lines(lines_of(300)), workers=1)


ODD = 30


def judged() -> LogRecords:
    return LogRecords.from_lines(lines_of(60, odd=[ODD], seed=1, first_order=90_000))


@pytest.fixture(scope="module")
def valued() -> EnhancedDeepLog:
    return fit(values=True)


@pytest.fixture(scope="module")
def plain() -> EnhancedDeepLog:
    return fit(values=False)


@pytest.fixture(scope="module")
def odd_finding(valued: EnhancedDeepLog) -> Finding:
    (finding,) = valued.classify(judged())
    return finding


def test_an_absurd_number_is_found_only_with_the_switch_on(odd_finding: Finding, plain: EnhancedDeepLog) -> None:
    assert odd_finding.session_key == session_key(ODD)
    assert not plain.classify(judged())


def test_the_evidence_names_the_number_and_what_is_usual(odd_finding: Finding) -> None:
    (line,) = (line for line in odd_finding.evidence if line.value is not None)
    assert "bytes in" in line.template
    assert line.value is not None
    assert (line.value.place, line.value.is_range) == (1, True)
    assert str(int(line.value.value)) in line.text
    least, most = line.value.usual
    assert 100 < least < 3000 < most < 30_000
    assert odd_finding.reasons["values"] > 0.5
    assert sum(odd_finding.reasons.values()) == pytest.approx(1.0, abs=1e-5)
    assert odd_finding.pattern == "odd_value"
    assert odd_finding.advice == advice_for("odd_value")


def test_counters_and_random_numbers_raise_no_alarm_on_later_logs(valued: EnhancedDeepLog) -> None:
    later = LogRecords.from_lines(lines_of(300, seed=2, first_order=10_000_000))
    assert len(valued.classify(later)) <= 3
    usual = valued.detection.scorer.usual_values
    assert usual is not None
    templates = [valued.vocabulary.template(event) for event in usual.places[:, 0].tolist()]
    assert not any("accepted" in template for template in templates)
    assert any("bytes in" in template for template in templates)


def test_screens_and_reports_say_which_number_is_odd(odd_finding: Finding, valued: EnhancedDeepLog) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*explanation_screen([Course(odd_finding, (), ())]))
    assert "its 1st number is" in console.export_text()
    (course,) = valued.explain(judged(), session_key(ODD))
    assert "its 1st number is" in course_html(course)


def test_an_odd_number_is_told_in_every_form(odd_finding: Finding, tmp_path: Path) -> None:
    told = json.loads(finding_line(odd_finding))
    jsonschema.Draft202012Validator(output_schema()).validate(told)
    (line,) = (line for line in told["evidence"] if "value" in line)
    assert set(line["value"]) == {"place", "value", "usual", "is_range", "usual_share"}
    write_findings([odd_finding], tmp_path / "x.parquet")
    lines = pl.read_parquet(tmp_path / "x.parquet")["evidence"].to_list()[0]
    assert [line["value"] for line in lines if line["value"] is not None] == [line["value"]]


def test_without_text_there_is_no_number_of_a_line_either(odd_finding: Finding) -> None:
    assert all(line.value is None for line in odd_finding.without_text().evidence)


@pytest.mark.parametrize("batch_size", [20, 1000])
def test_findings_of_a_stream_are_those_of_classify(valued: EnhancedDeepLog, batch_size: int) -> None:
    lines = lines_of(40, odd=range(0, 40, 7), seed=3)
    records = LogRecords.from_lines(lines, batch_size=batch_size)
    expected = {finding.id: finding.to_json() for finding in valued.classify(records)}
    stream = StreamingClassifier(valued)
    outputs = [*(stream.process_many(batch) for batch in records), stream.finish()]
    last = {finding.id: finding for output in outputs for finding in output.findings}
    assert len(expected) >= 6
    assert {key: one.to_json() for key, one in last.items() if one.is_anomaly} == expected


def test_numbers_of_records_on_disk_are_those_of_records_in_memory(
    valued: EnhancedDeepLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = [finding.to_json() for finding in valued.classify(judged())]
    monkeypatch.setattr("enhanced_deeplog.detector.IN_MEMORY", 50)
    assert [finding.to_json() for finding in valued.classify(judged())] == in_memory


def test_bare_sequences_have_no_numbers_that_could_be_odd(valued: EnhancedDeepLog, plain: EnhancedDeepLog) -> None:
    events = valued.read_sessions(judged()).sequence(0)[:-1].tolist()
    assert not valued.classify_sequence(events).is_anomaly


# --- The switch ---------------------------------------------------------------------------------------------


def test_the_switch_adds_to_a_model_and_changes_nothing_else(valued: EnhancedDeepLog, plain: EnhancedDeepLog) -> None:
    on, off = valued.to_parts(), plain.to_parts()
    assert on.networks == off.networks
    added = set(on.tensors["statistics"]) - set(off.tensors["statistics"])
    assert added == {
        *("values.places", "values.n_few", "values.few", "values.n_seen", "values.n_values", "values.resolution"),
        *("values.largest", "values.rarity", "values.scale"),
    }
    for name, array in off.tensors["statistics"].items():
        assert (array == on.tensors["statistics"][name]).all()
    assert "values" not in off.documents["score"]
    with_values = on.documents["score"]["calibration"]["keyed"]["tails"]
    assert {k: v for k, v in with_values.items() if k != "values"} == (
        off.documents["score"]["calibration"]["keyed"]["tails"]
    )


def test_without_the_switch_no_finding_speaks_of_numbers_and_none_is_read(plain: EnhancedDeepLog) -> None:
    for finding in plain.classify(judged(), every_session=True):
        assert "values" not in finding.reasons
        assert '"value"' not in finding_line(finding)
    assert plain.read_sessions(judged()).numbers is None


def test_both_switches_can_be_on() -> None:
    config = small_config(detection={"values": True, "timing": True, "alarm_rate": 0.001}, learning={"epochs": 2})
    model = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines_of(120)), workers=1)
    finding = max(model.classify(judged()), key=lambda one: one.score)
    assert tuple(finding.reasons) == ("new_template", "sequence", "counts", "early_end", "timing", "values")
    assert finding.pattern == "odd_value"


def test_the_scorecard_has_odd_values_only_with_the_switch_on(valued: EnhancedDeepLog, plain: EnhancedDeepLog) -> None:
    found = {one.damage: one.share for one in valued.detection.scorecard}
    assert set(found) == {*DAMAGES, ODD_VALUE} - {"foreign event"}  # every request has all events
    assert 0.1 < found[ODD_VALUE] < 0.9  # of five numbers, one is a counter
    assert ODD_VALUE not in {one.damage for one in plain.detection.scorecard}


def test_an_odd_value_is_one_number_that_is_ten_times_as_large(valued: EnhancedDeepLog) -> None:
    sessions = valued.read_sessions(judged())
    rows = np.arange(5, 25)
    made, differs = odd_value(sessions, rows, np.random.default_rng(0))
    before = sessions.take(rows).numbers
    assert differs.all()
    assert before is not None
    assert made.numbers is not None
    changed = ~np.isnan(before) & (made.numbers != before)
    assert made.numbers[changed] == pytest.approx(10 * before[changed])
    assert np.add.reduceat(changed.sum(axis=1), made.starts[:-1]).tolist() == [1] * len(rows)


def test_odd_numbers_make_a_kind_that_is_named_after_them(tmp_path: Path) -> None:
    mixed = lines_of(60, odd=range(0, 60, 4), seed=1)
    model = fit(values=True, mixed=mixed)
    assert {kind.pattern for kind in model.classes} == {"odd_value"}
    (kind,) = model.classes
    assert kind.name.startswith("an odd number: sent ... bytes")
    save_bundle(model, tmp_path / "bundle")
    records = LogRecords.from_lines(mixed)
    found, again = model.classify(records), load_bundle(tmp_path / "bundle").classify(records)
    assert {f.session_key for f in found} >= {session_key(i) for i in range(0, 60, 4)}
    for one, other in zip(found, again, strict=True):
        assert (one.score, one.class_probabilities, one.evidence) == (
            other.score,
            other.class_probabilities,
            other.evidence,
        )


def test_the_block_values_needs_the_switch() -> None:
    assert "values" not in Config().blocks_for_clustering
    on = Config.of({"detection": {"values": True}})
    assert on.blocks_for_clustering[-1] == on.blocks_for_classifier[-1] == "values"
    with pytest.raises(ConfigError) as caught:
        Config.of({"features": {"clustering_blocks": ["values"]}})
    assert str(caught.value) == (
        "In the configuration: The block values needs detection.values: without it, no number is odd. Set "
        "detection.values to true, or take values out of features.clustering_blocks and features.classifier_blocks."
    )


# --- The bundle ---------------------------------------------------------------------------------------------


def test_a_loaded_model_says_the_same_of_numbers(valued: EnhancedDeepLog, tmp_path: Path) -> None:
    save_bundle(valued, tmp_path / "bundle")
    found, again = (
        [(f.score, f.reasons, f.evidence) for f in one.classify(judged(), every_session=True)]
        for one in (valued, load_bundle(tmp_path / "bundle"))
    )
    assert found == again


def test_a_bundle_of_before_the_switch_is_one_without_it(plain: EnhancedDeepLog) -> None:
    parts = plain.to_parts()
    del parts.documents["config"]["detection"]["values"]
    assert EnhancedDeepLog.from_parts(parts, bundle_id="").detection.scorer.usual_values is None


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no places": ("places", lambda a: a[:, :1], "In the bundle, values.places must have the shape "),
    "places of no event": ("places", lambda a: a + 999, "In the bundle, values.places must be ascending, of event ids"),
    "a place of PADDING": (
        "places",
        lambda a: a * [0, 1, 1],
        "In the bundle, values.places must be ascending, of event ids",
    ),
    "places beyond the last number": (
        "places",
        lambda a: a + [0, 0, 4] * (a == a[-1]),
        "In the bundle, values.places must be ascending, of event ids",
    ),
    "places that a record has not": (
        "places",
        lambda a: np.where((np.arange(len(a)) == len(a) - 1)[:, None], a[-1] * [1, 1, 0] + [0, 0, a[-1, 1]], a),
        "In the bundle, values.places must be of numbers that a record has",
    ),
    "places that fall": ("places", lambda a: a[::-1], "In the bundle, values.places must be ascending, of event ids"),
    "too many few values": ("n_few", lambda a: a + 21, "In the bundle, values.n_few must be from 0 to 20"),
    "a few values less": ("few", lambda a: a[:-1], "In the bundle, values.few must have the shape "),
    "few values that fall": ("few", lambda a: -a, "In the bundle, values.few must be ascending at each place"),
    "values never seen": ("n_seen", lambda a: a * 0, "In the bundle, values.n_seen must be from 1 and below 2**53"),
    "values seen too often": (
        "n_seen",
        lambda a: a + 2**53,
        "In the bundle, values.n_seen must be from 1 and below 2**53",
    ),
    "ranges of no values": (
        "n_values",
        lambda a: a * 0,
        "In the bundle, values.n_values must be from 100 and below 2**53",
    ),
    "ranges of too many": (
        "n_values",
        lambda a: a + 2**53,
        "In the bundle, values.n_values must be from 100 and below 2**53",
    ),
    "no resolution": ("resolution", lambda a: a * 0, "In the bundle, values.resolution must be from 5e-103 to 2e+98"),
    "too coarse a resolution": (
        "resolution",
        lambda a: a * 1e200,
        "In the bundle, values.resolution must be from 5e-103 to 2e+98",
    ),
    "ends of no number": ("largest", lambda a: a + 1e4, "In the bundle, values.largest must be logarithms of numbers"),
    "rarity below 0": (
        "rarity",
        lambda a: a - 99,
        "In the bundle, values.rarity must be from 0 to the logarithm of values.n_values",
    ),
    "rarity of more than all": (
        "rarity",
        lambda a: a + 99,
        "In the bundle, values.rarity must be from 0 to the logarithm of values.n_values",
    ),
    "ends that fall": ("largest", lambda a: -a, "In the bundle, values.largest must be ascending"),
    "rarity with NaN": ("rarity", lambda a: a * np.nan, "In the bundle, values.rarity must be finite"),
    "scales of 0": ("scale", lambda a: a * 0, "In the bundle, values.scale must be 0.1 at least"),
    "scales below the least": ("scale", lambda a: a * 0 + 0.09, "In the bundle, values.scale must be 0.1 at least"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bundle_may_not_hold_values_that_can_not_be(valued: EnhancedDeepLog, what: str) -> None:
    name, change, text = REFUSED[what]
    parts = valued.to_parts()
    statistics = parts.tensors["statistics"]
    statistics[f"values.{name}"] = change(statistics[f"values.{name}"])
    with pytest.raises(BundleError) as caught:
        EnhancedDeepLog.from_parts(ModelParts(parts.documents, parts.tensors, parts.networks), bundle_id="")
    assert str(caught.value).startswith(text)


def test_a_switch_that_contradicts_the_calibration_is_refused(plain: EnhancedDeepLog) -> None:
    parts = plain.to_parts()
    parts.documents["config"]["detection"]["values"] = True
    with pytest.raises(BundleError) as caught:
        EnhancedDeepLog.from_parts(parts, bundle_id="")
    assert str(caught.value).startswith(
        "In the bundle, score.calibration must be of values if detection.values says so"
    )


# --- In words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, ".0123"), (-0.5, "-.5"), (4.25, "4.25"), (0.0, "0"), (46_000.4, "46,000"), (2e-7, "2e-07")],
)
def test_a_number_is_told_as_people_write_it(value: float, shown: str) -> None:
    said = value_in_words(OddValue(3, value, (1.0, 2.0), is_range=True, usual_share=0.998))
    assert said == f"its 3rd number is {shown}; usually 1 to 2 (99.8 % of normal ones)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((999.4, "999"), (999.49, "999"), (999.5, "1,000"), (999.7, "1,000"), (999.99, "1,000")),
        *((1000.0, "1,000"), (1000.4, "1,000"), (1000.6, "1,001"), (-999.7, "-1,000"), (0.9996, "1")),
    ],
)
def test_a_number_near_a_thousand_is_told_in_digits(value: float, shown: str) -> None:
    said = value_in_words(OddValue(1, value, (1.0, 2.0), is_range=True, usual_share=0.998))
    assert said.startswith(f"its 1st number is {shown};")


@pytest.mark.parametrize(("seconds", "shown"), [(99.4, "99 s"), (99.7, "100 s"), (100.4, "100 s")])
def test_a_pause_near_a_hundred_seconds_is_told_in_digits(seconds: float, shown: str) -> None:
    assert pause_in_words(Pause(seconds, "stored", 0.3, 0.999)).startswith(f"came {shown} after")
