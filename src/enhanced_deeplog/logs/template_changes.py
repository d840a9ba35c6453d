"""What a deploy does to templates: it rewords some and adds some, and neither makes a session abnormal for long.

A change counts as a deploy's only if it is seen to happen: sessions without it, then many with it, none of which says
that something failed, and most of which look normal but for it. The first session that has it stays what it is, a
finding: somebody should know of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import END, UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.severity import may_fail
from enhanced_deeplog.logs.templates import TemplateMiner

__all__ = ["TemplateChange", "TemplateChanges", "find_changes"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Split: TypeAlias = Callable[[pl.DataFrame], Sessions]

_SESSIONS = 20  # before a change, and with it
_COMMON = 0.05  # share of the sessions since then that have a new step
_TOGETHER = 0.8  # of the sessions with a new step, and of those with the usual event that it comes with, that have both
_GONE = 0.1  # sessions with the old text since then, for each with the new one
_AS_OFTEN = 2.0  # the new text is at most so many times as frequent as the old one was, or as rare
_ALIKE = 0.3  # share of the words of both texts that a reworded template keeps
_LOOK_NORMAL = 0.8  # share of the sessions with it that look normal but for it, for each before that did
_MAX_CANDIDATES = 200  # new templates looked at: the most frequent ones
_MAX_ROUNDS = 3  # of judging the input without the changes that made too many sessions look abnormal
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TemplateChange:
    """A template that `fit` has not seen and that is taken as usual.

    Attributes:
        template: Its text.
        replaces: The template that it says in other words; None: a step that was not there before.
        session_key: The session that has it first, in which it is not taken as usual.
        n_sessions: So many sessions have it.
        source: Where that session has it...
        line: ...from 1.
    """

    template: str
    replaces: str | None
    session_key: str
    n_sessions: int
    source: str
    line: int


@dataclass(frozen=True)
class TemplateChanges:
    """What a deploy has changed, and how sessions are made that don't mind.

    Attributes:
        split: Makes sessions of records with `event_id`.
        of_body: Which of the new templates each body has that fits none (-1: none of these, either), int64 (B,).
        becomes: New template -> the event that it takes the place of; UNKNOWN: a new step.
        told: New template -> what a person is told of it.
    """

    split: Split
    of_body: Int64s
    becomes: Mapping[int, int] = field(default_factory=dict)
    told: Mapping[int, TemplateChange] = field(default_factory=dict)

    def sessions(self, records: pl.DataFrame) -> Sessions:
        """Sessions in which a reworded template is the event that it was, and new steps don't count.

        Args:
            records: All records of some streams, with `event_id` and `body_id`.
        """
        plain = self.split(records)
        if not self.becomes:
            return plain
        firsts = {one: self.first_session(plain, one) for one in self.becomes}
        new, rows = self.new_templates(plain.records), plain.records["row"].to_numpy()
        event_ids = plain.records["event_id"].to_numpy().copy()
        for one, event in self.becomes.items():
            event_ids[(new == one) & (rows != firsts[one])] = event
        sessions = self.split(plain.records.with_columns(pl.Series("event_id", event_ids)))
        new = self.new_templates(sessions.records)[sessions.rows]
        session = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
        skipped = np.zeros(len(new), dtype=np.bool_)
        for one, event in self.becomes.items():
            if event == UNKNOWN:
                skipped |= (new == one) & (session != firsts[one]) & (sessions.event_ids != END)
        return sessions.without(skipped)

    def new_templates(self, records: pl.DataFrame) -> Int64s:
        """Which new template each record has (-1: none), int64 (R,)."""
        bodies = records["body_id"].fill_null(-1).to_numpy()
        return np.where(bodies >= 0, self.of_body[bodies], np.int64(-1))

    def first_session(self, sessions: Sessions, new: int) -> int:
        """The session in which a change came first; -1 if it is none of these."""
        told = self.told[new]
        at = (sessions.records["source"] == told.source) & (sessions.records["line"] == told.line)
        rows = sessions.records["row"].to_numpy()[at.to_numpy() & (self.new_templates(sessions.records) == new)]
        return int(rows[0]) if len(rows) else -1


def find_changes(
    parts: Iterable[pl.DataFrame],
    unmatched: Mapping[str, int],
    vocabulary: EventVocabulary,
    miner: TemplateMiner,
    *,
    usual: Bools,
    split: Split,
    is_abnormal: Callable[[Sessions], Bools],
) -> TemplateChanges:
    """Look in a whole input for what a deploy has changed. Whatever else is new stays UNKNOWN.

    Args:
        parts: The records of the input, with `event_id`, `body_id` and `clock`; a stream lies in one part. They are
            gone through several times, though mostly not at all.
        unmatched: The bodies that fit no template, and how many records have each.
        vocabulary: Has V events.
        miner: An empty one, which learns what these bodies look like.
        usual: Which events normal sessions have, bool (V,).
        split: Makes sessions of records.
        is_abnormal: The verdict on sessions, bool (S,).
    """
    miner.learn(unmatched)
    texts = [template.text for template in miner.templates]
    place = {text: i for i, text in enumerate(texts)}
    of_body = np.array([-1 if text is None else place[text] for text in miner.match(unmatched)], dtype=np.int64)
    n_records = np.zeros(len(texts) + 1, dtype=np.int64)
    np.add.at(n_records, of_body, list(unmatched.values()))
    nothing = TemplateChanges(split, of_body)
    if not (n_records[:-1] >= _SESSIONS).any():  # the last one counts what fits none of these, either
        return nothing
    candidates = _candidates(parts, nothing, texts)
    becomes = _changes(parts, nothing, candidates, vocabulary, usual)
    if not becomes:
        return nothing
    before = _normal_before(parts, nothing, becomes, candidates, is_abnormal)
    for _ in range(_MAX_ROUNDS):
        told = {one: _told(candidates[one], becomes[one], vocabulary) for one in becomes}
        changes = replace(nothing, becomes=becomes, told=told)
        look_normal = _normal_with(parts, changes, is_abnormal)
        kept = {one: becomes[one] for one in becomes if look_normal[one] >= _LOOK_NORMAL * before[one]}
        if len(kept) == len(becomes):
            return changes
        if not kept:
            break
        becomes = kept
    return nothing  # what makes so many sessions look abnormal is no deploy


@dataclass
class _Candidate:
    """A template that `fit` has not seen, in sessions that have a key.

    Attributes:
        text: Its text.
        n_sessions: So many of them have it.
        begin: Clock at the beginning of the first one.
        place: Source and number of its first record, which tell it from others that begin at the same time.
        first: Key of that one, and the source and the line where it has it.
        levels: Of its records.
    """

    text: str
    n_sessions: int = 0
    begin: int = np.iinfo(np.int64).max
    place: tuple[str, int] = ("", 0)
    first: tuple[str, str, int] = ("", "", 0)
    levels: set[str | None] = field(default_factory=set)


def _candidates(parts: Iterable[pl.DataFrame], nothing: TemplateChanges, texts: Sequence[str]) -> dict[int, _Candidate]:
    """New templates that may be a deploy's: frequent enough, seen to come, nothing that fails; the first one first."""
    found = [_Candidate(text) for text in texts]
    begins = []
    for sessions in map(nothing.sessions, parts):
        firsts = _first_records(sessions)
        clock = sessions.records["clock"].to_numpy()
        is_whole = (sessions.table["keyed"] & (sessions.table["context"] == 0)).to_numpy()
        begins.append(clock[firsts[is_whole]])
        first = firsts[sessions.records["row"].to_numpy()]
        records = sessions.records.select("row", "keyed", "severity", "source", "line").with_columns(
            new=nothing.new_templates(sessions.records),
            first=first,
            begin=clock[first],
            first_source=sessions.records["source"].gather(first),
            first_number=sessions.records["number"].gather(first),
        )
        of_new = (
            records.filter(pl.col("keyed") & (pl.col("new") >= 0))
            .sort("begin", "first_source", "first_number", maintain_order=True)
            .group_by("new")
            .agg(
                pl.col("first").n_unique().alias("n"),
                pl.col("severity").unique(),
                pl.col("begin", "first_source", "first_number", "source", "line", "row").first(),
            )
        )
        for new, n, levels, begin, first_source, number, source, line, row in of_new.iter_rows():
            one = found[new]
            one.n_sessions += n
            one.levels.update(levels)
            if (begin, (first_source, number)) < (one.begin, one.place):
                one.begin, one.place = begin, (first_source, number)
                one.first = (sessions.table["session_key"][row], source, line)
    of_all = np.sort(np.concatenate(begins))
    may_be = [
        i
        for i, one in enumerate(found)
        if one.n_sessions >= _SESSIONS
        and np.searchsorted(of_all, one.begin) >= _SESSIONS
        and not may_fail(one.levels, one.text)
    ]
    most_frequent = sorted(may_be, key=lambda i: -found[i].n_sessions)[:_MAX_CANDIDATES]
    return {i: found[i] for i in sorted(most_frequent, key=lambda i: (found[i].begin, i))}


def _first_records(sessions: Sessions) -> Int64s:
    """The first record of the session that each row is a part of, int64 (S,)."""
    return np.asarray((sessions.table["first"] - sessions.table["context"]).to_numpy())


def _begins(sessions: Sessions) -> Int64s:
    """Clock at the beginning of the session of each row, int64 (S,)."""
    return np.asarray(sessions.records["clock"].to_numpy()[_first_records(sessions)])


def _changes(
    parts: Iterable[pl.DataFrame],
    nothing: TemplateChanges,
    candidates: Mapping[int, _Candidate],
    vocabulary: EventVocabulary,
    usual: Bools,
) -> dict[int, int]:
    """The candidates that look like a deploy's by the sessions that have what, and what each becomes."""
    if not candidates:
        return {}
    n_known = len(vocabulary)
    place = {new: n_known + i for i, new in enumerate(candidates)}
    becomes = np.full(int(nothing.of_body.max()) + 1, UNKNOWN)  # new template -> event, as far as it is counted
    becomes[list(place)] = list(place.values())
    counts = _count(parts, nothing, candidates, becomes, n_known)
    # What is reworded first: a new step may come with one of these.
    pairs = [
        (_alike(vocabulary.template(old), one.text), new, old)
        for new, one in candidates.items()
        for old in _replaced(counts[new], place[new], usual)
    ]
    replaced: dict[int, int] = {}
    for alike, new, old in sorted(pairs, reverse=True):
        if alike >= _ALIKE and new not in replaced and old not in replaced.values():
            replaced[new] = old
            becomes[new] = old
    if replaced:
        counts = _count(parts, nothing, candidates, becomes, n_known)
    steps = {new: UNKNOWN for new in candidates if new not in replaced and _is_a_step(counts[new], place[new], usual)}
    found = replaced | steps
    return {new: found[new] for new in candidates if new in found}


@dataclass
class _Counts:
    """Sessions that began before a new template came, and since then; of both and of those with it, how many have each
    event, int64 (E,)."""

    before: Int64s
    since: Int64s
    together: Int64s
    n_before: int = 0
    n_since: int = 0


def _count(
    parts: Iterable[pl.DataFrame],
    nothing: TemplateChanges,
    candidates: Mapping[int, _Candidate],
    becomes: Int64s,
    n_known: int,
) -> dict[int, _Counts]:
    n_events = n_known + len(candidates)
    counts = {new: _Counts(*np.zeros((3, n_events), dtype=np.int64)) for new in candidates}
    for sessions in map(nothing.sessions, parts):
        keyed, firsts = sessions.table["keyed"].to_numpy(), _first_records(sessions)
        is_whole = keyed & (sessions.table["context"] == 0).to_numpy()
        clock, begins = sessions.records["clock"].to_numpy(), _begins(sessions)[is_whole]
        rows, new = sessions.records["row"].to_numpy(), nothing.new_templates(sessions.records)
        events = np.where(new >= 0, becomes[new], sessions.records["event_id"].to_numpy())
        pairs = np.unique((firsts[rows] * n_events + events)[keyed[rows]])
        session, event = pairs // n_events, pairs % n_events
        for i, (one, candidate) in enumerate(candidates.items()):
            of_one = counts[one]
            since = clock[session] >= candidate.begin
            together = np.isin(session, session[event == n_known + i])
            of_one.before += np.bincount(event[~since], minlength=n_events)
            of_one.since += np.bincount(event[since], minlength=n_events)
            of_one.together += np.bincount(event[together], minlength=n_events)
            of_one.n_before += int((begins < candidate.begin).sum())
            of_one.n_since += int((begins >= candidate.begin).sum())
    return counts


def _replaced(counts: _Counts, new: int, usual: Bools) -> list[int]:
    """Events that a new one may take the place of: gone since it came, and as frequent before as it has been since."""
    was, is_now, n_new = counts.before[: len(usual)], counts.since[: len(usual)], counts.since[new]
    gone = usual & (was >= _SESSIONS) & (is_now <= _GONE * n_new)
    ratio = (n_new / counts.n_since) / np.maximum(was / max(counts.n_before, 1), 1e-9)
    alternatives: list[int] = np.flatnonzero(gone & (ratio <= _AS_OFTEN) & (ratio >= 1.0 / _AS_OFTEN)).tolist()
    return alternatives


def _is_a_step(counts: _Counts, new: int, usual: Bools) -> bool:
    """Whether nearly all sessions have a new event since it came, or many do: those that have some usual event."""
    n_new, both = counts.since[new], counts.together[: len(usual)]
    comes_with = usual & (counts.before[: len(usual)] >= _SESSIONS)
    comes_with &= (both >= _TOGETHER * n_new) & (both >= _TOGETHER * counts.since[: len(usual)])
    return bool(n_new >= _TOGETHER * counts.n_since or (n_new >= _COMMON * counts.n_since and comes_with.any()))


def _alike(one: str, other: str) -> float:
    """Share of the words of both texts that are in each.

    Example:
        >>> _alike("charging <*> EUR for order <*>", "charged <*> EUR for order <*>")
        0.6
    """
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(words & others) / max(len(words | others), 1)


def _normal_before(
    parts: Iterable[pl.DataFrame],
    nothing: TemplateChanges,
    becomes: Iterable[int],
    candidates: Mapping[int, _Candidate],
    is_abnormal: Callable[[Sessions], Bools],
) -> dict[int, float]:
    """Share of the sessions before each change that look normal."""
    judged = [(_begins(sessions), ~is_abnormal(sessions)) for sessions in map(nothing.sessions, parts)]
    begins, normal = (np.concatenate(arrays) for arrays in zip(*judged, strict=True))
    return {one: float(normal[begins < candidates[one].begin].mean()) for one in becomes}


def _normal_with(
    parts: Iterable[pl.DataFrame], changes: TemplateChanges, is_abnormal: Callable[[Sessions], Bools]
) -> dict[int, float]:
    """Share of the sessions with each change, but the first one, that look normal but for it."""
    n_with, n_normal = dict.fromkeys(changes.becomes, 0), dict.fromkeys(changes.becomes, 0)
    for sessions in map(changes.sessions, parts):
        normal, new = ~is_abnormal(sessions), changes.new_templates(sessions.records)
        for one in changes.becomes:
            rows = np.unique(sessions.records["row"].to_numpy()[new == one])
            rows = rows[rows != changes.first_session(sessions, one)]
            n_with[one] += len(rows)
            n_normal[one] += int(normal[rows].sum())
    return {one: n_normal[one] / max(n_with[one], 1) for one in changes.becomes}


def _told(candidate: _Candidate, becomes: int, vocabulary: EventVocabulary) -> TemplateChange:
    key, source, line = candidate.first
    replaces = None if becomes == UNKNOWN else vocabulary.template(becomes)
    return TemplateChange(candidate.text, replaces, key, candidate.n_sessions, source, line)
