"""Records with their templates: the rows that `parse` writes."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from enhanced_deeplog.config import Config, TemplateConfig
from enhanced_deeplog.events import FIRST_TEMPLATE, EventVocabulary, template_id
from enhanced_deeplog.logs.corpus import distinct_bodies, look_up, masked_bodies
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
    """Parse logs by templates learnt from themselves; see `parse_batches`."""
    rules, _ = choose_rules(records, config.sessions)
    if rules.key is not None:
        records = records.with_session_key(rules.key)
    miner = miner_of(config.templates)
    bodies, given = distinct_bodies(records, miner)
    miner.learn(body for body in bodies if body not in given)
    vocabulary = EventVocabulary.of({template.text for template in miner.templates} | given)
    return parse_batches(records, miner, vocabulary)


def parse_batches(records: LogRecords, miner: TemplateMiner, vocabulary: EventVocabulary) -> Iterator[pl.DataFrame]:
    """Look up the template of every record; nothing is learnt.

    Yields:
        Batches with `PARSED_COLUMNS`. A record that fits no template has event id 1 and no template.
    """
    known: dict[str, int] = {}

    def parsed(batch: pl.DataFrame) -> pl.DataFrame:
        bodies, given = masked_bodies(batch, miner)
        distinct = bodies.unique(maintain_order=True)
        ids = look_up(distinct, given, miner, vocabulary, known=known)
        events = bodies.replace_strict(distinct, ids, return_dtype=pl.Int64)
        seen = [event for event in set(ids) if event >= FIRST_TEMPLATE]
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

    return in_order(parsed, records)
