"""The report: one page that opens from disk, made from findings and what `fit` said, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enhanced_deeplog.causes import CauseRules
from enhanced_deeplog.courses import Course
from enhanced_deeplog.differences import Differences, What
from enhanced_deeplog.findings import SEVERITIES, UNKNOWN_CLASS, AnomalyClass, Finding
from enhanced_deeplog.report.cards import course_html, kind_card, most_telling, severity_html
from enhanced_deeplog.report.charts import (
    confidence_plot,
    learnt_plots,
    looks_of,
    session_map,
    timeline,
    truth_plots,
)
from enhanced_deeplog.report.page import as_html, page, paragraph, plot, side_by_side, table

__all__ = ["Reported", "findings_page"]

_MOST_ROWS = 300  # of the table of sessions


@dataclass(frozen=True)
class Reported:
    """What a report is made of.

    Attributes:
        findings: Those to show; with truth, the verdicts on all sessions.
        classes: The kinds.
        courses: How some of the sessions went.
        summary: What `fit` said; empty where it isn't known.
        rules: Where causes stand.
        n_sessions: So many were judged; None: unknown.
        n_hidden: So many findings are left out, for somebody expects them.
        differences: From a normal log, if there was one.
        truth: Session key -> true kind, "" is normal; None: nobody knows.
        source: What was read.
    """

    findings: Sequence[Finding]
    classes: Sequence[AnomalyClass]
    courses: Sequence[Course] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    rules: CauseRules = field(default_factory=CauseRules.shipped)
    n_sessions: int | None = None
    n_hidden: int = 0
    differences: Differences | None = None
    truth: Mapping[str, str] | None = None
    source: str = ""


def findings_page(reported: Reported) -> str:
    """The page.

    Returns:
        HTML that holds all it needs and fetches nothing.
    """
    abnormal = [finding for finding in reported.findings if finding.is_anomaly]
    looks = looks_of(abnormal)
    by_kind: dict[int, list[Finding]] = {one: [] for one in looks}
    for finding in abnormal:
        by_kind[finding.anomaly_class].append(finding)
    order = sorted(by_kind, key=lambda one: _order(one, by_kind[one]))
    known = {one.id: one for one in reported.classes}
    cards = "".join(
        kind_card(by_kind[one], known.get(one), looks[one].colour, len(abnormal), reported.rules) for one in order
    )
    when, where, sure = timeline(abnormal, looks), session_map(abnormal, looks), confidence_plot(abnormal)
    truth = truth_plots(reported.findings, reported.truth) if reported.truth is not None else []
    return page(
        f"What is abnormal in {reported.source}" if reported.source else "What is abnormal",
        _summary(reported, [by_kind[one] for one in order]),
        [
            ("When", f'<div class="wide">{plot(when)}</div>' if when is not None else ""),
            ("Kinds", cards),
            ("New, gone, changed", _differences(reported.differences)),
            ("Alike", side_by_side(one for one in (where, sure) if one is not None)),
            ("Against the truth", side_by_side(truth)),
            ("Sessions", _sessions(abnormal)),
            ("Line by line", "".join(map(course_html, reported.courses))),
            ("What was learnt", _learnt(reported.summary)),
        ],
    )


def _order(one: int, findings: Sequence[Finding]) -> tuple[bool, int, int, int]:
    worst = max(SEVERITIES.index(finding.severity or "info") for finding in findings)
    return one == UNKNOWN_CLASS, -worst, -len(findings), one


def _summary(reported: Reported, kinds: Sequence[Sequence[Finding]]) -> str:
    """Three sentences: how much, the worst, what to do first."""
    n_abnormal = sum(map(len, kinds))
    hidden = f" {reported.n_hidden:,} more are hidden, for somebody expects them." if reported.n_hidden else ""
    of = f" of {reported.n_sessions:,}" if reported.n_sessions is not None else ""
    if not n_abnormal:
        other = "other " if reported.n_hidden else ""
        return paragraph(f"No {other}session{of} is abnormal.{hidden}", of_class="summary")
    n_known = sum(kind[0].anomaly_class != UNKNOWN_CLASS for kind in kinds)
    n_unknown = sum(len(kind) for kind in kinds if kind[0].anomaly_class == UNKNOWN_CLASS)
    what = [f"of {n_known} kind{'s' * (n_known != 1)}"] * bool(n_known) + [f"{n_unknown:,} like none"] * bool(n_unknown)
    one_of_many = reported.n_sessions is not None and reported.n_sessions > 1
    is_are = ("sessions is" if one_of_many else "session is") if n_abnormal == 1 else "sessions are"
    worst = kinds[0]
    example = max(worst, key=lambda finding: (finding.confidence, finding.score))
    line = most_telling(example)
    at = f" (line {line.line:,} of {line.source})" if line is not None else ""
    called = example.cause.title if example.cause is not None else example.class_name
    return (
        paragraph(f"{n_abnormal:,}{of} {is_are} abnormal, {', '.join(what)}.{hidden}", of_class="summary")
        + paragraph(
            f"The worst: {called} ({example.severity}, {len(worst):,} session{'s' * (len(worst) != 1)}), "
            f"as in session {example.session_key}{at}.",
            of_class="summary",
        )
        + paragraph(f"Look there first: {example.advice}", of_class="summary")
    )


def _differences(found: Differences | None) -> str:
    if found is None:
        return ""
    headings: dict[What, str] = {"new": "New", "gone": "Gone", "more": "More frequent", "less": "Less frequent"}
    parts = []
    for what, heading in headings.items():
        rows = [
            ("", (as_html(one.text or one.template, 300), f"{one.n_sessions:,}", f"{one.n_normal_sessions:,}"))
            for one in found.of(what)[:20]
        ]
        if rows:
            header = ("line or template", "sessions here", "in the normal log")
            parts.append(f"<h3>{heading}</h3>{table(header, rows)}")
    return "".join(parts)


def _sessions(abnormal: Sequence[Finding]) -> str:
    """The worst of them, one a row."""
    if not abnormal:
        return ""
    worst = sorted(abnormal, key=lambda f: (-SEVERITIES.index(f.severity or "info"), -f.score, f.id))[:_MOST_ROWS]
    rows = []
    for finding in worst:
        line = most_telling(finding)
        at = finding.first_line if line is None else line.line
        rows.append(
            (
                "",
                (
                    as_html(finding.session_key, 60),
                    severity_html(finding.severity or ""),
                    as_html(finding.cause.title if finding.cause is not None else finding.class_name, 90),
                    as_html((finding.first_timestamp or "")[:19].replace("T", " ")),
                    f"{at:,}",
                    f"{finding.score:.1f}",
                    f"{finding.confidence:.0%}",
                ),
            )
        )
    left_out = len(abnormal) - len(worst)
    more = paragraph(f"{left_out:,} more are not listed here; --output FILE has all.", of_class="note")
    header = ("session", "severity", "what happened", "first seen (UTC)", "line", "score", "confidence")
    return table(header, rows, n_texts=4) + (more if left_out else "")


def _learnt(summary: Mapping[str, Any]) -> str:
    if not summary:
        return ""
    facts = (
        f"{summary['n_sessions']:,} sessions of {summary['n_records']:,} records and {summary['n_templates']:,} "
        f"templates were read, {summary['n_normal_sessions']:,} sessions learnt from as normal "
        f"({summary['normal_from']}). Sessions: {summary['session_key_reason']}. An alarm is asked for in "
        f"{10_000 * summary['alarm_rate']:g} of 10,000 normal sessions."
    )
    notes = "".join(paragraph(f"Note: {note}", of_class="note") for note in summary["notes"])
    return paragraph(facts) + notes + side_by_side(learnt_plots(summary))
