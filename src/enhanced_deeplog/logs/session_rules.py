"""Deciding what makes a session, once, in `fit`."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.config import SessionConfig
from enhanced_deeplog.logs.key_choice import find_session_key
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.session_keys import CANDIDATE_KEYS, SessionKey, session_key_of
from enhanced_deeplog.logs.sessions import SessionRules

__all__ = ["KeyChoice", "choose_rules"]

_SAMPLE_RECORDS = 50_000


@dataclass(frozen=True)
class KeyChoice:
    """What was chosen as session key, in words.

    Attributes:
        chosen: Name of the key, or None.
        runner_up: The next best one, or None.
        reason: One line for a person.
    """

    chosen: str | None
    runner_up: str | None
    reason: str


def choose_rules(records: LogRecords, config: SessionConfig) -> tuple[SessionRules, KeyChoice]:
    """Decide how records become sessions: as asked, as the source says, or by the best key found.

    Args:
        records: The input; its first records are looked at.
        config: What was asked for.
    """

    def rules(key: str | None) -> SessionRules:
        return SessionRules(
            by=config.by,
            key=key,
            idle_gap_s=config.idle_gap_s,
            time_span_s=config.time_span_s,
            n_records=config.n_records,
            max_records=config.max_records,
        )

    if config.by != "key":
        return rules(None), KeyChoice(None, None, f"sessions by {config.by}, as asked")
    asked = config.key or (records.session_key and _as_text(records.session_key))
    if asked:
        return rules(asked), KeyChoice(asked, None, f"{asked}: as asked")
    sample = records.beginnings(_SAMPLE_RECORDS)
    if sample["ends_session"].any():
        return rules("field"), KeyChoice("field", None, "field: each line is a session")
    choice = find_session_key(sample)
    if choice.chosen is None and _has_field(sample):
        return rules("field"), KeyChoice("field", None, "field: the format's own session key")
    names = [None if key is None else key.name for key in (choice.chosen, choice.runner_up)]
    return rules(names[0]), KeyChoice(names[0], names[1], choice.reason)


def _as_text(key: SessionKey) -> str:
    """What means this key wherever it is read again: its name, if that says it all."""
    return key.name if key.column or session_key_of(key.name) == key else key.pattern


def _has_field(sample: pl.DataFrame) -> bool:
    """Whether most records carry a session key of their own, whatever sessions it makes."""
    return 2 * int(CANDIDATE_KEYS["field"].extract(sample).is_not_null().sum()) > sample.height
