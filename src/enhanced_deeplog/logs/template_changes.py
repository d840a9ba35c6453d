"""What a deploy does to templates: some are reworded, some are new; neither makes a session abnormal.

A change counts only if it is seen to happen: sessions without it, then nearly all of their like with it. An input in
which all sessions have an unseen template from the first on may as well come from a system that is broken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.corpus import Corpus
from enhanced_deeplog.logs.severity import severe_events
from enhanced_deeplog.logs.templates import TemplateMiner

__all__ = ["TemplateChange", "follow_changes"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SESSIONS = 20  # before a change and since then, that must have the event which a new template comes with
_NEARLY_ALL = 0.8  # of those since then that must have the new template, too
_REPLACED = 5  # sessions that would have had the old template by now, had it not been reworded
_ALIKE = 0.3  # share of the words of both texts that a reworded template keeps
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TemplateChange:
    """A template that `fit` has not seen and that is taken as usual.

    Attributes:
        template: Its text.
        replaces: The template that it says in other words; None: a step that was not there before.
        n_sessions: So many sessions have it.
        source: Where it came first...
        line: ...from 1.
    """

    template: str
    replaces: str | None
    n_sessions: int
    source: str
    line: int


def follow_changes(
    corpus: Corpus, event_ids: Mapping[str, int], miner: TemplateMiner, vocabulary: EventVocabulary, usual: Bools
) -> tuple[pl.DataFrame, tuple[TemplateChange, ...]]:
    """Give records of a reworded template the event it had before, and leave out those of new, usual steps.

    Whatever else is new is UNKNOWN, and so is what says that something failed.

    Args:
        corpus: A whole input.
        event_ids: Of each of its bodies; UNKNOWN for what fits no template.
        miner: An empty one, which learns what those look like.
        vocabulary: Has V events.
        usual: Which of them normal sessions have, bool (V,).

    Returns:
        The records with `event_id`, and what has changed in the order in which it came.
    """
    unmatched = [body for body in corpus.bodies if event_ids[body] == UNKNOWN and body not in corpus.given]
    miner.learn(unmatched)
    texts = [template.text for template in miner.templates]
    place = {text: len(vocabulary) + i for i, text in enumerate(texts)}
    new = {body: place[text] for body, text in zip(unmatched, miner.match(unmatched), strict=True) if text is not None}
    return _follow(corpus.with_event_ids({**event_ids, **new}), texts, vocabulary, usual)


def _follow(
    records: pl.DataFrame, new_templates: Sequence[str], vocabulary: EventVocabulary, usual: Bools
) -> tuple[pl.DataFrame, tuple[TemplateChange, ...]]:
    """The same, of records whose event id is V + i where they have the i-th new template."""
    n_known = len(vocabulary)
    becomes = np.arange(n_known + len(new_templates))
    becomes[n_known:] = UNKNOWN
    keyed = records.filter(pl.col("session_key").is_not_null())
    events = keyed["event_id"].to_numpy()
    if not (events >= n_known).any():
        return _with_events(records, becomes), ()
    sessions = _codes(keyed["session_key"])
    texts = [*(vocabulary.template(event) for event in range(n_known)), *new_templates]
    usual = np.concatenate([usual, np.zeros(len(new_templates), dtype=np.bool_)])
    left = np.flatnonzero(~severe_events(records, texts.__getitem__, len(texts)))
    left = np.intersect1d(left[left >= n_known], events)

    occurrences = _Occurrences.of(events, sessions, len(texts))
    for new in left.tolist():  # what is reworded first: a new step may come with one of these
        becomes[new] = _reworded(occurrences, new, texts, usual)
    replaced = {new: texts[becomes[new]] for new in left.tolist() if becomes[new] != UNKNOWN}
    occurrences = _Occurrences.of(np.where(becomes[events] == UNKNOWN, events, becomes[events]), sessions, len(texts))
    steps = [new for new in left.tolist() if new not in replaced and _is_a_step(occurrences, new, usual)]
    found = [
        _described(new, replaced.get(new), texts[new], keyed)
        for new in keyed["event_id"].unique(maintain_order=True).to_list()
        if new in replaced or new in steps
    ]
    return _with_events(records.filter(~pl.col("event_id").is_in(steps)), becomes), tuple(found)


@dataclass(frozen=True)
class _Occurrences:
    """Which sessions have which events, and when.

    Attributes:
        begins, ends: First and last record of each session, int64 (S,).
        first: First record of each event; the number of records where there is none, int64 (E,).
        session, event: Each event of each session once, int64 (P,).
    """

    begins: Int64s
    ends: Int64s
    first: Int64s
    session: Int64s
    event: Int64s

    @classmethod
    def of(cls, events: Int64s, sessions: Int64s, n_events: int) -> _Occurrences:
        rows = np.arange(len(events))
        n_sessions = int(sessions.max()) + 1
        begins, ends, first = (np.full(n, len(rows)) for n in (n_sessions, n_sessions, n_events))
        np.minimum.at(begins, sessions, rows)
        ends[sessions] = rows  # the last one stays
        np.minimum.at(first, events, rows)
        pairs = np.unique(sessions * n_events + events)
        return cls(begins, ends, first, pairs // n_events, pairs % n_events)

    def sessions_with(self, event: int) -> Bools:
        """bool (S,)."""
        has = np.zeros(len(self.begins), dtype=np.bool_)
        has[self.session[self.event == event]] = True
        return has

    def count(self, sessions: Bools) -> Int64s:
        """How many of some sessions have each event, int64 (E,)."""
        return np.bincount(self.event[sessions[self.session]], minlength=len(self.first))


def _is_a_step(occurrences: _Occurrences, new: int, usual: Bools) -> bool:
    """Whether nearly all sessions that have some usual event have this one since it came, and none had it before."""
    before, since = _around(occurrences, new)
    n_before, n_since = occurrences.count(before), occurrences.count(since)
    n_with_new = occurrences.count(since & occurrences.sessions_with(new))
    enough = usual & (np.minimum(n_before, n_since) >= _SESSIONS)
    return bool((n_with_new[enough] >= _NEARLY_ALL * n_since[enough]).any())


def _around(occurrences: _Occurrences, new: int) -> tuple[Bools, Bools]:
    """The sessions that were over when an event first came, and those that have begun since, bool (S,)."""
    first = occurrences.first[new]
    return occurrences.ends < first, occurrences.begins >= first


def _reworded(occurrences: _Occurrences, new: int, texts: Sequence[str], usual: Bools) -> int:
    """The event that a new one takes the place of: gone since then, as frequent before, of like words; or UNKNOWN."""
    before, since = _around(occurrences, new)
    expected = occurrences.count(before) * (since.sum() / max(before.sum(), 1))
    n_new = int((since & occurrences.sessions_with(new)).sum())
    as_frequent = (n_new >= expected / 2) & (n_new <= expected * 2)
    gone = usual & (occurrences.count(since) == 0) & (expected >= _REPLACED) & as_frequent
    alike = {old: _alike(texts[old], texts[new]) for old in np.flatnonzero(gone).tolist()}
    best = max(alike, key=lambda old: alike[old], default=UNKNOWN)
    return best if alike.get(best, 0.0) >= _ALIKE else UNKNOWN


def _alike(one: str, other: str) -> float:
    """Share of the words of both texts that are in each.

    Example:
        >>> _alike("charging <*> EUR for order <*>", "order <*> is charged <*> EUR")
        0.4
    """
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(words & others) / max(len(words | others), 1)


def _described(new: int, replaces: str | None, text: str, keyed: pl.DataFrame) -> TemplateChange:
    of_new = keyed.filter(pl.col("event_id") == new)
    source, line = of_new.select("source", "line").row(0)
    return TemplateChange(text, replaces, of_new["session_key"].n_unique(), source, line)


def _codes(keys: pl.Series) -> Int64s:
    """A number for each distinct key, int64 (R,)."""
    return keys.cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)


def _with_events(records: pl.DataFrame, becomes: Int64s) -> pl.DataFrame:
    ids = becomes[records["event_id"].to_numpy()]
    return records.with_columns(pl.Series("event_id", ids, dtype=pl.Int64))
