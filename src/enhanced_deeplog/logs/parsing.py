"""Records with their templates: the rows that `parse` writes."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from enhanced_deeplog.config import Config, TemplateConfig
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.events import FIRST_TEMPLATE, EventVocabulary, template_id
from enhanced_deeplog.logs.corpus import check_any, event_ids_of, look_up, masked_bodies
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.masks import choose_masks
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.session_rules import choose_rules
from enhanced_deeplog.logs.templates import TemplateMiner, parameters

__all__ = ["PARSED_COLUMNS", "miner_of", "parse_batches", "parse_records"]

PARSED_COLUMNS = (
    *("source", "service", "line", "byte_offset", "timestamp", "severity", "component", "session_key"),
    *("event_id", "template_id", "template", "parameters"),
)


def miner_of(config: TemplateConfig) -> TemplateMiner:
    """An empty miner with the masks and limits of the configuration."""
    masks = choose_masks(extra=dict(config.extra_masks), without=config.masks_off)
    return TemplateMiner(min_values=config.min_values, similarity=config.similarity, masks=masks)


def parse_records(records: LogRecords, config: Config) -> Iterator[pl.DataFrame]:
    """Parse logs by templates learnt from themselves; see `parse_batches`.

    Raises:
        InputError: If the input can't be read, has no record, or is another one when it is read again.
    """
    rules, _ = choose_rules(records, config.sessions)
    if rules.key is not None:
        records = records.with_session_key(rules.key)
    miner = miner_of(config.templates)
    numbers: dict[str, int] = {}
    given: set[str] = set()
    body_ids: list[pl.Series] = []  # of each batch: what was masked once need not be masked again
    for distinct, places, of_source in in_order(lambda batch: _distinct(batch, miner), records):
        given |= of_source
        of_batch = pl.Series([numbers.setdefault(body, len(numbers)) for body in distinct], dtype=pl.UInt32)
        body_ids.append(of_batch.gather(places))
    check_any(numbers, records)
    miner.learn(body for body in numbers if body not in given)
    vocabulary = EventVocabulary.of({template.text for template in miner.templates} | given)
    event_of = event_ids_of(numbers, frozenset(given), miner, vocabulary)
    events = pl.Series([event_of[body] for body in numbers], dtype=pl.Int64)

    def parsed(again: tuple[pl.DataFrame, pl.Series]) -> pl.DataFrame:
        batch, of_batch = again
        return _parsed(batch, events.gather(of_batch), vocabulary)

    return in_order(parsed, _again(records, body_ids))


def _again(records: LogRecords, body_ids: list[pl.Series]) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """The batches of an input that is read a second time, each with what is known of it."""
    known = iter(body_ids)
    for batch in records:
        of_batch = next(known, None)
        if of_batch is None or len(of_batch) != len(batch):
            names = ", ".join(source.path for source in records.sources)
            raise InputError(
                f"Expected to read the same records a second time; {names} has changed meanwhile. Parse a copy, or a "
                "file that is no longer written to."
            )
        yield batch, of_batch


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
    known: dict[str, int] = {}

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
