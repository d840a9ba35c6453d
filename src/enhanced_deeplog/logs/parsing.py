"""Records with their templates: the rows that `parse` writes."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from enhanced_deeplog.config import Config, TemplateConfig
from enhanced_deeplog.events import FIRST_TEMPLATE, EventVocabulary, template_id
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
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
    corpus = read_corpus(records, miner)
    miner.learn(body for body in corpus.bodies if body not in corpus.given)
    vocabulary = EventVocabulary.of({template.text for template in miner.templates} | corpus.given)
    return parse_batches(records, miner, vocabulary)


def parse_batches(records: LogRecords, miner: TemplateMiner, vocabulary: EventVocabulary) -> Iterator[pl.DataFrame]:
    """Look up the template of every record; nothing is learnt.

    Yields:
        Batches with `PARSED_COLUMNS`. A record that fits no template has event id 1 and no template.
    """
    known: dict[str, int] = {}
    for batch in records:
        given = frozenset(batch["template"].drop_nulls().unique())
        bodies = batch.select(pl.coalesce("template", miner.mask(batch["body"]).alias("masked")))["template"]
        distinct = bodies.unique(maintain_order=True)
        known |= event_ids_of([b for b in distinct if b not in known], given - known.keys(), miner, vocabulary)
        ids = [known[body] for body in distinct]
        templates = [vocabulary.template(i) if i >= FIRST_TEMPLATE else None for i in ids]
        event_id = bodies.replace_strict(distinct, ids, return_dtype=pl.Int64)
        template = bodies.replace_strict(distinct, templates, return_dtype=pl.String)
        template_ids = [None if text is None else template_id(text) for text in templates]
        yield batch.with_columns(
            event_id.alias("event_id"),
            bodies.replace_strict(distinct, template_ids, return_dtype=pl.String).alias("template_id"),
            template.alias("template"),
            pl.Series("parameters", parameters(batch["body"], template), dtype=pl.List(pl.String)),
        ).select(PARSED_COLUMNS)
