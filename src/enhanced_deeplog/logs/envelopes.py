"""What container runtimes and their tools wrap round each line of a log; inside is a line in any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from enhanced_deeplog.logs.foreign_text import extract_groups
from enhanced_deeplog.logs.json_lines import json_object
from enhanced_deeplog.logs.timestamps import TimestampReader

__all__ = ["ENVELOPES", "Envelope", "EnvelopeReader", "find_envelope"]

_COLUMNS = ("content", "timestamp", "host", "service", "origin", "ends")
_SURE = 0.9  # share of the lines that have it


@dataclass(frozen=True)
class Envelope:
    """What is wrapped round each line.

    Attributes:
        name: For people.
        example: A line in it.
        split: Lines -> String columns `content`, `timestamp`, `host`, `service`, `origin` (lines of one origin are
            those of one stream), null where absent, and `ends`: null where the next line of the origin is the rest of
            this one. A line that is not wrapped is null everywhere.
    """

    name: str
    example: str
    split: Callable[[pl.Series], pl.DataFrame]

    def reader(self, sample: pl.Series, source: str, latest: datetime) -> EnvelopeReader:
        """Settle how timestamps are written, from the first lines of a source."""
        written = self.split(sample)["timestamp"]
        return EnvelopeReader(self, TimestampReader.for_sample(written, _no_unit(written), source, latest))


@dataclass(frozen=True)
class EnvelopeReader:
    """An envelope bound to one source."""

    kind: Envelope
    timestamps: TimestampReader

    def open(self, lines: pl.Series) -> pl.DataFrame:
        """Unwrap lines.

        Returns:
            `content`: the line as the program wrote it (where the runtime has cut one, the first piece has all of it);
            as it stands where it isn't wrapped. `timestamp`, Datetime("ns") in UTC; `host`, `service`, null where
            absent; `origin`, "" where there is none; `begins`, false for the further pieces of a line.
        """
        opened = self.kind.split(lines)
        ends = pl.col("ends").is_not_null() | pl.col("content").is_null()
        opened = opened.with_columns(
            timestamp=self.timestamps.read(opened["timestamp"], _no_unit(lines)),
            content=pl.coalesce("content", pl.lit(lines)),
            origin=pl.col("origin").fill_null(""),
            begins=ends,
        ).with_columns(begins=pl.col("begins").shift(1, fill_value=True).over("origin"))
        if opened["begins"].all():
            return opened
        piece = pl.col("begins").cum_sum().over("origin").alias("piece")
        whole = pl.col("content").str.join("").over("origin", "piece")
        return opened.with_columns(piece).with_columns(content=pl.when("begins").then(whole).otherwise(pl.lit("")))


def _no_unit(lines: pl.Series) -> pl.Series:
    return pl.Series("unit", [None], pl.String).new_from_index(0, len(lines))


def _by_pattern(pattern: str) -> Callable[[pl.Series], pl.DataFrame]:
    def split(lines: pl.Series) -> pl.DataFrame:
        groups = extract_groups(lines, pattern)
        absent = pl.lit(None, pl.String)
        found = groups.select(pl.col(name) if name in groups.columns else absent.alias(name) for name in _COLUMNS)
        origin = pl.concat_str("host", "service", "origin", separator="/", ignore_nulls=True)
        ends = pl.col("ends") if "ends" in groups.columns else pl.col("content")
        return found.with_columns(origin=origin, ends=ends)

    return split


def _of_docker(lines: pl.Series) -> pl.DataFrame:
    rows: list[tuple[str | None, ...]] = []
    for line in lines.to_list():
        record = json_object(line) or {}
        log, stream, time = record.get("log"), record.get("stream"), record.get("time")
        if isinstance(log, str) and stream in ("stdout", "stderr") and isinstance(time, str):
            content = log.removesuffix("\n").encode("utf-8", "replace").decode()  # half of a character can't be stored
            rows.append((content, time, None, None, stream, "\n" if log.endswith("\n") else None))
        else:
            rows.append((None,) * len(_COLUMNS))
    return pl.DataFrame(rows, schema=dict.fromkeys(_COLUMNS, pl.String), orient="row")


ENVELOPES = (
    Envelope(
        "docker",
        r'{"log":"order 17 accepted\n","stream":"stdout","time":"2024-03-01T08:00:00.123456789Z"}',
        _of_docker,
    ),
    Envelope(
        "cri",  # containerd, CRI-O; P: the line goes on
        "2024-03-01T08:00:00.123456789Z stdout F order 17 accepted",
        _by_pattern(
            r"^(?P<timestamp>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]+)) (?P<origin>stdout|stderr) "
            r"(?:P|(?P<ends>F))(?::[^ ]*)? (?P<content>.*)$"
        ),
    ),
    Envelope(
        "kubectl",  # kubectl logs --prefix
        "[pod/orders-5d9c7/app] order 17 accepted",
        _by_pattern(r"^\[pod/(?P<host>[a-z0-9.-]+)/(?P<service>[a-z0-9-]+)\] (?P<content>.*)$"),
    ),
    Envelope(
        "compose",  # docker compose logs
        "orders-1  | order 17 accepted",
        _by_pattern(r"^(?P<service>[A-Za-z][A-Za-z0-9_.-]*)(?P<origin>[-_][0-9]+) +\| (?P<content>.*)$"),
    ),
)


def find_envelope(sample: pl.Series) -> Envelope | None:
    """The envelope that the first lines of a source, String (N,), have; None if they have none.

    Example:
        >>> find_envelope(pl.Series(["2024-03-01T08:00:00Z stdout F up"])).name
        'cri'
    """
    for envelope in ENVELOPES:
        if int(envelope.split(sample)["content"].is_not_null().sum()) >= max(_SURE * len(sample), 1):
            return envelope
    return None
