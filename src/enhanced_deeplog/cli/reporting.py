"""`--report`: a page of findings; of `evaluate`, of what was measured, now or earlier (`--rows`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enhanced_deeplog.cli.terminal import message
from enhanced_deeplog.errors import InputError, UsageError

if TYPE_CHECKING:
    from enhanced_deeplog.cli.known import Known
    from enhanced_deeplog.cli.options import Reading
    from enhanced_deeplog.courses import KeptCourses
    from enhanced_deeplog.detector import EnhancedDeepLog
    from enhanced_deeplog.findings import Finding
    from enhanced_deeplog.report.findings_report import Reported

__all__ = ["check_page", "check_report", "earlier_rows", "reported_on", "write_page", "write_report"]

Row = dict[str, Any]


def check_report(report: Path, *, export_splits: Path | None, rows_file: Path | None) -> None:
    """What can't be written must be known before hours of measuring.

    Raises:
        UsageError: If there is nothing to report, or no page can be made or written.
    """
    if export_splits is not None:
        raise UsageError("--export-splits measures nothing, so there is nothing to --report. Leave one of them out.")
    if rows_file is not None and report.exists() and rows_file.exists() and report.samefile(rows_file):
        raise UsageError(f"--report {report} is the file of --rows. Write to another file.")
    check_page(report)


def check_page(report: Path) -> None:
    """Make sure that a page can be made and written.

    Raises:
        UsageError: If it can't be made.
        OutputError: If it can't be written.
    """
    from enhanced_deeplog.output import check_directory, check_file

    if report.suffix != ".html":
        raise UsageError(f"--report {report}: expected a name that ends in .html; a page is written to it.")
    if importlib.util.find_spec("plotly") is None:
        raise UsageError(
            "--report needs plotly, which can't be found. Install it: pip install 'enhanced-deeplog[report]'."
        )
    check_directory(report.parent)
    check_file(report)


def reported_on(
    model: EnhancedDeepLog,
    findings: Sequence[Finding],
    courses: KeptCourses,
    known: Known,
    reading: Reading,
    files: Sequence[str],
) -> Reported:
    """What a report on findings of these files is made of."""
    from enhanced_deeplog.report.findings_report import Reported

    return Reported(
        findings,
        known.classes,
        courses=[reading.course_to_show(course) for course in courses.courses()],
        summary=model.summary,
        rules=model.cause_rules,
        n_sessions=courses.n_sessions,
        n_hidden=known.n_hidden,
        differences=reading.differences_to_show(model),
        source=Path(files[0]).name if len(files) == 1 else f"{len(files):,} logs",
    )


def write_page(reported: Reported, report: Path) -> None:
    """Write the page of findings, whole or not at all."""
    from enhanced_deeplog.output import write_text
    from enhanced_deeplog.report.findings_report import findings_page

    write_text(findings_page(reported), report)
    message(f"Report: {report}")


def earlier_rows(path: Path, protocols: Sequence[str]) -> list[Row]:
    """Of each protocol and seed the rows of the last run at default settings; of these protocols, or of all.

    Raises:
        InputError: If the file can't be read, or has no such row.
    """
    from enhanced_deeplog.evaluation.figures import published
    from enhanced_deeplog.evaluation.rows import read_rows
    from enhanced_deeplog.logs.foreign_text import printable

    found = read_rows(path)
    rows = [dict(row) for row in published(found) if not protocols or row["protocol"] in protocols]
    if not rows:
        there = printable(", ".join(dict.fromkeys(row["protocol"] for row in found)), 200)
        raise InputError(
            f"{path}: expected rows of {', '.join(protocols) or 'any protocol'} at default settings; it has "
            f"{len(found):,} rows, of {there}, and none of them is one. Name other protocols, or measure these."
        )
    if len(rows) < len(found):
        message(f"{path}: {len(rows):,} of {len(found):,} rows count: the last run of each protocol and seed.")
    return rows


def write_report(rows: Sequence[Row], report: Path) -> None:
    """Write the page, whole or not at all."""
    from enhanced_deeplog.evaluation.report import report_page
    from enhanced_deeplog.output import write_text

    write_text(report_page(rows), report)
    message(f"{report} written.")
