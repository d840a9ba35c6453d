"""Whether a pattern can be used: Rust's regular expressions, in which all patterns of this project are written."""

from __future__ import annotations

import re

import polars as pl

__all__ = ["matches_nothing", "regex_error"]


def regex_error(pattern: str) -> str | None:
    """Why a pattern can't be used; None if it can, alone and in a group (`a)|(b` is valid in one).

    Example:
        >>> regex_error("a+"), regex_error("a(")
        (None, 'unclosed group')
    """
    for regex in (pattern, f"(?:{pattern})", f"(?:{pattern})|a"):
        try:
            pl.Series([""]).str.contains(regex)
        except pl.exceptions.PolarsError as error:
            reason = re.search(r"^error: (.*)|Compiled regex.*", str(error), re.MULTILINE)
            return (reason[1] or reason[0]) if reason else str(error)
    return None


def matches_nothing(pattern: str, text: str) -> bool:
    """Whether a valid pattern matches an empty part of a text."""
    return bool((pl.Series([text]).str.extract_all(f"(?:{pattern})").list.explode() == "").any())
