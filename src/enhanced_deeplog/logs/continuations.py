"""Records over several lines: a stack trace, a statement, a dump belong to the record before them.

Where a format has a header, a line without one goes on with what came before. Where it has none (plain lines, JSON
lines), only what is written as a continuation does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

__all__ = ["MAX_JOINED_BYTES", "MAX_JOINED_LINES", "begins_trace", "is_record", "join_continuations", "looks_continued"]

MAX_JOINED_LINES = 5_000  # of one record; what comes after them is a record of its own
MAX_JOINED_BYTES = 1 << 20  # lines beyond are counted, and left out of its text
_CONTINUED = r"^(?:[ \t]+[^ \t]|Caused by: |Suppressed: |\.\.\. [0-9]+ more)"
_EXCEPTION = re.compile(
    r"^(?:Caused by: |Exception in thread \"[^\"]*\" |Uncaught )?"
    r"((?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Error|Exception|Throwable|Interrupt|Exit|Warning|Failure))\b"
)
_FRAMES = (  # of the JVM and of Node.js; of Python; of Go
    re.compile(r"^\s+at (?:async )?((?:new )?[\w.$<>/]+)"),
    re.compile(r"^\s+File \"[^\"]*?([^\"/\\]+)\", line [0-9]+, in (\S+)"),
    re.compile(r"^([\w./]+(?:\(\*\w+\)\.\w+)?)\("),
)
_N_FRAMES = 2
_LOOKED_AT = 300  # characters of a line that is searched for them: Python's engine takes more than linear time
# Begins with a time, a level, or an object, is a request, or a runtime says it: a record of its own, whatever it is.
_OWN = (
    r"^[ \t]*(?:\[?[0-9]{2,4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:|[A-Z][a-z]{2} +[0-9]{1,2} [0-9]{2}:[0-9]{2}:"
    r"|\[?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|CRITICAL|FATAL|PANIC)(?:\]|:|,? |$)|\{\""
    r"|[^ ]+ [^\[]+\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:"
    r"|\[[0-9]+\.[0-9]+s\]\[|\(node:[0-9]+\) |Exception in thread \")"
)


def looks_continued(texts: pl.Series) -> pl.Series:
    """Which lines are written as a continuation: indented, or a further cause; or the last line of a traceback, behind
    an indented one. Boolean (N,).

    Example:
        >>> looks_continued(pl.Series(["Traceback:", '  File "a.py", line 1, in f', "ValueError: x", "up"])).to_list()
        [False, True, True, False]
    """
    indented = texts.str.contains(_CONTINUED)
    ends_traceback = texts.str.contains(r"^[A-Za-z_][A-Za-z0-9_.]*(?:Error|Exception|Interrupt|Exit)(?::|$)")
    return indented | (ends_traceback & indented.shift(1, fill_value=False))


def is_record(texts: pl.Series) -> pl.Series:
    """Which lines are a record of their own even where they fit no format that is known, Boolean (N,)."""
    return texts.str.contains(_OWN)


def begins_trace(texts: pl.Series, origins: pl.Series) -> pl.Series:
    """Which lines are the first of a stack trace with no record before it: first of their origin, or right behind
    another one. Boolean (N,).

    Example:
        >>> lines = pl.Series(["failed", "a.IOException: x", "\tat a.b(B.java:1)", "a.IOException: y"])
        >>> begins_trace(lines, pl.Series([""] * 4)).to_list()
        [False, False, False, True]
    """
    raised = texts.str.contains(r"^[a-z][A-Za-z0-9_$]*(?:\.[A-Za-z0-9_$]+)+(?:Error|Exception|Throwable)(?::|$)")
    if not raised.any():
        return raised
    lines = pl.DataFrame({"frame": texts.str.contains(r"^[ \t]+(?:at |\.\.\. [0-9]+ )"), "origin": origins})
    return raised & lines.select(pl.col("frame").shift(1, fill_value=True).over("origin")).to_series()


def join_continuations(records: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Lines that go on with a record become part of it.

    Args:
        records: Parsed lines in their order: `text`; `content`, the same without what is wrapped round it; `body`;
            `origin` and `goes_on`: whether a line goes on with the record before it of that origin; and others.

    Returns:
        records: Their text is that of all their lines. A body tells of the further lines only what they have in common
            with others of their kind: the exception and where it was raised. One that is empty is the first of them.
        n_joined: Lines that are no record of their own any more.
    """
    if not records["goes_on"].any():
        return records, 0
    in_group = ("origin", "group")
    grouped = records.with_columns(group=(~pl.col("goes_on")).cum_sum().over("origin")).with_columns(
        joined=(pl.col("group") > 0) & pl.col("goes_on") & (pl.int_range(pl.len()).over(in_group) <= MAX_JOINED_LINES)
    )
    n_bytes = pl.col("text").str.len_bytes().cast(pl.Int64).cum_sum().over(in_group)
    kept = grouped.with_columns(n_bytes=n_bytes).filter(pl.col("joined") & (pl.col("n_bytes") <= MAX_JOINED_BYTES))
    further = kept.group_by(in_group, maintain_order=True).agg(further=pl.col("text").str.join("\n"), said="content")
    heads = grouped.filter(~pl.col("joined")).with_columns(
        group=pl.when("goes_on").then(None).otherwise("group")  # what has no record before it goes on with none
    )
    told = further.join(heads.select(*in_group, "body", "session_key"), on=in_group).select(
        *in_group, "further", told=_body_of_all()
    )
    joined = heads.join(told, on=in_group, how="left", maintain_order="left").with_columns(
        text=pl.concat_str("text", "further", separator="\n", ignore_nulls=True), body=pl.coalesce("told", "body")
    )
    return joined.drop("group", "joined", "further", "told"), int(grouped["joined"].sum())


def _body_of_all() -> pl.Expr:
    """The body of a record and what its further lines, `said`, tell; one that is empty is the first of them."""
    tag = pl.concat_str(pl.lit("["), "session_key", pl.lit("] ")).fill_null("")  # Ruby on Rails repeats it
    says_nothing = pl.col("body").str.strip_chars() == ""
    first = pl.col("said").list.first().str.strip_prefix(tag).str.strip_chars()
    rest = pl.when(says_nothing).then(pl.col("said").list.slice(1)).otherwise("said")
    return pl.concat_str(
        pl.when(says_nothing).then(first).otherwise("body"), rest.map_elements(_in_short, pl.String), ignore_nulls=True
    )


def _in_short(further: Sequence[str]) -> str:
    """The exceptions of a stack trace and its top frames, without what differs from one to the next; else nothing.

    Example:
        >>> _in_short(["java.io.IOException: lost dn7", "\\tat dfs.Client.read(Client.java:11)"])
        ' java.io.IOException at dfs.Client.read'
        >>> _in_short(["  a = 1"])
        ''
    """
    further = [line[:_LOOKED_AT] for line in further]
    exceptions = dict.fromkeys(found[1] for line in further if (found := _EXCEPTION.match(line)))
    frames = [frame for line in further if (frame := _frame(line))]
    if any(line.startswith("  File ") for line in further):
        frames.reverse()  # Python's most recent call is the last
    return "".join([*(f" {name}" for name in exceptions), *(f" at {frame}" for frame in frames[:_N_FRAMES])])


def _frame(line: str) -> str | None:
    for pattern in _FRAMES:
        if found := pattern.match(line):
            return ":".join(found.groups())
    return None
