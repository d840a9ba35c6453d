"""Which words of templates may be stored: those that enough sessions share, and those that every log uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources

import polars as pl

from enhanced_deeplog.logs.corpus import Corpus
from enhanced_deeplog.logs.templates import tokens_of

__all__ = ["PLAIN_WORDS", "is_plain", "shared_words"]

# Nobody's secret, and what rare templates are understood by.
PLAIN_WORDS = frozenset((resources.files("enhanced_deeplog.logs") / "plain_words.txt").read_text("utf-8").split())
_WORD = re.compile(r"[^\W\d_]+")
_ERROR = re.compile(r"[A-Za-z]*(?:exception|error|failure|fault)s?", re.IGNORECASE)


def is_plain(token: str) -> bool:
    """Whether a token has no words but such that every log uses, and names of errors, and no digits.

    Example:
        >>> is_plain("Failed:"), is_plain("->"), is_plain("user=<*>"), is_plain("NullPointerException")
        (True, True, True, True)
        >>> is_plain("hunter2"), is_plain("Zanzibar")
        (False, False)
    """
    words = _WORD.findall(token)
    return not any(c.isdigit() for c in token) and all(w.lower() in PLAIN_WORDS or _ERROR.fullmatch(w) for w in words)


def shared_words(
    corpora: Sequence[Corpus], template_of: Mapping[str, str], *, min_sessions: int, n_records: int
) -> set[str]:
    """The tokens of templates that enough sessions share, and the plain ones.

    Args:
        corpora: What was read. Records without a session key count as sessions of `n_records`.
        template_of: Masked body -> its template.
        min_sessions: So many sessions must have a token.
        n_records: See above.
    """
    texts = sorted(set(template_of.values()))
    number = {text: i for i, text in enumerate(texts)}
    seen = pl.concat(
        corpus.frame.select(
            session=pl.concat_str(
                pl.lit(f"{i} "),
                pl.coalesce(
                    pl.lit("key ") + pl.col("session_key"), (pl.int_range(pl.len()) // n_records).cast(pl.String)
                ),
            ),
            template=pl.Series([number[template_of[body]] for body in corpus.bodies], dtype=pl.UInt32).gather(
                corpus.frame["body_id"]
            ),
        ).unique()
        for i, corpus in enumerate(corpora)
    )
    n_sessions = seen.group_by("template").len()
    common = n_sessions.filter(pl.col("len") >= min_sessions)["template"]
    shared = {token for text in texts for token in tokens_of(text) if is_plain(token)}
    shared.update(token for i in common for token in tokens_of(texts[i]))
    rare = seen.filter(~pl.col("template").is_in(common.implode()))
    tokens = pl.Series([list(set(tokens_of(texts[i])) - shared) for i in rare["template"]], dtype=pl.List(pl.String))
    of_token = rare.select("session", token=tokens).explode("token").drop_nulls()
    n_sessions = of_token.group_by("token").agg(pl.col("session").n_unique().alias("n"))
    shared.update(n_sessions.filter(pl.col("n") >= min_sessions)["token"])
    return shared
