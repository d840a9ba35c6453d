"""Text that others wrote: made safe to show and to store, and taken apart by a pattern."""

from __future__ import annotations

import polars as pl

__all__ = ["extract_groups", "printable", "storable"]


def printable(text: str, limit: int = 200) -> str:
    """Show foreign text in a message: control characters escaped, cut to `limit` characters.

    Example:
        >>> printable("red \\x1b[31m text")
        'red \\\\x1b[31m text'
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def storable(name: str) -> str:
    """A file's name may hold bytes that are no text; those become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def extract_groups(texts: pl.Series, pattern: str) -> pl.DataFrame:
    """One String column per group of the pattern; null where a text doesn't match."""
    return texts.rename("text").to_frame().select(pl.col("text").str.extract_groups(pattern).struct.unnest())
