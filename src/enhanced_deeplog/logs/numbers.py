r"""The numbers that bodies carry: of each the first four that stand by themselves.

A number that is glued to letters or to other numbers says which one, not how much: blk_12, req-5f3a, 10.0.0.1, 3/5,
08:16:53. Through one engine for a whole column, as masks are: Rust's, which knows no look-around, so that what stands
before a number is matched along with it, and what stands behind it ends the word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import polars as pl

from enhanced_deeplog.logs.masks import DEFAULT_MASKS, WILDCARD, Mask, normalise_bodies

__all__ = ["MOST_NUMBERS", "numbers_of", "with_numbers"]

MOST_NUMBERS = 4  # of a body
_TOO_LARGE = 1e300  # what is no smaller is no number; so sums and ratios of them are finite

_TAKEN = "*"  # by a mask: neither opens a number nor ends it, so what is left of one is none
_OPENS = r"""[ =(\[{<"'&|;,]"""  # what may stand before a number, beside a name and a colon
_KEY = "(?:[A-Za-z_.-]*:)?"
_REST = r"""[^ =()\[\]{}<>"'&|;,]*"""  # of a word that begins with a digit; a comma ends it unless a digit follows
_UNIT = "[KMGTPE]i?B|[KMGTPE]|B|ns|[uµμ]s|ms|s"  # those that masks take along
_WORD = rf"(?:^|{_OPENS}){_KEY}[-+]?[0-9]{_REST}(?:,[0-9]{_REST})*(?: (?:{_UNIT})(?-u:\b))?"
_NUMBER = (
    rf"^{_OPENS}?{_KEY}\+?(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+][0-9]+)?) ?(?P<unit>{_UNIT})?"
    rf"[%.:!?]*(?: (?:{_UNIT}))?$"
)
(_TIMESTAMP,) = (mask.regex for mask in DEFAULT_MASKS if mask.name == "timestamp")

# 900 ms are less than 1.2 s, 900 KB less than 1.2 MB: all in s and bytes. Logs mostly mean 1,024 by K.
_BYTES = {letter: 1024.0**power for power, letter in enumerate("KMGTPE", 1)}
_FACTORS = {
    "": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "B": 1.0,
    **{f"{letter}{rest}": factor for letter, factor in _BYTES.items() for rest in ("", "B", "iB")},
}  # fmt: skip


def with_numbers(batch: pl.DataFrame, masks: Sequence[Mask]) -> pl.DataFrame:
    """Records with the `numbers` of their bodies but those that own masks take; own ones stand before the others."""
    own = tuple(takewhile(lambda mask: mask not in DEFAULT_MASKS, masks))
    return batch.with_columns(numbers_of(batch["body"], own).alias("numbers"))


def numbers_of(bodies: pl.Series, masks: Sequence[Mask] = ()) -> pl.Series:
    """The first four numbers of each body that stand by themselves, in order; those with a unit in s or bytes.

    Args:
        bodies: String (N,); null reads as empty.
        masks: What one of them matches, in part or as a whole, is no number.

    Returns:
        Array(Float64, 4) (N,), NaN where a body has fewer.

    Example:
        >>> bodies = ["sent blk_12 to 10.0.0.1:80 in 12ms (3.5 KiB, code=200)", "done"]
        >>> numbers_of(pl.Series(bodies)).to_list()
        [[0.012, 3584.0, 200.0, nan], [nan, nan, nan, nan]]
    """
    # Dates in words have numbers that stand by themselves.
    plain = normalise_bodies(bodies)
    for mask in masks:
        plain = plain.str.replace_all(mask.regex, f"${{keep}}{_TAKEN}" if mask.keeps else _TAKEN)
    plain = plain.str.replace_all(_TIMESTAMP, WILDCARD)
    words = plain.str.extract_all(_WORD).alias("word").to_frame().with_row_index("row").explode("word").drop_nulls()
    parts = pl.col("word").str.extract_groups(_NUMBER)
    number = parts.struct.field("number").cast(pl.Float64, strict=False)
    factor = parts.struct.field("unit").fill_null("").replace_strict(_FACTORS, return_dtype=pl.Float64)
    found = words.select("row", (number * factor).alias("value")).filter(pl.col("value").abs() < _TOO_LARGE)
    rows = found["row"].to_numpy()
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < MOST_NUMBERS
    numbers = np.full((len(bodies), MOST_NUMBERS), np.nan)
    numbers[rows[kept], place[kept]] = found["value"].to_numpy()[kept]
    return pl.Series("numbers", numbers, pl.Array(pl.Float64, MOST_NUMBERS))
