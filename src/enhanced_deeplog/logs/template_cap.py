"""How many templates each service has, and which of them are kept where there are too many to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.logs.corpus import Corpus

__all__ = ["ServiceTemplates", "most_frequent"]


@dataclass(frozen=True)
class ServiceTemplates:
    """What one service has.

    Attributes:
        service: Its name, or "".
        n_records: Of the service.
        n_templates: Found in them.
        n_kept: Of these, the most frequent; what fits none of them is UNKNOWN.
        share_kept: Share of the records that fit one of those.
    """

    service: str
    n_records: int
    n_templates: int
    n_kept: int
    share_kept: float


def most_frequent(
    corpora: Sequence[Corpus], template_of: Mapping[str, str], *, most: int
) -> tuple[frozenset[str], tuple[ServiceTemplates, ...]]:
    """Keep the most frequent templates of each service: a network can't learn what comes once, nor a million of them.

    Args:
        corpora: What was read.
        template_of: Masked body -> its template.
        most: So many are kept of a service; of two that are as frequent, the first by its text.

    Returns:
        The texts of the templates kept of any service, and what each service has, by its name.
    """
    counts = pl.concat(_counts(corpus, template_of) for corpus in corpora)
    counts = counts.group_by("service", "template").agg(pl.col("n").sum())
    order = counts.sort("service", "n", "template", descending=[False, True, False])
    ranked = order.with_columns(kept=pl.int_range(pl.len()).over("service") < most)
    services = ranked.group_by("service", maintain_order=True).agg(
        n_records=pl.col("n").sum(),
        n_templates=pl.len(),
        n_kept=pl.col("kept").sum(),
        share_kept=pl.col("n").filter("kept").sum() / pl.col("n").sum(),
    )
    kept = set(ranked.filter("kept")["template"])
    # Of a long log, sessions are drawn, and templates may be in none of these: they have what room is left.
    others = sorted(set(template_of.values()) - set(ranked["template"]))
    kept.update(others[: max(most * services.height - len(kept), 0)])
    return frozenset(kept), tuple(ServiceTemplates(**row) for row in services.iter_rows(named=True))


def _counts(corpus: Corpus, template_of: Mapping[str, str]) -> pl.DataFrame:
    templates = pl.Series([template_of[body] for body in corpus.bodies], dtype=pl.String)
    counts = corpus.frame.group_by("service", "body_id").agg(n=pl.len())
    return counts.select(pl.col("service").fill_null(""), templates.gather(counts["body_id"]).alias("template"), "n")
