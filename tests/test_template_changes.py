"""A deploy rewords templates and adds some; what fails, what is rare and what was always there is none of its doing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from enhanced_deeplog import LogRecords
from enhanced_deeplog.events import UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
from enhanced_deeplog.logs.sessions import TemplateChange
from enhanced_deeplog.logs.template_changes import follow_changes
from enhanced_deeplog.logs.templates import TemplateMiner

OPENED, CHARGED, CLOSED = "session opened", "order is charged now", "session closed"
REWORDED = "the order was charged"
ADDED = ["stock looked up"]
Steps = Callable[[int], list[str]]


def usual(_session: int) -> list[str]:
    return [OPENED, CHARGED, CLOSED]


def log_of(n_before: int, n_since: int, since: Steps, before: Steps = usual) -> list[str]:
    """Sessions one after another, of two kinds."""
    lines = []
    for session in range(n_before + n_since):
        for text in before(session) if session < n_before else since(session):
            level, text = text.split(": ", 1) if text.startswith("ERROR: ") else ("INFO", text)
            lines.append(f"2026-01-01 00:00:{len(lines) % 60:02} | {level} | orders | [req-{session:04}] {text}")
    return lines


def followed(lines: list[str]) -> tuple[list[str], tuple[TemplateChange, ...]]:
    """The templates that the records of each session are taken for, and what has changed."""
    learnt = TemplateMiner()
    learnt.learn([f"[<*>] {text}" for text in (OPENED, CHARGED, CLOSED)])
    vocabulary = EventVocabulary.of(template.text for template in learnt.templates)
    records = LogRecords.from_lines(lines, session_key=r"req-\d+")
    corpus = read_corpus(records, learnt)
    ids = event_ids_of(corpus.bodies, corpus.given, learnt, vocabulary)
    known = np.ones(len(vocabulary), dtype=np.bool_)
    frame, changes = follow_changes(corpus, ids, TemplateMiner(), vocabulary, known)
    return [vocabulary.template(event) for event in frame["event_id"]], changes


def test_a_reworded_template_is_the_event_it_was() -> None:
    lines = log_of(30, 30, lambda _: [OPENED, REWORDED, CLOSED])
    events, changes = followed(lines)
    assert events == [f"[<*>] {text}" for text in (OPENED, CHARGED, CLOSED)] * 60
    (change,) = changes
    assert (change.template, change.replaces) == (f"[<*>] {REWORDED}", f"[<*>] {CHARGED}")
    assert (change.n_sessions, change.line) == (30, 92)


def test_a_step_that_nearly_all_sessions_have_from_some_moment_on_is_left_out() -> None:
    events, changes = followed(
        log_of(30, 30, lambda i: [OPENED, *(["stock looked up"] if i % 10 else []), CHARGED, CLOSED])
    )
    assert events == [f"[<*>] {text}" for text in (OPENED, CHARGED, CLOSED)] * 60
    assert [(change.template, change.replaces) for change in changes] == [("[<*>] stock looked up", None)]


def test_a_step_may_come_with_one_that_was_reworded() -> None:
    _, changes = followed(log_of(30, 30, lambda _: [REWORDED, *ADDED], before=lambda _: [CHARGED]))
    assert [change.replaces is None for change in changes] == [False, True]


@pytest.mark.parametrize(
    ("why", "lines"),
    [
        ("it fails", log_of(30, 30, lambda _: [OPENED, f"ERROR: {REWORDED}", CLOSED])),
        ("few sessions have it", log_of(30, 30, lambda i: [OPENED, CHARGED, *ADDED[: i % 2], CLOSED])),
        ("it was there from the first session on", log_of(0, 60, lambda _: [OPENED, REWORDED, CLOSED])),
        ("too little was seen before", log_of(4, 30, lambda _: [OPENED, *ADDED, CHARGED, CLOSED])),
        ("the words are others", log_of(30, 30, lambda i: [OPENED, *["payment deferred"][: i % 3], CLOSED])),
        ("the old one is still there", log_of(30, 30, lambda i: [OPENED, REWORDED if i % 2 else CHARGED, CLOSED])),
    ],
)
def test_what_may_be_an_anomaly_stays_unknown(why: str, lines: list[str]) -> None:
    events, changes = followed(lines)
    assert changes == (), why
    assert len(events) == len(lines)
    assert EventVocabulary(()).template(UNKNOWN) in events


def test_nothing_new_is_nothing_changed() -> None:
    lines = log_of(30, 30, usual)
    events, changes = followed(lines)
    assert (len(events), changes) == (len(lines), ())
