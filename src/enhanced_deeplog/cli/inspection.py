"""What `inspect` sees in files, and how it shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table
from rich.text import Text

from enhanced_deeplog.cli.options import Reading
from enhanced_deeplog.cli.tables import share, table
from enhanced_deeplog.cli.terminal import shown
from enhanced_deeplog.config import Config
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.key_choice import find_session_key
from enhanced_deeplog.logs.parsing import miner_of, redactor_of
from enhanced_deeplog.logs.records import LogRecords, Source, merge_order

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["inspection_screen", "look_at"]

_MOST_RECORDS = 200_000  # looked at in all; a few seconds
_LEAST_OF_A_FILE = 1_000
_FIELDS = ("timestamp", "severity", "component", "host", "process", "service", "session_key")
_N_TEMPLATES = 15
_CLOCK = r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}|(?-u:\b)1[0-9]{9}(?:\.?[0-9]{3})?(?-u:\b)"
_NEARLY_ALL = 0.9
_PROBLEMS = {
    "n_empty_lines": "empty lines, left out (comments among them)",
    "n_invalid_utf8": "lines with bytes that are no UTF-8; those became U+FFFD",
    "n_overlong": "lines cut because they are too long",
    "n_without_timestamp": "records without a timestamp that can be read",
    "n_out_of_time": "records left out by --since and --until",
}


def look_at(files: Sequence[str], reading: Reading, config: Config) -> dict[str, Any]:
    """Look without learning for good: plain data, ready for JSON.

    Raises:
        InputError: If a file can't be read, or there is no record at all.
    """
    records = reading.records(files).with_redactor(redactor_of(config.redaction))
    paths = [source.path for source in records.sources]
    limit = max(_MOST_RECORDS // len(paths), _LEAST_OF_A_FILE)
    sources, frames = [], []
    for of_file in records.apart():  # of every file the beginning is seen, however long the others are
        frame, whole = _beginning(of_file, limit)
        sources.append(_source(of_file.sources[0], frame, whole=whole))
        frames.append(frame)
    sample = pl.concat(frames)
    if not len(sample):
        raise InputError(f"{', '.join(paths)}: expected log records; there are none. Is the input empty?")
    sample = merge_order(sample)
    return {"sources": sources, "session_keys": _session_keys(sample, reading), **_templates(sample, config)}


def _beginning(records: LogRecords, limit: int) -> tuple[pl.DataFrame, bool]:
    """The first records, and whether they are all."""
    batches = iter(records)
    frames, n = [records.head(0)], 0
    for batch in batches:
        frames.append(batch)
        n += len(batch)
        if n >= limit:
            break
    return pl.concat(frames), next(batches, None) is None


def _source(source: Source, frame: pl.DataFrame, *, whole: bool) -> dict[str, Any]:
    detection = source.detection
    runner_up = detection.runner_up if detection else None
    times = frame["timestamp"]
    unread = frame.filter(pl.col("timestamp").is_null())["text"]
    return {
        "source": source.name,
        "path": source.path,
        "whole": whole,
        "format": source.format,
        "found": detection is not None,
        "fit": detection.fit if detection else 1 - source.n_unfit_lines / max(source.n_lines, 1),
        "runner_up": runner_up.name if runner_up else None,
        "runner_up_fit": detection.runner_up_fit if detection else 0.0,
        "n_lines": source.n_lines,
        "n_records": len(frame),
        "n_joined_lines": source.n_joined_lines,
        "n_unfit_lines": source.n_unfit_lines,
        "unfit_examples": [{"line": line, "text": text} for line, text in source.unfit_examples],
        **{name: getattr(source, name) for name in _PROBLEMS},
        "unread_times": float(unread.str.contains(_CLOCK).sum()) / max(len(frame), 1),
        "first_timestamp": _iso(times.min()),
        "last_timestamp": _iso(times.max()),
        "fields": {name: _field(frame[name]) for name in _FIELDS},
    }


def _iso(time: Any) -> str | None:
    return None if time is None else f"{time.isoformat(timespec='milliseconds')}Z"


def _field(column: pl.Series) -> dict[str, Any]:
    given = column.drop_nulls()
    given = given.filter(given != "") if given.dtype == pl.String else given
    example = None if given.is_empty() else _iso(given[0]) if given.dtype.is_temporal() else str(given[0])
    return {"share": len(given) / max(len(column), 1), "example": example}


def _session_keys(sample: pl.DataFrame, reading: Reading) -> dict[str, Any]:
    choice = find_session_key(sample)
    found = {
        "chosen": choice.chosen.name if choice.chosen else None,
        "runner_up": choice.runner_up.name if choice.runner_up else None,
        "reason": choice.reason,
        "candidates": choice.candidates.to_dicts(),
        "n_looked_at": choice.n_records,
    }
    if reading.session_key is None:
        return found
    keys = sample["session_key"].drop_nulls()
    found_in = f"in {len(keys) / len(sample):.0%} of the records, {keys.n_unique():,} sessions"
    asked = {
        "chosen": reading.session_key,
        "reason": f"{reading.session_key}, as asked: {found_in}",
        "n_looked_at": len(sample),
    }
    return {**found, **asked, "runner_up": None}


def _templates(sample: pl.DataFrame, config: Config) -> dict[str, Any]:
    miner = miner_of(config.templates)
    masked = sample.select(pl.coalesce("template", miner.mask(sample["body"]).alias("masked")))["template"]
    counts = masked.value_counts().sort("template")
    given = set(sample["template"].drop_nulls().unique())
    miner.learn(body for body in counts["template"] if body not in given)
    found = [body if body in given else match for body, match in zip(
        counts["template"], miner.match(counts["template"]), strict=True
    )]  # fmt: skip
    by_template = (
        counts.with_columns(pl.Series("template", found, pl.String))
        .group_by("template").agg(pl.col("count").sum().cast(pl.Int64).alias("n_records"))
        .sort(["n_records", "template"], descending=[True, False])
    )  # fmt: skip
    return {"n_templates": len(by_template), "templates": by_template.head(_N_TEMPLATES).to_dicts()}


# --- The screen ---------------------------------------------------------------------------------------------


def inspection_screen(seen: dict[str, Any]) -> Iterator[RenderableType]:
    """What was seen, for a person."""
    for source in seen["sources"]:
        yield from _source_screen(source)
    keys = seen["session_keys"]
    if keys["chosen"]:
        n_records, n_looked_at = sum(source["n_records"] for source in seen["sources"]), keys["n_looked_at"]
        first = f" (of the first {n_looked_at:,} records)" if n_looked_at < n_records else ""
        yield shown(f"Sessions by {keys['reason']}{first}", "bold")
    else:
        yield Text("Sessions: no key is good enough", "bold")
        yield Text("  Consecutive records become sessions. Give --session-key if something groups them.")
    if keys["runner_up"]:
        yield shown(f"  The next best key: {keys['runner_up']}")
    if keys["candidates"]:
        yield _candidates(keys["candidates"])
    n_templates = seen["n_templates"]
    yield Text(f"{n_templates:,} templates; the most frequent:" if n_templates > 1 else "1 template:", "bold")
    yield _template_table(seen)


def _source_screen(source: dict[str, Any]) -> Iterator[RenderableType]:
    yield shown(source["path"], "bold")
    how = f"{share(source['fit'])} of the lines fit"
    if source["runner_up"]:
        how += f"; the next best: {source['runner_up']}, {share(source['runner_up_fit'])}"
    yield shown(f"  format    {source['format']}: {how}" + ("" if source["found"] else "; as asked"))
    part = "" if source["whole"] else "; it goes on: this is what its beginning says"
    yield Text(f"  read      {source['n_lines']:,} lines, {source['n_records']:,} records{part}")
    if source["n_joined_lines"]:
        yield Text(f"            {source['n_joined_lines']:,} lines go on with the record before them")
    if source["first_timestamp"]:
        yield Text(f"  time      {source['first_timestamp']} to {source['last_timestamp']}")
    fields = Table.grid(padding=(0, 2))
    for name, field in source["fields"].items():
        if field["share"]:
            example = shown(field["example"], "dim", limit=60)
            fields.add_row(Text(f"            {name}"), share(field["share"]), example)
    if source["n_unfit_lines"]:
        yield Text(
            f"  problem   {source['n_unfit_lines']:,} lines don't fit; part of the record before, if there is one",
            "yellow",
        )
        for example in source["unfit_examples"]:
            yield shown(f"            line {example['line']:,}: {example['text']}", "dim", limit=200)
    if source["unread_times"] >= _NEARLY_ALL and source["format"].endswith("plain"):
        yield Text(
            "  problem   lines hold what looks like a time, yet fit no known format. Say how they are laid out:\n"
            "            --format with a format string such as '<Date> <Time> <Level> <Content>', or --formats FILE",
            "yellow",
        )
    for name, text in _PROBLEMS.items():
        if source[name]:
            yield Text(f"  problem   {source[name]:,} {text}", "yellow")
    yield Text("  fields    share of the records that have it, and the first value")
    yield fields
    yield Text()


def _candidates(rows: list[dict[str, Any]]) -> Table:
    sizes = (">records with it", ">sessions", ">median records", ">with one record")
    found = table("key", *sizes, ">score", "good enough")
    for row in rows:
        found.add_row(
            row["key"],
            share(row["coverage"]),
            f"{row['n_sessions']:,}",
            f"{row['median_length']:g}",
            share(row["singleton_share"]),
            f"{row['score']:.2f}",
            "yes" if row["acceptable"] else "no",
        )
    return found


def _template_table(seen: dict[str, Any]) -> Table:
    found = table(">records", "template")
    for row in seen["templates"]:
        found.add_row(f"{row['n_records']:,}", shown(row["template"] or "<UNKNOWN>", limit=300))
    rest = seen["n_templates"] - len(seen["templates"])
    if rest:
        found.add_row("", Text(f"and {rest:,} more", "dim"))
    return found
