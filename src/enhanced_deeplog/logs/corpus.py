"""A whole input in compact form: every record, and each distinct masked body once."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.events import UNKNOWN, EventVocabulary
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.numbers import with_numbers
from enhanced_deeplog.logs.records import LogRecords, merge_order
from enhanced_deeplog.logs.templates import TemplateMiner
from enhanced_deeplog.logs.whole_sessions import WholeSessions
from enhanced_deeplog.remembered import Remembered

__all__ = [
    "MAX_KNOWN",
    "Corpus",
    "check_any",
    "event_ids_of",
    "look_up",
    "masked_bodies",
    "read_bodies",
    "read_corpus",
]

MAX_KNOWN = 1_000_000  # bodies whose event is remembered


@dataclass(frozen=True)
class Corpus:
    """The records of an input in the order of time.

    Attributes:
        frame: `RECORD_SCHEMA` without body and template, and `body_id`; `numbers`, if they are asked for.
        bodies: Distinct masked bodies; `body_id` is a place in it.
        given: Those of them that are templates already, by the word of their source.
        n_read: Records that were read; the frame has fewer where only some sessions were drawn.
        share: So large a share of the sessions was drawn.
    """

    frame: pl.DataFrame
    bodies: tuple[str, ...]
    given: frozenset[str]
    n_read: int
    share: float

    def with_event_ids(self, event_ids: Mapping[str, int]) -> pl.DataFrame:
        """The records with `event_id` in place of `body_id`."""
        table = np.array([event_ids[body] for body in self.bodies], dtype=np.int64)
        ids = table[self.frame["body_id"].to_numpy()] if len(table) else np.zeros(0, dtype=np.int64)
        return self.frame.drop("body_id").with_columns(pl.Series("event_id", ids, dtype=pl.Int64))


def read_corpus(
    records: LogRecords,
    miner: TemplateMiner,
    *,
    most_records: int = sys.maxsize,
    by_key: bool = True,
    numbers: bool = False,
) -> Corpus:
    """Read an input batch by batch; of the bodies, only the distinct masked ones stay.

    Args:
        records: The input.
        miner: Masks the bodies; it doesn't learn here.
        most_records: Of a longer input, whole sessions are drawn; the bodies are still all of them.
        by_key: Whether sessions are made by key.
        numbers: Whether the numbers of the bodies stay, too.

    Raises:
        InputError: If the input can't be read, or has no record.
    """
    codes: dict[str, int] = {}
    given: set[str] = set()
    drawn = WholeSessions(most_records, by_key=by_key)
    for batch, masked, of_source in in_order(partial(read_bodies, miner=miner, numbers=numbers), records):
        given |= of_source
        distinct = masked.unique(maintain_order=True)
        ids = [codes.setdefault(body, len(codes)) for body in distinct]
        body_id = masked.replace_strict(distinct, pl.Series(ids, dtype=pl.UInt32), return_dtype=pl.UInt32)
        drawn.add(batch.with_columns(body_id.alias("body_id")))
    check_any(codes, records)
    frame = drawn.records()
    if frame["source"].n_unique() > 1:
        frame = merge_order(frame)
    return Corpus(frame, tuple(codes), frozenset(given), drawn.n_read, drawn.share)


def read_bodies(
    batch: pl.DataFrame, miner: TemplateMiner, *, numbers: bool
) -> tuple[pl.DataFrame, pl.Series, frozenset[str]]:
    """What stays of a batch without its bodies, with `numbers` if they are asked for; and see `masked_bodies`."""
    kept = with_numbers(batch, miner.masks) if numbers else batch
    return kept.drop("body", "template"), *masked_bodies(batch, miner)


def masked_bodies(batch: pl.DataFrame, miner: TemplateMiner) -> tuple[pl.Series, frozenset[str]]:
    """The masked body of each record, String (N,), and those that are templates by the word of their source."""
    masked = miner.mask(batch["body"])
    if batch["template"].null_count() == batch.height:
        return masked, frozenset()
    given = frozenset(batch["template"].drop_nulls().unique())
    return batch.select(pl.coalesce("template", masked.alias("masked")))["template"], given


def check_any(found: Collection[str], records: LogRecords) -> None:
    """Refuse an input in which nothing was found.

    Raises:
        InputError: If so.
    """
    if not found:
        names = ", ".join(source.path for source in records.sources)
        raise InputError(f"Expected log records; {names} has none. Is it empty, or is --since/--until too narrow?")


def event_ids_of(
    bodies: Iterable[str], given: frozenset[str], miner: TemplateMiner, vocabulary: EventVocabulary
) -> dict[str, int]:
    """The event id of each masked body; UNKNOWN for what fits no template.

    Args:
        bodies: Distinct masked bodies.
        given: Those that are templates already.
        miner: Its store is final; matching never changes it.
        vocabulary: Numbers the templates.
    """
    mined = [body for body in bodies if body not in given]
    ids = {body: vocabulary.event_ids.get(body, UNKNOWN) for body in given}
    for body, template in zip(mined, miner.match(mined), strict=True):
        ids[body] = UNKNOWN if template is None else vocabulary.event_ids.get(template, UNKNOWN)
    return ids


def look_up(
    bodies: Iterable[str],
    given: frozenset[str],
    miner: TemplateMiner,
    vocabulary: EventVocabulary,
    *,
    known: Remembered[str, int],
) -> list[int]:
    """The event id of each distinct body of a batch, looked up once where it comes in several.

    Args:
        bodies: Distinct masked bodies (N,).
        given: Those that are templates already, in this batch.
        miner: Its store is final.
        vocabulary: Numbers the templates.
        known: What was found before.
    """
    bodies = list(bodies)
    mined = [body for body in bodies if body not in given]

    def match(new: list[str]) -> list[int]:
        ids = event_ids_of(new, frozenset(), miner, vocabulary)
        return [ids[body] for body in new]

    events = event_ids_of((), given, miner, vocabulary) | dict(zip(mined, known.of(mined, match), strict=True))
    return [events[body] for body in bodies]
