"""Bodies that are JSON or SQL: written so that what varies in them can be told from what doesn't."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

__all__ = ["spread_json", "without_object_lists", "without_sql_literals"]

# A statement in capitals anywhere, or in any letters where a statement can begin: words of English are words of SQL.
_VERBS = r"(?:SELECT\b.*\bFROM|INSERT[ \t]+INTO|UPDATE\b.*\bSET|DELETE[ \t]+FROM|MERGE[ \t]+INTO)\b"
_SQL = rf"""\b{_VERBS}|(?i:(?:^|[:=\]("'][ \t]*){_VERBS})"""
_SQL_LITERAL = "([^0-9A-Za-z'])'(?:[^']|'')*'"
_OBJECT = r'\{"[^{}\[\]]*\}'
_OBJECT_LIST = rf"\[{_OBJECT}(?:, ?{_OBJECT})+(?:\]|,[^\]]*$)"  # to its end, or to that of a body that was cut


def spread_json(bodies: pl.Series, *, longest: int) -> pl.Series:
    """Write JSON at the end of a body with its keys in order and blanks between its parts: each value is a token then.

    Args:
        bodies: String (N,).
        longest: A body that would get longer than so many characters stays as it is.

    Example:
        >>> spread_json(pl.Series(['paid {"total":3,"by":"card"}', "{no json}"]), longest=100).to_list()
        ['paid {"by": "card", "total": 3}', '{no json}']
    """
    may_be = bodies.str.ends_with("}") & bodies.str.contains('{"', literal=True)
    if not may_be.any():
        return bodies
    some = bodies.filter(may_be)
    distinct = some.unique()
    spread = pl.Series([_spread(body, longest) for body in distinct], dtype=pl.String)
    return bodies.clone().scatter(may_be.arg_true(), some.replace_strict(distinct, spread))


def _spread(body: str, longest: int) -> str:
    begin = body.index('{"')
    try:
        value = json.loads(
            body[begin:], object_pairs_hook=_with_each_key_once, parse_float=_as_written, parse_constant=_as_written
        )
        spread = body[:begin] + json.dumps(value, ensure_ascii=False, sort_keys=True)
        spread.encode()  # half of a character has no place in a column
    except (ValueError, RecursionError):
        return body
    return spread if spread.isprintable() and len(spread) <= longest else body


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice, and one of its values would be lost")
    return made


def _as_written(number: str) -> float:
    if repr(float(number)) != number:
        raise ValueError(f"{number} would be written otherwise")
    return float(number)


def without_object_lists(bodies: pl.Series, wildcard: str) -> pl.Series:
    """Put a wildcard in the place of the JSON objects in a list of several: how many there are is no part of the text.

    Args:
        bodies: String (N,).
        wildcard: What stands in their place.

    Example:
        >>> bodies = pl.Series(['sent [{"n": 1},{"n": 2}] to dn7', 'sent [{"n": 1}] to dn7'])
        >>> without_object_lists(bodies, "<*>").to_list()
        ['sent [<*>] to dn7', 'sent [{"n": 1}] to dn7']
    """
    if not bodies.str.contains('[{"', literal=True).any():
        return bodies
    return bodies.str.replace_all(_OBJECT_LIST, f"[{wildcard}]")


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
        pl.when(some.str.contains(_SQL)).then(some.str.replace_all(_SQL_LITERAL, f"${{1}}{wildcard}")).otherwise(some)
    ).to_series()
    return bodies.clone().scatter(quoted.arg_true(), mended)
