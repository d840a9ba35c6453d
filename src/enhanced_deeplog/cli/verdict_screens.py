"""Screens of verdicts: all findings, and one session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from enhanced_deeplog.cli.tables import STEP_MARKS, Entry, entry_list, rarity, severity_text, share, table
from enhanced_deeplog.cli.terminal import shown
from enhanced_deeplog.courses import Course, unequal_in_words
from enhanced_deeplog.explanation import pause_in_words, value_in_words
from enhanced_deeplog.findings import SEVERITIES, UNKNOWN_CLASS, AnomalyClass, Evidence, Finding

__all__ = ["explanation_screen", "findings_screen"]

_N_MOST_SEVERE = 10
_N_EXAMPLES = 2  # lines shown of a kind
Telling = Mapping[int, Sequence[str]]  # class -> its telling templates, most telling first


def findings_screen(
    findings: Sequence[Finding], *, classes: Sequence[AnomalyClass] = (), n_sessions: int | None = None
) -> Iterator[RenderableType]:
    """Kinds first, then the most severe sessions.

    Args:
        findings: Those of normal sessions are left out.
        classes: The kinds; their telling templates choose the line that is shown.
        n_sessions: How many were judged, if that is known.
    """
    abnormal = [finding for finding in findings if finding.is_anomaly]
    of = "" if n_sessions is None else f" of {n_sessions:,}"
    if not abnormal:
        yield Text(f"No abnormal sessions{of}.", "bold green")
        return
    kinds = _by_kind(abnormal)
    known = {kind.id: kind for kind in classes}
    telling = {kind.id: [template for template, _ in kind.templates] for kind in classes}
    yield Text(f"{_count(len(abnormal), 'abnormal session')}{of}, {_kinds_in_words(kinds)}.", "bold")
    yield from _kind_list(kinds, telling, known)
    yield Text("The most severe", "bold")
    yield from _most_severe(abnormal, telling)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _kinds_in_words(kinds: Sequence[Sequence[Finding]]) -> str:
    n_alike = sum(kind[0].anomaly_class != UNKNOWN_CLASS for kind in kinds)
    n_unknown = sum(len(kind) for kind in kinds if kind[0].anomaly_class == UNKNOWN_CLASS)
    words = [f"of {_count(n_alike, 'kind')}"] * bool(n_alike) + [f"{n_unknown:,} of no known kind"] * bool(n_unknown)
    return ", ".join(words)


def _by_kind(abnormal: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of each kind, most severe and then largest kind first; what is like no kind comes last."""
    kinds: dict[int, list[Finding]] = {}
    for finding in abnormal:
        kinds.setdefault(finding.anomaly_class, []).append(finding)
    return sorted(
        kinds.values(),
        key=_order_of_kind,
    )


def _order_of_kind(kind: Sequence[Finding]) -> tuple[bool, int, int, int]:
    anomaly_class = kind[0].anomaly_class
    return anomaly_class == UNKNOWN_CLASS, -_worst(kind), -len(kind), anomaly_class


def _worst(findings: Sequence[Finding]) -> int:
    return max(SEVERITIES.index(finding.severity or "info") for finding in findings)


def _kind_list(
    kinds: Sequence[Sequence[Finding]], telling: Telling, known: Mapping[int, AnomalyClass]
) -> Iterator[RenderableType]:
    n_abnormal = sum(map(len, kinds))
    entries = []
    for kind in kinds:
        surest = sorted(kind, key=lambda finding: (-finding.confidence, -finding.score, finding.id))
        example = surest[0]
        confidence = sum(finding.confidence for finding in kind) / len(kind)
        cells = (
            Text(_number(example)),
            Text(f"{len(kind):,}"),
            Text(share(len(kind) / n_abnormal)),
            severity_text(SEVERITIES[_worst(kind)]),
            Text(share(confidence)),
        )
        lines = [_place(one, telling, "e.g. ") for one in surest[:_N_EXAMPLES]]
        seen, owner = _seen(kind), f"Owner: {example.owner}." if example.owner else ""
        about = [shown(text, limit=600) for text in (seen, owner) if text]
        advice = shown(f"What to do: {_advice(example, known.get(example.anomaly_class))}", limit=1000)
        headline = shown(example.class_name, "bold", limit=200)
        entries.append(Entry(cells, headline, (*about, *lines, advice)))
    return entry_list((">class", ">sessions", ">share", "severity", ">confidence"), "kind", entries)


def _advice(example: Finding, kind: AnomalyClass | None) -> str:
    """That of the kind, where a rule knows it and nobody has named a runbook; else that of its surest finding."""
    return kind.advice if kind is not None and kind.cause and not example.runbook else example.advice


def _seen(kind: Sequence[Finding]) -> str:
    """When the first and the last session of a kind began; "" where nobody knows."""
    times = sorted(finding.first_timestamp for finding in kind if finding.first_timestamp is not None)
    if not times:
        return ""
    first, last = (time[:19].replace("T", " ") for time in (times[0], times[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def _number(finding: Finding) -> str:
    return "-" if finding.anomaly_class == UNKNOWN_CLASS else str(finding.anomaly_class)


def _most_severe(abnormal: Sequence[Finding], telling: Telling) -> Iterator[RenderableType]:
    entries = []
    for finding in sorted(abnormal, key=lambda one: (-_worst([one]), -one.score, one.id))[:_N_MOST_SEVERE]:
        cells = shown(finding.session_key, "bold", limit=40), severity_text(finding.severity or "")
        headline = shown(finding.class_name, limit=100)
        entries.append(Entry((*cells, Text(rarity(finding.score))), headline, (_place(finding, telling),)))
    return entry_list(("session", "severity", "among normal ones"), "kind, and where it shows", entries)


def _place(finding: Finding, telling: Telling, before: str = "") -> Text:
    """Where a finding shows: the line that tells its kind, else its most surprising one, and what that says."""
    if not finding.evidence:
        return shown(f"{before}{finding.source}:{finding.first_line}", "dim")
    templates = telling.get(finding.anomaly_class, [])

    def tells(one: Evidence) -> tuple[int, float]:
        return -(templates.index(one.template) if one.template in templates else len(templates)), one.surprise

    best = max(finding.evidence, key=tells)
    end = "the session ends after: " if best.template == "<END>" else ""
    return shown(f"{before}{best.source}:{best.line}  {end}{best.text or best.template}", "dim", limit=300)


# --- One session --------------------------------------------------------------------------------------------


def explanation_screen(courses: Sequence[Course]) -> Iterator[RenderableType]:
    """Why each part of a session is abnormal, or why not, and how the normal session went that is most like it."""
    for i, course in enumerate(courses, 1):
        yield from _explanation(course, f", part {i} of {len(courses)}" if len(courses) > 1 else "")


def _explanation(course: Course, part: str) -> Iterator[RenderableType]:
    finding = course.finding
    verdict, style = ("abnormal", "bold red") if finding.is_anomaly else ("normal", "bold green")
    which = finding.session_key or f"without a key, from {finding.source}:{finding.first_line}"
    yield shown(f"Session {which}{part}: {verdict}", style)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(finding):
        facts.add_row(Text(f"  {name}", "dim"), shown(value))
    for i, unequal in enumerate(course.unequal):
        facts.add_row(Text("" if i else "  counts", "dim"), shown(unequal_in_words(unequal)))
    yield facts
    if finding.evidence:
        yield Text("\nIts most telling records" if not finding.is_anomaly else "\nEvidence", "bold")
        yield _evidence_table(finding.evidence)
    if course.has_usual and finding.is_anomaly:
        yield Text("How it went (+), and how the normal session that is most like it went instead (-)", "bold")
        yield course_table(course)
    yield Text()


def course_table(course: Course) -> Table:
    """The steps of a session beside those of the normal one that is most like it."""
    made = table("", ">line", "template")
    for step in course.steps:
        mark, style = STEP_MARKS[step.where]
        text = f"... {step.template}" if step.where == "left out" else step.template
        made.add_row(mark, "" if step.line is None else f"{step.line:,}", shown(text, style, limit=200))
    return made


def _facts(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.is_anomaly:
        number = "" if finding.anomaly_class == UNKNOWN_CLASS else f" (class {finding.anomaly_class})"
        yield "kind", f"{finding.class_name}{number}, confidence {share(finding.confidence)}"
        yield "severity", f"{finding.severity}, pattern {finding.pattern}"
        if finding.cause is not None:
            matched = f' ("{finding.cause.matched}")' if finding.cause.matched else ""
            yield "what happened", f"{finding.cause.title}: {finding.cause.source}:{finding.cause.line}{matched}"
            for i, cause in enumerate(finding.cause.likely):
                yield "" if i else "likely causes", cause
        yield "what to do", finding.advice
        if finding.owner:
            yield "owner", finding.owner
        if finding.expected:
            yield "expected", "somebody expects this kind (classes log)"
    than = "above" if finding.score > finding.threshold else "not above"
    yield (
        "score",
        (
            f"{round(finding.score, 2) + 0:.2f}, {than} the threshold {finding.threshold:.2f}; "
            f"as odd: {rarity(finding.score)} normal sessions, an alarm begins at {rarity(finding.threshold)}"
        ),
    )
    reasons = sorted(finding.reasons.items(), key=lambda reason: -reason[1])
    carried = [f"{name.replace('_', ' ')} {share(part)}" for name, part in reasons if part >= 0.005]
    yield "reasons", ", ".join(carried) or "none"
    lines = f"lines {finding.first_line:,} to {finding.last_line:,} of {finding.source}"
    yield "records", f"{finding.n_records:,}, {lines}"
    if finding.first_timestamp:
        yield "time", f"{finding.first_timestamp} to {finding.last_timestamp}"
    ended = "its end was judged, too" if finding.complete else "its end was not seen"
    yield "state", f"{finding.state}; {ended}"


def _evidence_table(evidence: Sequence[Evidence]) -> Table:
    made = table(">line", ">surprise", "what came, and what was expected instead")
    for one in evidence:
        came = "the session ends after: " if one.template == "<END>" else ""
        about = shown(f"{came}{one.text or one.template}", limit=400)
        expected = "; ".join(f"{e.template} ({share(e.probability)})" for e in one.expected)
        if one.pause is not None:
            about.append("\n").append_text(shown(pause_in_words(one.pause), "yellow", limit=400))
        if one.value is not None:
            about.append("\n").append_text(shown(value_in_words(one.value), "yellow", limit=400))
        if expected:
            about.append("\n").append_text(shown(f"expected: {expected}", "dim", limit=400))
        made.add_row(f"{one.line:,}", f"{one.surprise:.1f}", about)
    return made
