"""Bodies that are JSON or SQL: written so that what varies in them can be told from what doesn't."""

from __future__ import annotations

import json

import polars as pl

__all__ = ["spread_json", "without_sql_literals"]

_SQL = (
    r"(?i:\b(?:select\b.*\bfrom|insert[ \t]+into|update\b.*\bset|delete[ \t]+from|merge[ \t]+into|exec(?:ute)?)\b"
    r"|\bvalues[ \t]*\()"
)
_SQL_LITERAL = "'(?:[^']|'')*'"


def spread_json(bodies: pl.Series) -> pl.Series:
    """Write JSON at the end of a body with its keys in order and blanks between its parts: each value is a token then.

    Args:
        bodies: String (N,).

    Example:
        >>> spread_json(pl.Series(['paid {"total":3,"by":"card"}', "{no json}"])).to_list()
        ['paid {"by": "card", "total": 3}', '{no json}']
    """
    may_be = bodies.str.ends_with("}") & bodies.str.contains('{"', literal=True)
    if not may_be.any():
        return bodies
    some = bodies.filter(may_be)
    distinct = some.unique()
    spread = pl.Series([_spread(body) for body in distinct], dtype=pl.String)
    return bodies.clone().scatter(may_be.arg_true(), some.replace_strict(distinct, spread))


def _spread(body: str) -> str:
    begin = body.index('{"')
    try:
        return body[:begin] + json.dumps(json.loads(body[begin:]), ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        return body


def without_sql_literals(bodies: pl.Series, wildcard: str) -> pl.Series:
    """Put a wildcard in the place of every text that stands in quotes in SQL; numbers are masked anyway.

    Args:
        bodies: String (N,).
        wildcard: What stands in their place.

    Example:
        >>> bodies = pl.Series(["SELECT * FROM t WHERE name = 'O''Hara'", "can't open 'a'"])
        >>> without_sql_literals(bodies, "<*>").to_list()
        ['SELECT * FROM t WHERE name = <*>', "can't open 'a'"]
    """
    quoted = bodies.str.contains("'", literal=True)  # which costs next to nothing
    if not quoted.any():
        return bodies
    some = bodies.filter(quoted)
    mended = pl.select(
        pl.when(some.str.contains(_SQL)).then(some.str.replace_all(_SQL_LITERAL, wildcard)).otherwise(some)
    ).to_series()
    return bodies.clone().scatter(quoted.arg_true(), mended)
