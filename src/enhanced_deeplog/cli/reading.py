"""`inspect` and `parse`: how logs are read, and every record as a row."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enhanced_deeplog.cli.options import Files, Json, Output, Reading, Settings
from enhanced_deeplog.cli.terminal import Progress, message, progress, tell_of_misread, write_lines, write_screen
from enhanced_deeplog.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from enhanced_deeplog.logs.records import LogRecords

__all__ = ["inspect", "parse"]


def inspect(files: Files, reading: Reading, settings: Settings, *, json: Json = False) -> None:
    """Show how files will be read: format, fields, session keys, templates, and the lines that don't fit.

    Of a large input, the first records of each file are looked at; the answer says so.
    """
    from enhanced_deeplog.cli.inspection import inspection_screen, look_at

    with progress() as report:
        report("reading", None)
        seen = look_at(files, reading, settings.read())
    if json:
        write_lines([json_format.dumps(seen)])
    else:
        write_screen(*inspection_screen(seen))


def parse(
    files: Files,
    reading: Reading,
    settings: Settings,
    *,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Use the templates of a bundle; else they are learnt.")
    ] = None,
    output: Output = None,
) -> None:
    """Write every record as a row: where it stands, its session, its template and its parameters.

    Without --output, lines of JSON go to stdout.
    """
    from enhanced_deeplog.output import record_lines, write_records

    if output is not None:
        reading.check_output(output, files)
    records = reading.records(files)
    frames = _parsed(records, settings, bundle)
    if output is None:
        for frame in frames:
            write_lines(record_lines(frame))
    else:
        with progress() as report:
            n_records = write_records(_counted(frames, report), output)
        message(f"{n_records:,} records written to {output}.")
    tell_of_misread(records)


def _parsed(records: LogRecords, settings: Settings, bundle: Path | None) -> Iterator[pl.DataFrame]:
    if bundle is None:
        from enhanced_deeplog.logs.parsing import parse_records

        return parse_records(records, settings.read())
    if settings != Settings():
        raise UsageError("--config, --set and --seed are for learning; a bundle has learnt. Leave them out.")
    from enhanced_deeplog.bundle import load_bundle

    return load_bundle(bundle).parse(records)


def _counted(frames: Iterable[pl.DataFrame], report: Progress) -> Iterator[pl.DataFrame]:
    report("reading", None)
    n_records = 0
    for frame in frames:
        yield frame
        n_records += frame.height
        report(f"{n_records:,} records written", None)
