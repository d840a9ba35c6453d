"""Records with their templates: the rows that `parse` writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.config import Config, RedactionConfig, TemplateConfig
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.events import FIRST_TEMPLATE, EventVocabulary, template_id
from enhanced_deeplog.logs.corpus import MAX_KNOWN, check_any, event_ids_of, look_up, masked_bodies
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.masks import choose_masks
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.session_rules import choose_rules
from enhanced_deeplog.logs.templates import TemplateMiner, parameters
from enhanced_deeplog.redaction import Redactor, choose_secrets
from enhanced_deeplog.remembered import Remembered

__all__ = ["PARSED_COLUMNS", "miner_of", "parse_batches", "parse_records", "redactor_of"]

PARSED_COLUMNS = (
    *("source", "service", "line", "byte_offset", "timestamp", "severity", "component", "session_key"),
    *("event_id", "template_id", "template", "parameters"),
)


def miner_of(config: TemplateConfig) -> TemplateMiner:
    """An empty miner with the masks and limits of the configuration."""
    masks = choose_masks(extra=dict(config.extra_masks), without=config.masks_off)
    return TemplateMiner(min_values=config.min_values, similarity=config.similarity, masks=masks)


def redactor_of(config: RedactionConfig) -> Redactor:
    """What replaces the secrets that the configuration names."""
    return Redactor(choose_secrets(extra=dict(config.extra), without=config.off, ip=config.ip))


def parse_records(records: LogRecords, config: Config) -> Iterator[pl.DataFrame]:
    """Parse logs by templates learnt from themselves; see `parse_batches`.

    Raises:
        InputError: If the input can't be read, has no record, or is another one when it is read again.
    """
    records = records.with_redactor(redactor_of(config.redaction))
    rules, _ = choose_rules(records, config.sessions)
    if rules.key is not None:
        records = records.with_session_key(rules.key)
    miner = miner_of(config.templates)
    numbers: dict[str, int] = {}
    given: set[str] = set()
    read: list[_Read] = []
    for (distinct, places, of_source), digest in in_order(lambda b: (_distinct(b, miner), _digest(b)), records):
        given |= of_source
        of_batch = pl.Series([numbers.setdefault(body, len(numbers)) for body in distinct], dtype=pl.UInt32)
        read.append(_Read(of_batch.gather(places), digest))
    check_any(numbers, records)
    miner.learn(body for body in numbers if body not in given)
    vocabulary = EventVocabulary.of({template.text for template in miner.templates} | given)
    event_of = event_ids_of(numbers, frozenset(given), miner, vocabulary)
    events = pl.Series([event_of[body] for body in numbers], dtype=pl.Int64)

    def parsed(again: tuple[pl.DataFrame, _Read]) -> pl.DataFrame:
        batch, before = again
        if _digest(batch) != before.digest:
            raise _changed(records)
        return _parsed(batch, events.gather(before.body_ids), vocabulary)

    return in_order(parsed, _again(records, read))


@dataclass(frozen=True)
class _Read:
    """What is known of a batch once it was read: what was masked once need not be masked again.

    Attributes:
        body_ids: Of its records, UInt32 (N,).
        digest: Of their texts.
    """

    body_ids: pl.Series
    digest: int


def _digest(batch: pl.DataFrame) -> int:
    return int(batch["text"].hash().sum())


def _again(records: LogRecords, read: list[_Read]) -> Iterator[tuple[pl.DataFrame, _Read]]:
    """The batches of an input that is read a second time, and what is known of each; what was added is left out."""
    batches = iter(records)
    for before in read:
        batch = next(batches, None)
        if batch is None:
            raise _changed(records)
        yield batch.head(len(before.body_ids)), before


def _changed(records: LogRecords) -> InputError:
    names = ", ".join(source.path for source in records.sources)
    return InputError(
        f"Expected to read the same records a second time; {names} has changed meanwhile. Parse a copy, or a file that "
        "is only added to."
    )


def _distinct(batch: pl.DataFrame, miner: TemplateMiner) -> tuple[pl.Series, pl.Series, frozenset[str]]:
    """The distinct masked bodies of a batch, the place of each record's among them, those that are templates."""
    masked, given = masked_bodies(batch, miner)
    distinct = masked.unique(maintain_order=True)
    places = pl.int_range(len(distinct), dtype=pl.UInt32, eager=True)
    return distinct, masked.replace_strict(distinct, places, return_dtype=pl.UInt32), given


def parse_batches(records: LogRecords, miner: TemplateMiner, vocabulary: EventVocabulary) -> Iterator[pl.DataFrame]:
    """Look up the template of every record; nothing is learnt.

    Yields:
        Batches with `PARSED_COLUMNS`. A record that fits no template has event id 1 and no template.
    """
    known = Remembered[str, int](MAX_KNOWN)

    def parsed(batch: pl.DataFrame) -> pl.DataFrame:
        distinct, places, given = _distinct(batch, miner)
        ids = look_up(distinct, given, miner, vocabulary, known=known)
        return _parsed(batch, pl.Series(ids, dtype=pl.Int64).gather(places), vocabulary)

    return in_order(parsed, records)


def _parsed(batch: pl.DataFrame, events: pl.Series, vocabulary: EventVocabulary) -> pl.DataFrame:
    seen = [event for event in events.unique() if event >= FIRST_TEMPLATE]
    texts = [vocabulary.template(event) for event in seen]
    template = events.replace_strict(seen, texts, default=None, return_dtype=pl.String)
    template_ids = events.replace_strict(
        seen, [template_id(text) for text in texts], default=None, return_dtype=pl.String
    )
    return batch.with_columns(
        events.alias("event_id"),
        template_ids.alias("template_id"),
        template.alias("template"),
        parameters(batch["body"], template),
    ).select(PARSED_COLUMNS)
