"""Options that several commands share: how logs are read, and the settings of a fit."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.terminal import let_ctrl_c_end_reading
from enhanced_deeplog.errors import UsageError

if TYPE_CHECKING:
    from enhanced_deeplog.causes import CauseRules
    from enhanced_deeplog.config import Config
    from enhanced_deeplog.courses import Course
    from enhanced_deeplog.detector import EnhancedDeepLog
    from enhanced_deeplog.differences import Differences
    from enhanced_deeplog.findings import Finding
    from enhanced_deeplog.logs.records import LogRecords

__all__ = [
    "Bundle",
    "CausesFile",
    "Files",
    "Json",
    "KnowledgeFile",
    "Output",
    "Reading",
    "Report",
    "Settings",
    "ShownLines",
    "Workers",
    "check_standard_input",
    "rules_of",
    "with_shared_options",
]

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Log files or globs, plain, gzip or zstd; - is standard input."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to x.jsonl, x.parquet or x.csv instead."),
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.html", help="Also write a page that opens from disk.")
]
Bundle = Annotated[Path, typer.Option("--bundle", metavar="DIR", help="Bundle that `fit` wrote.")]
KnowledgeFile = Annotated[
    Path | None,
    typer.Option("--knowledge", metavar="FILE", help="What people say about classes; beside the bundle if left away."),
]
CausesFile = Annotated[
    Path | None,
    typer.Option(
        "--causes",
        metavar="FILE",
        help="Rules of your own from lines to likely causes, in TOML; docs/causes.md says how.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a screen for people.")]
Workers = Annotated[
    int, typer.Option(metavar="N", min=0, help="Threads; 0: one a core. Any number gives the same result.")
]


class ShownLines(StrEnum):
    """What findings show of the lines of a log."""

    REDACTED = "redacted"
    FULL = "full"
    NONE = "none"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How logs are read."""

    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="hdfs, log4j, pipe, jsonl, sequences, plain, ... or a format string such as "
            "'<Date> <Time> <Level> <Component>: <Content>'. Found out if left away.",
        ),
    ] = None
    formats: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Formats of your own, in TOML; docs/formats.md says how.")
    ] = None
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS", help="A field of JSON lines or logfmt: body=msg, timestamp:ms=t. Repeatable."
        ),
    ] = None
    session_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="What groups records into sessions: the name that stands before it (job for job=17 or job #17), a "
            "known key such as block or request, or a regex, first match in the line. Found out if left away.",
        ),
    ] = None
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Leave out what is earlier: 2024-03-01T08:00:00Z.")
    ] = None
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Leave out this time and later.")] = None
    source_name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the source instead of its path.")] = (
        None
    )
    service: Annotated[str | None, typer.Option(metavar="NAME", help="Service that wrote records which name none.")] = (
        None
    )
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Of timestamps that name none: Europe/Berlin.")] = "UTC"
    evidence: Annotated[
        ShownLines,
        typer.Option(
            help="Lines that findings show: without secrets (passwords, tokens, e-mail addresses, card numbers, ...), "
            "as they are, or none. What is learnt never holds secrets."
        ),
    ] = ShownLines.REDACTED

    def records(self, files: Sequence[str]) -> LogRecords:
        """The records of these files, not yet read."""
        from enhanced_deeplog.logs.records import read_records

        let_ctrl_c_end_reading()
        return read_records(
            *files,
            format=self.format,
            formats=self.formats,
            fields=_pairs(self.field, "--field", "body=msg") or None,
            session_key=self.session_key,
            source_name=self.source_name,
            service=self.service,
            time_zone=self.time_zone,
            since=self.since,
            until=self.until,
            evidence="full" if self.evidence is ShownLines.FULL else "redacted",
        )

    def to_show(self, finding: Finding) -> Finding:
        """A finding with the lines that were asked for."""
        return finding.without_text() if self.evidence is ShownLines.NONE else finding

    def course_to_show(self, course: Course) -> Course:
        """How a session went, with the lines that were asked for."""
        return course.without_text() if self.evidence is ShownLines.NONE else course

    def differences_to_show(self, model: EnhancedDeepLog) -> Differences | None:
        """How logs differ from normal ones, with the lines that were asked for."""
        found = model.differences
        return found.without_text() if found is not None and self.evidence is ShownLines.NONE else found

    def check_output(self, output: Path, *files: Sequence[str] | None) -> None:
        """Make sure that results can be written, and that they replace none of the logs.

        Raises:
            UsageError: If the output is one of the logs, or its suffix says nothing.
            OutputError: If no file can be made there.
        """
        from enhanced_deeplog.logs.inputs import expand_path
        from enhanced_deeplog.output import check_output

        check_output(output)
        for given in (file for some in files for file in some or ()):
            for log in expand_path(given) if given != "-" else ():
                if output.exists() and output.samefile(log):
                    raise UsageError(f"--output {output} is one of the logs to read. Write to another file.")

    @property
    def logical_source(self) -> str:
        """What a finding's id calls the source; never a path."""
        return self.source_name or ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a fit."""

    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings, in TOML or JSON.", show_default=False)
    ] = None
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="SECTION.NAME=VALUE", help="One setting: learning.epochs=20. Repeatable."),
    ] = None
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Same seed, same result; 0 if left away.")] = None

    def read(self) -> Config:
        """Settings from the file, changed by what was given beside it."""
        from enhanced_deeplog.config import Config

        config = Config.of({}) if self.config is None else Config.read(self.config)
        changes = _pairs(self.set, "--set", "learning.epochs=20")
        if self.seed is not None:
            changes["seed"] = str(self.seed)
        return config.with_settings(changes) if changes else config


def _pairs(given: list[str] | None, option: str, example: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {text}: expected a name, = and a value, as in {option} {example}.")
        pairs[name.strip()] = value
    return pairs


def rules_of(causes: Path | None) -> CauseRules:
    """What is made of the lines that surprise."""
    from enhanced_deeplog.causes import CauseRules

    return CauseRules.shipped() if causes is None else CauseRules.read(causes)


def check_standard_input(*groups: Sequence[str] | None) -> None:
    """Refuse to read standard input for two purposes: it comes only once.

    Raises:
        UsageError: If more than one of the groups of files names it.
    """
    if sum("-" in (files or ()) for files in groups) > 1:
        raise UsageError("Expected - (standard input) for one purpose; it is given for two. Use a file.")


_GROUPS = (Reading, Settings)


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Offer each field of a parameter that is `Reading` or `Settings` as an option of its own."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in _GROUPS}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters_of(groups[name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=hints[name]))

    def spread(**given: Any) -> None:
        for name, group in groups.items():
            taken = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**taken)
        command(**given)

    spread.__name__, spread.__doc__ = command.__name__, command.__doc__
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _parameters_of(group: type) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]
