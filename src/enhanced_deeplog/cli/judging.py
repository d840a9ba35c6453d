"""`classify` and `explain`: judge logs by a bundle; nothing is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.known import Known, ShowExpected
from enhanced_deeplog.cli.options import (
    Bundle,
    CausesFile,
    Files,
    Json,
    KnowledgeFile,
    Output,
    Reading,
    Report,
    Workers,
    rules_of,
)
from enhanced_deeplog.cli.reporting import check_page, reported_on, write_page
from enhanced_deeplog.cli.terminal import (
    be_quiet,
    message,
    progress,
    tell_of_changes,
    tell_of_misread,
    write_lines,
    write_screen,
)

if TYPE_CHECKING:
    from enhanced_deeplog.findings import AnomalyClass, Finding
    from enhanced_deeplog.logs.template_changes import TemplateChange

__all__ = ["All", "ExpectBundle", "FailOn", "classify", "explain", "hand_over"]

FOUND_SOME = 3  # exit code of --fail-on

ExpectBundle = Annotated[
    str | None, typer.Option(metavar="ID", help="Refuse any other bundle than the one with this id.")
]
All = Annotated[bool, typer.Option("--all", help="Write the verdict on every session, normal ones too.")]
FailOn = Annotated[bool, typer.Option("--fail-on", help=f"Exit with {FOUND_SOME} if there are findings: for scripts.")]


def classify(
    files: Files,
    reading: Reading,
    *,
    bundle: Bundle,
    expect_bundle: ExpectBundle = None,
    knowledge: KnowledgeFile = None,
    causes: CausesFile = None,
    show_expected: ShowExpected = False,
    output: Output = None,
    report: Report = None,
    every_session: All = False,
    fail_on: FailOn = False,
    json: Json = False,
    workers: Workers = 1,
) -> None:
    """Judge logs by a bundle: which sessions are abnormal, of what kind, and where it shows."""
    from enhanced_deeplog.bundle import load_bundle
    from enhanced_deeplog.courses import KeptCourses

    if output is not None:
        reading.check_output(output, files)
    if report is not None:
        check_page(report)
    known, rules = Known.read(bundle, knowledge, show_expected=show_expected), rules_of(causes)
    records = reading.records(files)
    to_lines = output is not None and output.suffix == ".jsonl" and not json and report is None
    lines_path = output if to_lines else None
    changes: list[TemplateChange] = []
    with progress() as tell:
        tell("loading the bundle", None)
        model = load_bundle(bundle, expect=expect_bundle)
        model.cause_rules = rules
        known.open(model.classes)
        courses = KeptCourses(as_shown=known.view) if report is not None else None
        tell("reading and judging", None)
        judged: dict[str, Any] = {
            "every_session": every_session,
            "workers": workers,
            "source_name": reading.logical_source,
            "on_changes": changes.extend,
            "courses": courses,
        }
        findings: list[Finding] = []
        if lines_path is not None:  # there may be more of them than memory should hold
            from enhanced_deeplog.output import write_findings_by_place

            parts = (
                [(place, reading.to_show(said)) for place, one in part for said in known.of([one])]
                for part in model.classify_parts(records, **judged)
            )
            n_written, n_abnormal = write_findings_by_place(parts, lines_path)
        else:
            judged_findings = known.of(model.classify(records, **judged))
            findings = [reading.to_show(finding) for finding in judged_findings]
    tell_of_misread(records)
    tell_of_changes(changes)
    known.tell()
    if lines_path is not None:
        message(_written(n_written, n_abnormal, lines_path))
        _fail_if(fail_on and n_abnormal > 0)
    else:
        if report is not None and courses is not None:
            write_page(reported_on(model, findings, courses, known, reading, files), report)
        hand_over(findings, known.classes, output=output, every_session=every_session, json=json, fail_on=fail_on)


def hand_over(
    findings: Sequence[Finding],
    classes: Sequence[AnomalyClass],
    *,
    output: Path | None,
    every_session: bool,
    json: bool,
    fail_on: bool,
) -> None:
    """Findings to a file, to stdout as JSON lines, or to a screen.

    Raises:
        typer.Exit: With 3, if there are findings and `fail_on` asks.
    """
    from enhanced_deeplog.output import finding_line, write_findings

    if output is not None:
        write_findings(findings, output)
        message(_written(len(findings), sum(finding.is_anomaly for finding in findings), output))
    try:
        if json:
            write_lines(finding_line(finding) for finding in findings)
        elif output is None:
            from enhanced_deeplog.cli.verdict_screens import findings_screen

            write_screen(
                *findings_screen(findings, classes=classes, n_sessions=len(findings) if every_session else None)
            )
    except BrokenPipeError:  # the reader has gone, and yet the exit code is to tell the truth
        be_quiet()
    _fail_if(fail_on and any(finding.is_anomaly for finding in findings))


def _fail_if(found_some: bool) -> None:
    if found_some:
        raise typer.Exit(FOUND_SOME)


def _written(n_written: int, n_abnormal: int, output: Path) -> str:
    if n_abnormal == n_written:
        return f"{n_abnormal:,} findings written to {output}."
    return f"Verdicts on {n_written:,} sessions written to {output}; {n_abnormal:,} are abnormal."


def explain(
    files: Files,
    reading: Reading,
    *,
    session: Annotated[str, typer.Option(metavar="KEY", help="Key of the session.")],
    bundle: Bundle,
    expect_bundle: ExpectBundle = None,
    knowledge: KnowledgeFile = None,
    causes: CausesFile = None,
    json: Json = False,
) -> None:
    """Say why a session is abnormal, or why it isn't: score, reasons, lines, what was expected there."""
    from enhanced_deeplog.bundle import load_bundle

    known, rules = Known.read(bundle, knowledge, show_expected=True), rules_of(causes)
    records = reading.records(files)
    changes: list[TemplateChange] = []
    with progress() as report:
        report("loading the bundle", None)
        model = load_bundle(bundle, expect=expect_bundle)
        model.cause_rules = rules
        report("reading and judging", None)
        explained = model.explain(records, session, source_name=reading.logical_source, on_changes=changes.extend)
        known.open(model.classes)
        findings = known.of([course.finding for course in explained])
        courses = [replace(course, finding=finding) for course, finding in zip(explained, findings, strict=True)]
    tell_of_misread(records)
    tell_of_changes(changes)
    shown = [reading.course_to_show(course) for course in courses]
    if json:
        from enhanced_deeplog.output import finding_line

        write_lines(finding_line(course.finding) for course in shown)
    else:
        from enhanced_deeplog.cli.verdict_screens import explanation_screen

        write_screen(*explanation_screen(shown))
