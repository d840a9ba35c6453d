"""What a deploy does to templates: it rewords some and adds some, and neither makes a session abnormal for long.

A change counts as a deploy's only if it is seen to happen: sessions without it, then many with it, none of which says
that something failed, and most of which look normal but for it. The first session that has it stays what it is, a
finding: somebody should know of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import END, UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.corpus import Corpus
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.logs.severity import may_fail
from enhanced_deeplog.logs.templates import TemplateMiner

__all__ = ["TemplateChange", "follow_changes"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NEW = "new_template"  # column of records: which of the new templates, null where `fit` has seen it
_SESSIONS = 20  # before a change, and with it
_COMMON = 0.05  # share of the sessions since then that have a new step
_TOGETHER = 0.8  # of the sessions with a new step, and of those with the usual event that it comes with, that have both
_GONE = 0.1  # sessions with the old text since then, for each with the new one
_AS_OFTEN = 2.0  # the new text is at most so many times as frequent as the old one was, or as rare
_ALIKE = 0.3  # share of the words of both texts that a reworded template keeps
_LOOK_NORMAL = 0.8  # share of the sessions with it that look normal but for it, for each before that did
_MAX_CANDIDATES = 200  # new templates looked at: the most frequent ones
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
class _Change:
    """A change while it is looked into.

    Attributes:
        new: Which of the new templates.
        event: The event that it takes the place of; UNKNOWN: a new step.
        first: The first session that has it.
        sessions: The others, int64 (N,).
    """

    new: int
    event: int
    first: int
    sessions: Int64s


def follow_changes(
    corpus: Corpus,
    event_ids: Mapping[str, int],
    vocabulary: EventVocabulary,
    miner: TemplateMiner,
    *,
    usual: Bools,
    split: Callable[[pl.DataFrame], Sessions],
    is_abnormal: Callable[[Sessions], Bools],
) -> tuple[Sessions, tuple[TemplateChange, ...]]:
    """Make sessions in which a reworded template is the event that it was before, and new usual steps don't count.

    Whatever else is new is UNKNOWN.

    Args:
        corpus: A whole input.
        event_ids: Of each of its bodies; UNKNOWN for what fits no template.
        vocabulary: Has V events.
        miner: An empty one, which learns what the bodies look like that fit no template.
        usual: Which events normal sessions have, bool (V,).
        split: Makes sessions of records with `event_id`.
        is_abnormal: The verdict on sessions, bool (S,).

    Returns:
        The sessions, and what has changed in the order in which it came.
    """
    texts, of_body = _new_templates(corpus, event_ids, miner)
    records = corpus.with_event_ids(event_ids)
    if not texts:
        return split(records), ()
    new = pl.Series(_NEW, of_body[corpus.frame["body_id"].to_numpy()])
    records = records.with_columns(pl.when(new >= 0).then(new))
    plain = split(records)
    changes = _find(plain, texts, vocabulary, usual)
    normal_before = ~is_abnormal(plain) if changes else np.zeros(0, dtype=np.bool_)
    while changes:
        sessions = _apply(changes, records, plain, split)
        normal = ~is_abnormal(sessions)
        kept = [c for c in changes if _look_normal(c, normal, normal_before)]
        if len(kept) == len(changes):
            return sessions, tuple(_described(c, plain, texts, vocabulary) for c in changes)
        changes = kept
    return plain, ()


def _new_templates(corpus: Corpus, event_ids: Mapping[str, int], miner: TemplateMiner) -> tuple[Sequence[str], Int64s]:
    """What the bodies look like that fit no template, and which of these each body has (-1: none), int64 (B,).

    A template that a source gives by its number does not say what it is; nobody could tell whether it is harmless.
    """
    unmatched = [body for body in corpus.bodies if event_ids[body] == UNKNOWN and body not in corpus.given]
    miner.learn(unmatched)
    texts = [template.text for template in miner.templates]
    place = {text: i for i, text in enumerate(texts)}
    found = {b: place[t] for b, t in zip(unmatched, miner.match(unmatched), strict=True) if t is not None}
    return texts, np.array([found.get(body, -1) for body in corpus.bodies], dtype=np.int64)


def _find(sessions: Sessions, texts: Sequence[str], vocabulary: EventVocabulary, usual: Bools) -> list[_Change]:
    """The changes that look like those of a deploy, by the sessions that have what."""
    n_known = len(vocabulary)
    keyed = sessions.records.filter(pl.col("keyed"))
    events = keyed.select(pl.coalesce(pl.col(_NEW) + n_known, "event_id")).to_series().to_numpy()
    if not (events >= n_known).any():
        return []
    rows = keyed["row"].to_numpy()
    occurrences = _Occurrences.of(rows, events, n_known + len(texts))
    n_with = occurrences.count()
    candidates = n_known + np.flatnonzero(n_with[n_known:] >= _SESSIONS)
    levels = keyed.filter(pl.col(_NEW).is_not_null()).group_by(_NEW).agg(pl.col("severity").unique())
    level_of = dict(levels.iter_rows())
    candidates = candidates[np.argsort(-n_with[candidates], kind="stable")][:_MAX_CANDIDATES]
    seen_to_come = [e for e in candidates.tolist() if occurrences.n_before(e) >= _SESSIONS]
    harmless = [e for e in seen_to_come if not may_fail(level_of[e - n_known], texts[e - n_known])]

    # What is reworded first: a new step may come with one of these.
    pairs = [
        (_alike(vocabulary.template(old), texts[new - n_known]), new, old)
        for new in harmless
        for old in _replaced(occurrences, new, usual)
    ]
    replaced: dict[int, int] = {}
    for alike, new, old in sorted(pairs, reverse=True):
        if alike >= _ALIKE and new not in replaced and old not in replaced.values():
            replaced[new] = old
    becomes = np.arange(n_known + len(texts))
    becomes[list(replaced)] = list(replaced.values())
    again = _Occurrences.of(rows, becomes[events], len(becomes))
    steps = {new: UNKNOWN for new in harmless if new not in replaced and _is_a_step(again, new, usual)}
    found = []
    for new, old in (replaced | steps).items():
        having = occurrences.sessions_with(new)
        found.append(_Change(new - n_known, old, int(having[0]), having[1:]))
    return sorted(found, key=lambda change: (change.first, change.new))


@dataclass(frozen=True)
class _Occurrences:
    """Which sessions have which events: each event of each session once, by session.

    Attributes:
        session, event: int64 (P,).
        n_events: Known and new ones (E).
        sessions: The sessions there are, int64 (S,).
    """

    session: Int64s
    event: Int64s
    n_events: int
    sessions: Int64s

    @classmethod
    def of(cls, sessions: Int64s, events: Int64s, n_events: int) -> _Occurrences:
        pairs = np.unique(sessions.astype(np.int64) * n_events + events)
        return cls(pairs // n_events, pairs % n_events, n_events, np.unique(sessions))

    def sessions_with(self, event: int) -> Int64s:
        """Sessions that have an event, in the order in which they begin, int64 (N,)."""
        return np.asarray(self.session[self.event == event])

    def count(self, among: Bools | None = None) -> Int64s:
        """How many sessions have each event; of some pairs alone, bool (P,): int64 (E,)."""
        events = self.event if among is None else self.event[among]
        return np.asarray(np.bincount(events, minlength=self.n_events), dtype=np.int64)

    def n_before(self, event: int) -> int:
        """How many sessions began before the first that has an event."""
        return int(np.searchsorted(self.sessions, self.sessions_with(event)[0]))

    def around(self, new: int) -> tuple[Int64s, Int64s, Int64s, int, int]:
        """Sessions before the first that has a new event, since then, and with it, that have each event, int64 (E,);
        and how many sessions there are before and since."""
        having = self.sessions_with(new)
        since = self.session >= having[0]
        together = np.isin(self.session, having)
        n_before = self.n_before(new)
        return self.count(~since), self.count(since), self.count(together), n_before, len(self.sessions) - n_before


def _replaced(occurrences: _Occurrences, new: int, usual: Bools) -> list[int]:
    """Events that a new one may take the place of: gone since it came, and as frequent before as it has been since."""
    before, since, _, n_before, n_since = occurrences.around(new)
    was, n_new = before[: len(usual)], since[new]
    gone = usual & (was >= _SESSIONS) & (since[: len(usual)] <= _GONE * n_new)
    ratio = (n_new / n_since) / np.maximum(was / max(n_before, 1), 1e-9)
    alternatives: list[int] = np.flatnonzero(gone & (ratio <= _AS_OFTEN) & (ratio >= 1.0 / _AS_OFTEN)).tolist()
    return alternatives


def _is_a_step(occurrences: _Occurrences, new: int, usual: Bools) -> bool:
    """Whether nearly all sessions have a new event since it came, or many do: those that have some usual event."""
    before, since, together, _, n_since = occurrences.around(new)
    n_new = since[new]
    both = together[: len(usual)]
    comes_with = usual & (before[: len(usual)] >= _SESSIONS)
    comes_with &= (both >= _TOGETHER * n_new) & (both >= _TOGETHER * since[: len(usual)])
    return bool(n_new >= _TOGETHER * n_since or (n_new >= _COMMON * n_since and comes_with.any()))


def _alike(one: str, other: str) -> float:
    """Share of the words of both texts that are in each.

    Example:
        >>> _alike("charging <*> EUR for order <*>", "order <*> is charged <*> EUR")
        0.4
    """
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(words & others) / max(len(words | others), 1)


def _apply(
    changes: Sequence[_Change], records: pl.DataFrame, plain: Sessions, split: Callable[[pl.DataFrame], Sessions]
) -> Sessions:
    """Sessions in which these changes are usual, but for the first that has each."""
    event_ids = records["event_id"].to_numpy().copy()
    new = records[_NEW].fill_null(-1).to_numpy()
    keys = records["session_key"]
    is_first = {c.new: (keys == plain.table["session_key"][c.first]).fill_null(value=False).to_numpy() for c in changes}
    for change in changes:
        event_ids[(new == change.new) & ~is_first[change.new]] = change.event
    sessions = split(records.with_columns(pl.Series("event_id", event_ids)))
    of_event = sessions.records[_NEW].fill_null(-1).to_numpy()[sessions.rows]
    skipped = np.zeros(len(of_event), dtype=np.bool_)
    session = np.repeat(np.arange(len(sessions)), np.diff(sessions.starts))
    for change in changes:
        if change.event == UNKNOWN:
            skipped |= (of_event == change.new) & (session != change.first) & (sessions.event_ids != END)
    return sessions.without(skipped)


def _look_normal(change: _Change, normal: Bools, normal_before: Bools) -> bool:
    """Whether the sessions with a change are as often normal, but for it, as those before it were, about."""
    before = float(normal_before[: change.first].mean())
    return float(normal[change.sessions].mean()) >= _LOOK_NORMAL * before


def _described(
    change: _Change, sessions: Sessions, texts: Sequence[str], vocabulary: EventVocabulary
) -> TemplateChange:
    first = sessions.records.filter((pl.col("row") == change.first) & (pl.col(_NEW) == change.new))
    source, line = first.select("source", "line").row(0)
    return TemplateChange(
        template=texts[change.new],
        replaces=None if change.event == UNKNOWN else vocabulary.template(change.event),
        session_key=str(sessions.table["session_key"][change.first]),
        n_sessions=len(change.sessions) + 1,
        source=source,
        line=line,
    )
