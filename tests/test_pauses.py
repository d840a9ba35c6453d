"""How long steps usually take, and what is said of one that takes too long."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Container
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
from enhanced_deeplog import Config, EnhancedDeepLog, Finding, LogRecords, load_bundle, save_bundle
from enhanced_deeplog.base_scorer import events_before
from enhanced_deeplog.cli.verdict_screens import explanation_screen
from enhanced_deeplog.courses import Course
from enhanced_deeplog.detector import ModelParts
from enhanced_deeplog.errors import BundleError, ConfigError
from enhanced_deeplog.explanation import pause_in_words
from enhanced_deeplog.findings import Pause
from enhanced_deeplog.learning.pauses import UsualPauses
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.logs.sessions import SessionRules, split_into_sessions
from enhanced_deeplog.output import finding_line, write_findings
from enhanced_deeplog.output_schema import output_schema
from enhanced_deeplog.scorecard import DAMAGES, SLOW_STEP, slow_step
from naive import naive_lateness, naive_pauses
from test_sessions import SCHEMA, numbered, record

A, B, C = 3, 4, 5
START = datetime(2024, 3, 1, 8)


def usual_of(pauses: np.ndarray, before: int = A, event: int = B) -> UsualPauses:
    return UsualPauses.fit(pauses, np.full(len(pauses), before), np.full(len(pauses), event))


def lateness(usual: UsualPauses, *pauses: float, before: int = A, event: int = B) -> list[float]:
    return usual.lateness(np.array(pauses), np.full(len(pauses), before), np.full(len(pauses), event)).tolist()


# --- Pauses of sessions -------------------------------------------------------------------------------------

moments = st.lists(st.none() | st.integers(-3000, 9000), min_size=1, max_size=25)


@given(moments, st.lists(st.sampled_from("ab"), min_size=25, max_size=25), st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_a_pause_is_the_time_since_the_record_before_in_its_session(
    at_ms: list[int | None], keys: list[str], max_records: int
) -> None:
    records = [record(key=key, at_s=None if at is None else at / 1000) for at, key in zip(at_ms, keys, strict=False)]
    frame = pl.DataFrame(numbered(records), schema=SCHEMA)
    sessions = split_into_sessions(frame, SessionRules(max_records=max_records), {})
    for key in set(keys[: len(at_ms)]):
        of_key = [one["timestamp"] for one in records if one["session_key"] == key]
        rows = np.flatnonzero((sessions.table["session_key"] == key).to_numpy())
        laid = np.concatenate([sessions.pauses[sessions.starts[r] : sessions.starts[r + 1]] for r in rows])
        assert laid == pytest.approx(np.array(naive_pauses(of_key)), nan_ok=True)


def test_there_is_no_pause_before_the_first_record_nor_before_the_end() -> None:
    frame = pl.DataFrame(numbered([record(at_s=0), record(at_s=2.5, ends=True)]), schema=SCHEMA)
    sessions = split_into_sessions(frame, SessionRules(), {})
    assert sessions.event_ids.tolist() == [3, 3, 2]
    assert sessions.pauses.tolist() == pytest.approx([np.nan, 2.5, np.nan], nan_ok=True)


# --- How late -----------------------------------------------------------------------------------------------

steps = st.tuples(st.integers(A, C), st.integers(A, C), st.sampled_from([np.nan, -2.0, 0.0, 0.5, 1.0, 4.0, 30.0]))


@given(st.lists(steps, max_size=12), st.integers(0, 99), st.integers(0, 900))
@settings(max_examples=20, deadline=None)
def test_lateness_is_that_of_each_step_by_itself(
    judged: list[tuple[int, int, float]], seed: int, n_normal: int
) -> None:
    rng = np.random.default_rng(seed)
    before, events = rng.integers(A, C + 1, n_normal), rng.integers(A, C + 1, n_normal)
    pauses = rng.choice([np.nan, -1.0, 0.0, 0.5, 1.0, 1.5, 20.0], n_normal, p=[0.1, 0.1, 0.3, 0.2, 0.2, 0.09, 0.01])
    usual = UsualPauses.fit(pauses, before, events)
    normal = list(zip(before.tolist(), events.tolist(), pauses.tolist(), strict=True))
    found = usual.lateness(
        *(np.array([one[i] for one in judged], dtype=t) for i, t in ((2, float), (0, int), (1, int)))
    )
    assert found.tolist() == pytest.approx(naive_lateness(normal, judged, resolution_s=usual.resolution_s))


def test_lateness_is_how_rare_so_long_a_pause_is() -> None:
    rng = np.random.default_rng(0)
    usual = usual_of(rng.lognormal(-3.0, 0.5, 20_000))
    fresh = np.array(lateness(usual, *rng.lognormal(-3.0, 0.5, 100_000)))
    for one_in in (4, 20, 100, 1000):  # some of the pauses are kept, each a half rarer than the one before at most
        assert 0.7 < (fresh >= np.log(one_in)).mean() * one_in < 1.5


def test_nothing_is_called_rarer_than_it_was_seen_to_be() -> None:
    usual = usual_of(np.array([0.1] * 990 + [3600.0] * 10))
    usually, seen, longer = lateness(usual, 0.1, 3600.0, 36_000.0)
    assert usually == 0.0
    assert seen == pytest.approx(np.log(100))
    assert longer > seen


@pytest.mark.parametrize("pause", [np.nan, -5.0, 0.0])
def test_no_pause_and_a_clock_that_was_set_back_are_not_late(pause: float) -> None:
    assert lateness(usual_of(np.full(200, 0.1)), pause) == [0.0]


def test_a_tick_of_a_clock_of_whole_seconds_means_nothing() -> None:
    usual = usual_of(np.array([0.0] * 995 + [1.0] * 5))
    one, five = lateness(usual, 1.0, 5.0)
    assert one == 0.0
    assert five > np.log(200)


def test_steps_that_are_too_rare_are_judged_by_their_event_and_the_rest_by_one_another() -> None:
    """B after A takes .1 s; before B and C others come now and then, and then it takes 10 s; D is slow and rare."""
    others = np.repeat(np.arange(10, 20), 30)
    before = np.concatenate([np.full(300, A), others, others])
    events = np.concatenate([np.full(300, B), np.full(300, B), np.repeat(np.arange(20, 30), 30)])
    usual = UsualPauses.fit(np.repeat([0.1, 10.0, 60.0], 300), before, events)
    assert usual.steps.tolist() == [[0, 0], [0, B], [A, B]]
    (by_step,), (by_event,), (by_rest,) = (
        lateness(usual, 30.0, before=before, event=event) for before, event in ((A, B), (10, B), (A, 99))
    )
    assert by_step == pytest.approx(np.log(300) / 0.1, rel=0.2)
    assert by_event == pytest.approx(np.log(3) / 0.1, rel=0.2)
    assert by_rest == 0.0
    assert lateness(usual, 120.0, event=99)[0] > np.log(100)


def test_where_there_were_too_few_pauses_nothing_is_late() -> None:
    usual = usual_of(np.full(99, 0.1))
    assert lateness(usual, 1e6) == [0.0]
    assert usual.median_s(np.array([A]), np.array([B])).tolist() == [0.0]


def test_what_is_usual_is_told_with_the_share_that_it_is_seen_of() -> None:
    usual_s, share = usual_of(np.arange(1, 10_001) / 1000).usual_s(A, B)
    assert share == pytest.approx(0.999, abs=0.0005)
    assert usual_s == pytest.approx(10 * share, rel=0.001)


def test_the_usual_most_is_what_one_session_in_twenty_passes() -> None:
    usual = UsualMost.fit(np.arange(40.0), np.arange(0, 41, 2), 0.95)
    assert (np.arange(1.0, 40.0, 2.0) > usual.most).sum() == 1


# --- A session with a step that takes too long ---------------------------------------------------------------

STEPS = ("accepted", "cart loaded", "order stored", "paid", "answered")
USUAL_S = 0.05


def lines_of(n_sessions: int, *, late: Container[int] = (), seed: int = 0, timed: bool = True) -> list[str]:
    """Interleaved requests; those that are late wait a hundred times as long for `order stored`."""
    rng = random.Random(seed)
    written: list[tuple[float, str]] = []
    for i in range(n_sessions):
        at = i * 2.0 + rng.random()
        for step in STEPS:
            written.append((at, f"| INFO | api | {session_key(i)} {step}"))
            usual_s = 3.0 if step == "paid" else USUAL_S
            at += usual_s * rng.lognormvariate(0.0, 0.3) * (100 if i in late and step == "cart loaded" else 1)
    if not timed:
        return [text for _, text in sorted(written)]
    return [f"{(START + timedelta(seconds=at)).isoformat(' ', 'milliseconds')} {text}" for at, text in sorted(written)]


def session_key(number: int) -> str:
    return f"req-{0xABC000 + number:08x}"


def fit(*, timing: bool, lines: list[str] | None = None, mixed: list[str] | None = None) -> EnhancedDeepLog:
    config = small_config(detection={"timing": timing}, learning={"epochs": 4})
    records = None if mixed is None else LogRecords.from_lines(mixed)
    return EnhancedDeepLog(config).fit(records, normal=LogRecords.from_lines(lines or lines_of(300)), workers=1)


LATE = 30


def judged_lines() -> list[str]:
    return lines_of(60, late=[LATE], seed=1)


@pytest.fixture(scope="module")
def timed() -> EnhancedDeepLog:
    return fit(timing=True)


@pytest.fixture(scope="module")
def untimed() -> EnhancedDeepLog:
    return fit(timing=False)


@pytest.fixture(scope="module")
def late_finding(timed: EnhancedDeepLog) -> Finding:
    (finding,) = timed.classify(LogRecords.from_lines(judged_lines()))
    return finding


def test_a_pause_a_hundred_times_too_long_is_found_only_with_the_switch_on(
    late_finding: Finding, untimed: EnhancedDeepLog
) -> None:
    assert late_finding.session_key == session_key(LATE)
    assert not untimed.classify(LogRecords.from_lines(judged_lines()))


def test_the_evidence_names_the_late_record_and_what_is_usual(late_finding: Finding) -> None:
    (late,) = (line for line in late_finding.evidence if line.pause is not None)
    assert late.template.endswith("order stored")
    assert late.pause is not None
    assert late.pause.after.endswith("cart loaded")
    assert late.pause.pause_s == pytest.approx(100 * USUAL_S, rel=1.0)
    assert USUAL_S < late.pause.usual_s < 4 * USUAL_S
    assert late_finding.reasons["timing"] > 0.5
    assert late_finding.pattern == "slow_step"


def test_explain_says_what_came_late(late_finding: Finding) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*explanation_screen([Course(late_finding, (), ())]))
    assert f'after "{"<*> cart loaded"}"; usually' in console.export_text()


def test_a_late_record_is_told_in_every_form(late_finding: Finding, tmp_path: Path) -> None:
    told = json.loads(finding_line(late_finding))
    jsonschema.Draft202012Validator(output_schema()).validate(told)
    with_pause = [line for line in told["evidence"] if "pause" in line]
    assert [set(line["pause"]) for line in with_pause] == [{"pause_s", "after", "usual_s", "usual_share"}]
    write_findings([late_finding], tmp_path / "x.parquet")
    lines = pl.read_parquet(tmp_path / "x.parquet")["evidence"].to_list()[0]
    assert [line["pause"] for line in lines if line["pause"] is not None] == [with_pause[0]["pause"]]


def test_a_session_that_is_still_open_is_late_already(timed: EnhancedDeepLog) -> None:
    lines = judged_lines()
    stored = next(i for i, line in enumerate(lines) if line.endswith(f"{session_key(LATE)} order stored"))
    found = timed.classify(LogRecords.from_lines(lines[: stored + 1]))
    assert [(f.session_key, f.state) for f in found] == [(session_key(LATE), "open")]


def test_lines_without_timestamps_are_never_late(timed: EnhancedDeepLog) -> None:
    sessions = timed.read_sessions(LogRecords.from_lines(lines_of(40, timed=False)))
    assert np.isnan(sessions.pauses).all()
    assert not timed.judge(sessions).rarities[:, 5].any()


def test_logs_without_timestamps_can_be_learnt_from_and_saved(tmp_path: Path) -> None:
    model = fit(timing=True, lines=lines_of(60, timed=False))
    save_bundle(model, tmp_path / "bundle")
    records = LogRecords.from_lines(judged_lines())
    found, again = model.judge(model.read_sessions(records)), load_bundle(tmp_path / "bundle")
    assert not found.rarities[:, 5].any()
    assert again.judge(again.read_sessions(records)).scores.tolist() == found.scores.tolist()


def test_a_clock_that_is_set_back_makes_no_record_late(timed: EnhancedDeepLog) -> None:
    lines = lines_of(60, seed=1)
    hour_back = [line.replace(" 08:", " 07:", 1) if i >= len(lines) // 2 else line for i, line in enumerate(lines)]
    sessions = timed.read_sessions(LogRecords.from_lines(hour_back))
    assert (sessions.pauses < -3000).any()
    scored = timed.detection.look_at(sessions)
    assert scored.lateness is not None
    assert not scored.lateness[sessions.pauses < 0].any()


# --- The switch ---------------------------------------------------------------------------------------------


def test_the_switch_adds_to_a_model_and_changes_nothing_else(timed: EnhancedDeepLog, untimed: EnhancedDeepLog) -> None:
    on, off = timed.to_parts(), untimed.to_parts()
    assert on.networks == off.networks
    assert set(on.tensors["statistics"]) - set(off.tensors["statistics"]) == {
        *("pauses.steps", "pauses.n_pauses", "pauses.longest", "pauses.rarity", "pauses.scale")
    }
    for name, values in off.tensors["statistics"].items():
        assert (values == on.tensors["statistics"][name]).all()
    assert "timing" not in off.documents["score"]
    with_timing = on.documents["score"]["calibration"]["keyed"]["tails"]
    assert {k: v for k, v in with_timing.items() if k != "timing"} == (
        off.documents["score"]["calibration"]["keyed"]["tails"]
    )


def test_without_the_switch_no_finding_speaks_of_pauses(untimed: EnhancedDeepLog) -> None:
    for finding in untimed.classify(LogRecords.from_lines(judged_lines()), every_session=True):
        assert finding.reasons["timing"] == 0.0
        assert "pause" not in finding_line(finding)


def test_the_scorecard_has_slow_steps_only_with_the_switch_on(timed: EnhancedDeepLog, untimed: EnhancedDeepLog) -> None:
    found = {one.damage: one.share for one in timed.detection.scorecard}
    assert set(found) == {*DAMAGES, SLOW_STEP} - {"foreign event"}  # every request has all events
    assert found[SLOW_STEP] > 0.9
    assert SLOW_STEP not in {one.damage for one in untimed.detection.scorecard}


def test_a_slow_step_is_one_pause_that_is_ten_times_as_long(timed: EnhancedDeepLog) -> None:
    sessions = timed.read_sessions(LogRecords.from_lines(lines_of(40)))
    usual = timed.detection.scorer.usual_pauses
    assert usual is not None
    rows = np.arange(5, 25)
    made, differs = slow_step(sessions, rows, usual, np.random.default_rng(0))
    assert differs.all()
    medians = usual.median_s(events_before(made), made.event_ids)
    for i, row in enumerate(rows.tolist()):
        before = sessions.pauses[sessions.starts[row] : sessions.starts[row + 1]]
        after = made.pauses[made.starts[i] : made.starts[i + 1]]
        (place,) = np.flatnonzero(~np.isnan(after) & (after != before))
        assert after[place] == pytest.approx(10 * max(before[place], medians[made.starts[i] + place]))


def test_late_events_make_a_kind_that_is_named_after_them(tmp_path: Path) -> None:
    mixed = lines_of(60, late=range(0, 60, 4), seed=1)
    model = fit(timing=True, mixed=mixed)
    assert {kind.pattern for kind in model.classes} == {"slow_step"}
    assert {kind.name for kind in model.classes} == {"a step takes too long: order stored"}
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


def test_the_block_timing_needs_the_switch() -> None:
    assert "timing" not in Config().blocks_for_clustering
    on = Config.of({"detection": {"timing": True}})
    assert on.blocks_for_clustering[-1] == on.blocks_for_classifier[-1] == "timing"
    with pytest.raises(ConfigError) as caught:
        Config.of({"features": {"clustering_blocks": ["timing"]}})
    assert str(caught.value) == (
        "In the configuration: The block timing needs detection.timing: without it, no event is late. Set "
        "detection.timing to true, or take timing out of features.clustering_blocks and features.classifier_blocks."
    )


# --- The bundle ---------------------------------------------------------------------------------------------


def test_a_loaded_model_says_the_same_of_pauses(timed: EnhancedDeepLog, tmp_path: Path) -> None:
    save_bundle(timed, tmp_path / "bundle")
    records = LogRecords.from_lines(judged_lines())
    found, again = (
        [(f.score, f.reasons, f.evidence) for f in one.classify(records, every_session=True)]
        for one in (timed, load_bundle(tmp_path / "bundle"))
    )
    assert found == again


def test_a_bundle_of_before_the_switch_is_one_without_it(untimed: EnhancedDeepLog) -> None:
    parts = untimed.to_parts()
    del parts.documents["config"]["detection"]["timing"]
    assert EnhancedDeepLog.from_parts(parts, bundle_id="").detection.scorer.usual_pauses is None


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no steps": ("pauses.steps", lambda a: a[:, :1], "In the bundle, pauses.steps must have the shape "),
    "steps of no event": ("pauses.steps", lambda a: a + 999, "In the bundle, pauses.steps must be ascending event ids"),
    "steps that fall": ("pauses.steps", lambda a: a[::-1], "In the bundle, pauses.steps must be ascending event ids"),
    "no pauses": ("pauses.n_pauses", lambda a: a * 0, "In the bundle, pauses.n_pauses must be 100 at least"),
    "pauses that fall": ("pauses.longest", lambda a: -a, "In the bundle, pauses.longest must be ascending"),
    "rarity with NaN": ("pauses.rarity", lambda a: a * np.nan, "In the bundle, pauses.rarity must be finite"),
    "scales of 0": ("pauses.scale", lambda a: a * 0, "In the bundle, pauses.scale must be above 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bundle_may_not_hold_pauses_that_can_not_be(timed: EnhancedDeepLog, what: str) -> None:
    name, change, text = REFUSED[what]
    parts = timed.to_parts()
    parts.tensors["statistics"][name] = change(parts.tensors["statistics"][name])
    with pytest.raises(BundleError) as caught:
        EnhancedDeepLog.from_parts(ModelParts(parts.documents, parts.tensors, parts.networks), bundle_id="")
    assert str(caught.value).startswith(text)


def test_a_switch_that_contradicts_the_calibration_is_refused(untimed: EnhancedDeepLog) -> None:
    parts = untimed.to_parts()
    parts.documents["config"]["detection"]["timing"] = True
    with pytest.raises(BundleError) as caught:
        EnhancedDeepLog.from_parts(parts, bundle_id="")
    assert str(caught.value).startswith(
        "In the bundle, score.calibration must be of timing if detection.timing says so"
    )


# --- In words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pause_s", "shown"),
    [(0.0123, ".012 s"), (4.2, "4.2 s"), (0.0, "0 s"), (46_000.0, "46,000 s"), (2e-5, "2e-05 s")],
)
def test_a_pause_is_told_in_seconds(pause_s: float, shown: str) -> None:
    said = pause_in_words(Pause(pause_s, "x", 0.3, 0.999))
    assert said == f'came {shown} after "x"; usually .3 s at most (99.9 % of normal ones)'
