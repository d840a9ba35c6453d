"""A deploy rewords templates and adds some; what fails, what is rare and what was always there is none of its doing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from typer.testing import CliRunner

from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, LogRecords
from enhanced_deeplog.bundle import save_bundle
from enhanced_deeplog.cli import app
from enhanced_deeplog.events import END, UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.partitions import read_partitions
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.session_rules import SessionRules
from enhanced_deeplog.logs.sessions import Sessions, sessions_of
from enhanced_deeplog.logs.severity import may_fail
from enhanced_deeplog.logs.template_changes import TemplateChange, find_changes
from enhanced_deeplog.logs.templates import TemplateMiner

OPENED, CHARGED, CLOSED, BYE = "session opened", "order is charged now", "session closed", "bye"
USUAL = (OPENED, CHARGED, CLOSED)
REWORDED = "the order was charged"
ADDED = "stock looked up"
Steps = Callable[[int], Sequence[str]]
Bools = npt.NDArray[np.bool_]


def usual(_session: int) -> Sequence[str]:
    return USUAL


def log_of(n_before: int, n_since: int, since: Steps, before: Steps = usual) -> list[str]:
    """Sessions one after another, of two kinds."""
    lines: list[str] = []
    for session in range(n_before + n_since):
        for text in before(session) if session < n_before else since(session):
            level, told = text.split(": ", 1) if ": " in text else ("INFO", text)
            time = f"{len(lines) // 60:02}:{len(lines) % 60:02}"
            lines.append(f"2026-01-01 00:{time} | {level} | orders | [req-{session:04}] {told}")
    return lines


def has_something_new(sessions: Sessions) -> Bools:
    """A verdict as simple as can be: what was never seen is abnormal, and so is a session that isn't closed."""
    closed = sessions.event_ids == CLOSED_EVENT
    session = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
    new = np.bincount(session, sessions.event_ids == UNKNOWN, len(sessions)) > 0
    return np.asarray(new | (np.bincount(session, closed, len(sessions)) == 0))


LEARNT = TemplateMiner()
LEARNT.learn([f"[<*>] {text}" for text in (*USUAL, BYE)])
VOCABULARY = EventVocabulary.of(template.text for template in LEARNT.templates)
CLOSED_EVENT = VOCABULARY.event_ids[f"[<*>] {CLOSED}"]


def followed(
    lines: list[str], *, in_memory: int = 10_000, limits: PauseLimits | None = None
) -> tuple[Sessions, list[TemplateChange]]:
    records = LogRecords.from_lines(lines, session_key=r"req-\d+")
    with read_partitions(records, LEARNT, VOCABULARY, by_key=True, in_memory=in_memory) as read:
        changes = find_changes(
            read,
            read.unmatched,
            VOCABULARY,
            TemplateMiner(),
            usual=np.ones(len(VOCABULARY), dtype=np.bool_),
            split=lambda part: sessions_of(part, read.clock, SessionRules(), {"ns": limits} if limits else {}),
            is_abnormal=has_something_new,
        )
        return changes.sessions(pl.concat(read).sort("number")), list(changes.told.values())


def texts_of(sessions: Sessions, session: int) -> list[str]:
    return [VOCABULARY.template(event).removeprefix("[<*>] ") for event in sessions.sequence(session)]


def test_a_reworded_template_is_the_event_it_was_but_for_the_first_session_that_has_it() -> None:
    sessions, changes = followed(log_of(30, 30, lambda _: [OPENED, REWORDED, CLOSED]))
    assert [texts_of(sessions, i) for i in range(60) if i != 30] == [list(USUAL)] * 59
    assert texts_of(sessions, 30) == [OPENED, "<UNKNOWN>", CLOSED]
    (change,) = changes
    assert (change.template, change.replaces) == (f"[<*>] {REWORDED}", f"[<*>] {CHARGED}")
    assert (change.session_key, change.n_sessions, change.line) == ("req-0030", 30, 92)


def test_a_step_that_comes_with_a_usual_one_from_some_moment_on_is_not_judged() -> None:
    log = log_of(30, 30, lambda i: [OPENED, *([ADDED] if i % 10 else []), CHARGED, CLOSED])
    sessions, changes = followed(log)
    assert [texts_of(sessions, i) for i in range(60) if i != 31] == [list(USUAL)] * 59
    assert texts_of(sessions, 31) == [OPENED, "<UNKNOWN>", CHARGED, CLOSED]
    assert [(change.template, change.replaces) for change in changes] == [(f"[<*>] {ADDED}", None)]


@pytest.mark.parametrize("steps", [[ADDED, *USUAL], [*USUAL, ADDED]])
def test_a_step_may_be_the_first_or_the_last(steps: list[str]) -> None:
    sessions, changes = followed(log_of(30, 30, lambda _: steps))
    assert len(changes) == 1
    assert texts_of(sessions, 45) == list(USUAL)
    # What is said of the session, such as its first line and its name, is the same as ever.
    assert sessions.table["n_records"].to_list() == [3] * 30 + [4] * 30
    first = sessions.records["text"][int(sessions.table["first"][45])]
    assert first.endswith(steps[0])
    shown = sessions.records["text"][sessions.rows[sessions.starts[45] : sessions.starts[46]]].to_list()
    assert [text.split("] ")[1] for text in shown] == list(USUAL)


def test_a_step_may_come_with_one_that_was_reworded() -> None:
    _, changes = followed(log_of(30, 30, lambda _: [REWORDED, ADDED, CLOSED], before=lambda _: [CHARGED, CLOSED]))
    assert [change.replaces is None for change in changes] == [True, False]


def test_each_template_is_replaced_once_by_the_most_alike() -> None:
    log = log_of(30, 40, lambda i: [OPENED, "the order is charged now" if i % 2 else "is an order charged", CLOSED])
    _, changes = followed(log)
    assert [change.template for change in changes] == ["[<*>] the order is charged now"]


@pytest.mark.parametrize(
    ("why", "log"),
    [
        ("its level says that it fails", log_of(30, 30, lambda _: [OPENED, f"WARN: {REWORDED}", CLOSED])),
        ("its words say that it fails", log_of(30, 30, lambda _: [OPENED, "order was not charged: refused", CLOSED])),
        ("few sessions have it", log_of(30, 30, lambda i: [OPENED, CHARGED, *[ADDED][: i % 2], CLOSED])),
        ("it was there from the first session on", log_of(0, 60, lambda _: [OPENED, REWORDED, CLOSED])),
        ("too little was seen before", log_of(4, 30, lambda _: [OPENED, ADDED, BYE, CLOSED])),
        ("the words are others", log_of(30, 80, lambda i: [OPENED, *["payment deferred"][: i % 3], CLOSED])),
        ("the old one is still there", log_of(30, 30, lambda i: [OPENED, REWORDED if i % 2 else CHARGED, CLOSED])),
        ("sessions that have it miss their end", log_of(30, 30, lambda _: [OPENED, REWORDED])),
        ("it is an outage of what used to come", log_of(30, 30, lambda _: [OPENED, CHARGED, ADDED])),
    ],
)
def test_what_may_be_an_anomaly_stays_unknown(why: str, log: list[str]) -> None:
    sessions, changes = followed(log)
    assert changes == [], why
    assert UNKNOWN in sessions.event_ids


def test_sessions_without_a_key_are_not_followed() -> None:
    lines = [line.replace("req-", "") for line in log_of(30, 30, lambda _: [OPENED, REWORDED, CLOSED])]
    assert followed(lines)[1] == []


def test_what_has_changed_does_not_depend_on_how_many_records_memory_holds() -> None:
    log = log_of(60, 60, lambda i: [OPENED, *([ADDED] if i % 10 else []), REWORDED, CLOSED])
    (sessions, changes), (spilled, as_well) = followed(log), followed(log, in_memory=50)
    assert len(changes) == 2
    assert changes == as_well
    assert sessions.event_ids.tolist() == spilled.event_ids.tolist()


def test_of_sessions_that_begin_at_once_the_first_line_is_the_first() -> None:
    log = log_of(60, 60, lambda _: [OPENED, REWORDED, CLOSED])
    at_once = [line[:14] + f"{i // 30:02}:00" + line[19:] for i, line in enumerate(log)]
    (_, (change,)), (_, (as_well,)) = followed(at_once), followed(at_once, in_memory=20)
    assert change == as_well
    assert change.session_key == "req-0060"


def test_a_key_that_comes_again_and_again_is_many_sessions() -> None:
    log = log_of(100, 100, lambda _: [OPENED, REWORDED, CLOSED])
    again = [re.sub(r"req-(\d+)", lambda key: f"req-{int(key[1]) % 4}", line) for line in log]
    sessions, (change,) = followed(again, limits=PauseLimits("ns", np.full(len(VOCABULARY), 10**9), 2 * 10**9))
    assert len(sessions) == 200
    assert change.n_sessions == 100
    assert (sessions.event_ids == UNKNOWN).sum() == 1


def test_nothing_new_is_nothing_changed() -> None:
    sessions, changes = followed(log_of(30, 30, usual))
    assert (len(sessions), changes) == (60, [])


@pytest.mark.parametrize(
    ("template", "fails"),
    [
        ("order <*> is charged", False),
        ("stock of <*> looked up, no errors", False),
        ("payment <*> declined", True),
        ("node <*> is down", True),
        ("scrolled down<*>", True),
        ("downloaded <*> bytes", False),
    ],
)
def test_words_of_failure_speak_whatever_the_level(template: str, fails: bool) -> None:
    assert may_fail(["INFO", None], template) == fails
    assert may_fail(["INFO", "WARNING"], template)
    assert may_fail(["STRANGE"], template)


# --- Sessions of which some events are not judged -----------------------------------------------------------------


def test_events_that_are_left_out_leave_the_time_they_took() -> None:
    sessions, _ = followed(log_of(2, 0, usual))
    assert sessions.pauses.tolist()[1:3] == [1.0, 1.0]
    skipped = np.zeros(len(sessions.event_ids), dtype=np.bool_)
    skipped[1] = True
    left = sessions.without(skipped)
    assert (texts_of(left, 0), texts_of(left, 1)) == ([OPENED, CLOSED], list(USUAL))
    assert left.pauses.tolist()[1] == 2.0
    assert left.rows.tolist() == [0, 2, 3, 4, 5]


def test_what_is_left_out_at_the_very_end_leaves_no_time_behind() -> None:
    sessions, _ = followed(log_of(1, 0, usual))
    assert sessions.without(np.array([False, False, True])).pauses.tolist()[1:] == [1.0]


def test_a_session_of_nothing_else_keeps_its_events() -> None:
    sessions, _ = followed(log_of(2, 0, usual))
    skipped = np.repeat([True, False], 3)
    assert sessions.without(skipped).event_ids.tolist() == sessions.event_ids.tolist()
    assert END not in sessions.event_ids  # the log just stops


# --- As a user sees it --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> EnhancedDeepLog:
    learnt = LogRecords.from_lines(log_of(300, 0, usual), session_key=r"req-\d+")
    return EnhancedDeepLog(small_config()).fit(normal=learnt, workers=1)


def test_after_a_deploy_the_first_session_of_each_change_is_a_finding(model: EnhancedDeepLog) -> None:
    lines = log_of(100, 100, lambda i: [OPENED, *([ADDED] if i > 110 else []), REWORDED, CLOSED])
    changes: list[TemplateChange] = []
    records = LogRecords.from_lines(lines, session_key=r"req-\d+")
    findings = model.classify(records, on_changes=changes.extend)
    assert [finding.session_key for finding in findings] == ["req-0100", "req-0111"]
    assert [change.session_key for change in changes] == ["req-0100", "req-0111"]
    assert "<UNKNOWN>" in [shown.template for shown in findings[0].evidence]
    (told,) = (course.finding for course in model.explain(records, "req-0150"))
    assert not told.is_anomaly
    assert (told.n_records, told.first_line) == (4, 490)


def test_a_session_that_breaks_off_is_found_after_a_deploy_too(model: EnhancedDeepLog) -> None:
    lines = log_of(100, 100, lambda i: [OPENED, REWORDED, *([CHARGED, OPENED] if i == 150 else []), CLOSED])
    findings = model.classify(LogRecords.from_lines(lines, session_key=r"req-\d+"))
    assert [finding.session_key for finding in findings] == ["req-0100", "req-0150"]


def test_classify_says_which_templates_have_changed(model: EnhancedDeepLog, tmp_path: Path) -> None:
    log, bundle = tmp_path / "orders.log", tmp_path / "bundle"
    log.write_text("\n".join(log_of(60, 60, lambda _: [OPENED, REWORDED + "\x1b[31m", CLOSED])) + "\n")
    save_bundle(model, bundle)
    result = CliRunner().invoke(app, ["classify", str(log), "--bundle", str(bundle), "--json"])
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    err = result.stderr
    assert "New since fit, and usual by now" in err
    assert "in place of '[<*>] order is charged now'; in 60 sessions, first in 'req-0060'" in err
    assert "\x1b" not in err
