"""A card for each kind of anomaly, and a session beside the normal one that is most like it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from enhanced_deeplog.causes import CauseRules
from enhanced_deeplog.courses import Course, unequal_in_words
from enhanced_deeplog.events import END_TEXT
from enhanced_deeplog.explanation import aligned, pause_in_words, value_in_words
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass, Evidence, Finding
from enhanced_deeplog.report.page import as_html

__all__ = ["course_html", "kind_card", "most_telling", "session_facts", "severity_html"]

_LIMIT = 400  # characters of a line
_N_EXAMPLES = 2


def severity_html(severity: str) -> str:
    """A severity in its colour."""
    return f'<span class="severity {as_html(severity)}">{as_html(severity)}</span>'


def kind_card(
    findings: Sequence[Finding], one: AnomalyClass | None, colour: str, n_abnormal: int, rules: CauseRules
) -> str:
    """All about one kind, for whoever is on call.

    Args:
        findings: Those of the kind, at least one.
        one: The kind; None for what is like none.
        colour: Of the kind on the page.
        n_abnormal: Findings of all kinds.
        rules: Where its causes stand.
    """
    example = max(findings, key=lambda finding: (finding.confidence, finding.score))
    worst = max((finding.severity or "info" for finding in findings), key=SEVERITIES.index)
    heading = f"{one.id}. {example.class_name}" if one is not None else "Like no known kind"
    return (
        f'<div class="card" style="border-left-color: {colour}"><h3>{as_html(heading, 300)}</h3>'
        f"<p>{severity_html(worst)}; {_count(len(findings), 'session')}, "
        f"{len(findings) / n_abnormal:.0%} of what was found</p>"
        f"{_facts(_kind_facts(findings, one, example, rules))}{_telling(one)}{_usual_course(one)}</div>"
    )


def _kind_facts(
    findings: Sequence[Finding], one: AnomalyClass | None, example: Finding, rules: CauseRules
) -> Iterator[tuple[str, str]]:
    times = sorted(finding.first_timestamp for finding in findings if finding.first_timestamp is not None)
    if times:
        yield "first, last seen", as_html(f"{_short(times[0])} to {_short(times[-1])} UTC")
    rule = rules.named(one.cause) if one is not None else None
    if rule is not None:
        yield "what happened", f"<b>{as_html(rule.title)}</b>{_matched(findings, rule.name)}"
        yield "likely causes", _list(rule.causes)
    yield "what to do", as_html(one.advice if rule is not None and one is not None else example.advice, 1000)
    if example.runbook:
        yield "runbook", _link(example.runbook)
    if example.owner:
        yield "owner", as_html(example.owner)
    examples = [_line_of(finding) for finding in _examples(findings, example)]
    yield "on these lines", _list_html(examples)
    if one is not None:
        sure = sum(finding.confidence for finding in findings) / len(findings)
        yield "confidence", f"{sure:.0%} on average"
        weak = f"{one.recall_when_weak:.0%} of its sessions are found without half of what tells them"
        yield "hard to detect?", as_html(weak)
        yield "pattern", as_html(one.pattern.replace("_", " "))
        yield "key", as_html(one.key)


def _examples(findings: Sequence[Finding], first: Finding) -> list[Finding]:
    others = [finding for finding in findings if finding.id != first.id]
    return [first, *sorted(others, key=lambda finding: -finding.score)[: _N_EXAMPLES - 1]]


def most_telling(finding: Finding) -> Evidence | None:
    """The line of a finding that a rule speaks of, else the one that surprised most."""
    if not finding.evidence:
        return None
    at = finding.cause.position if finding.cause is not None else None
    return max(finding.evidence, key=lambda line: (line.position == at, line.surprise))


def _line_of(finding: Finding) -> str:
    line = most_telling(finding)
    if line is None:
        return f"{as_html(finding.source)}:{finding.first_line}"
    end = "the session ends after: " if line.template == END_TEXT else ""
    return f"<b>{as_html(f'{line.source}:{line.line}')}</b> {as_html(end + (line.text or line.template), _LIMIT)}"


def _matched(findings: Sequence[Finding], rule: str) -> str:
    found = next((f.cause for f in findings if f.cause is not None and f.cause.rule == rule and f.cause.matched), None)
    return f" (“{as_html(found.matched)}”, {as_html(found.source)}:{found.line})" if found is not None else ""


def _telling(one: AnomalyClass | None) -> str:
    if one is None or not one.templates:
        return ""
    rows = "".join(
        f'<tr><td class="number">{part:.0%}</td><td>{as_html(text, _LIMIT)}</td></tr>' for text, part in one.templates
    )
    head = '<tr><th class="number">of its surprise</th><th>template that tells it</th></tr>'
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _usual_course(one: AnomalyClass | None) -> str:
    if one is None or not one.usual:
        return ""
    rows = "".join(_course_row(where, text, "", "") for where, text in aligned(one.typical, one.usual))
    return (
        "<details><summary>Its typical session beside the normal one most like it</summary>"
        f'<table class="course">{rows}</table></details>'
    )


# --- One session --------------------------------------------------------------------------------------------------


def course_html(course: Course) -> str:
    """A session line by line: what surprised is marked, what was expected stands below it, the normal one beside it."""
    finding = course.finding
    told = {line.position: line for line in finding.evidence}
    rows = [
        _course_row(
            step.where,
            step.template,
            "" if step.line is None else f"{step.line:,}",
            step.text,
            told.get(step.position) if step.position is not None else None,
        )
        for step in course.steps
    ]
    unequal = (("counts", as_html(unequal_in_words(one), 600)) for one in course.unequal)
    facts = [*session_facts(finding), *unequal]
    title = f"{finding.session_key or 'session'}: {finding.class_name}, {finding.severity}"
    return (
        f"<details><summary>{as_html(title, 200)}</summary>{_facts(facts)}"
        '<table class="course"><tr><td class="line">line</td><td>this session</td>'
        '<td class="usual">the normal one most like it</td></tr>'
        f"{''.join(rows)}</table></details>"
    )


def _course_row(where: str, template: str, number: str, text: str, told: Evidence | None = None) -> str:
    if where == "left out":
        return f'<tr><td></td><td class="why">... {as_html(template)}</td><td></td></tr>'
    shown = as_html(text or template, _LIMIT)
    usual = as_html(template, _LIMIT)
    if where == "only there":
        return f'<tr class="missing"><td class="line"></td><td></td><td class="usual">{usual}</td></tr>'
    of_class = "marked" if told is not None else "only" if where == "only here" else ""
    why = f'<div class="why">{_why(told)}</div>' if told is not None else ""
    beside = usual if where == "" else ""
    here = f'<td class="{of_class}">{shown}{why}</td>'
    return f'<tr><td class="line">{number}</td>{here}<td class="usual">{beside}</td></tr>'


def _why(line: Evidence) -> str:
    expected = "; ".join(f"{one.template} ({one.probability:.0%})" for one in line.expected)
    late = f"{pause_in_words(line.pause)}; " if line.pause is not None else ""
    odd = f"{value_in_words(line.value)}; " if line.value is not None else ""
    return as_html(f"{late}{odd}surprise {line.surprise:.1f}; expected: {expected}", 600)


def session_facts(finding: Finding) -> Iterator[tuple[str, str]]:
    """What is said about one session."""
    yield "kind", as_html(f"{finding.class_name}, confidence {finding.confidence:.0%}", 300)
    if finding.cause is not None:
        yield (
            "what happened",
            f"<b>{as_html(finding.cause.title)}</b> ({as_html(finding.cause.source)}:{finding.cause.line})",
        )
        yield "likely causes", _list(finding.cause.likely)
    yield "what to do", as_html(finding.advice, 1000)
    reasons = sorted(finding.reasons.items(), key=lambda reason: -reason[1])
    carried = ", ".join(f"{name.replace('_', ' ')} {part:.0%}" for name, part in reasons if part >= 0.005)
    yield "why", as_html(f"score {finding.score:.1f} above {finding.threshold:.1f}: {carried}")
    yield "lines", as_html(f"{finding.first_line:,} to {finding.last_line:,} of {finding.source}", 300)
    if finding.first_timestamp is not None:
        yield "time", as_html(f"{_short(finding.first_timestamp)} to {_short(finding.last_timestamp or '')} UTC")


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{as_html(name)}</dt><dd>{value}</dd>' for name, value in facts)}</dl>"


def _list(texts: Iterable[str]) -> str:
    return _list_html(as_html(text, 600) for text in texts)


def _list_html(entries: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{entry}</li>' for entry in entries)}</ul>"


def _link(address: str) -> str:
    """A link, if it is one of the web; anything else stays text."""
    try:
        good = urlsplit(address).scheme in ("http", "https")
    except ValueError:
        good = False
    shown = as_html(address, 300)
    return f'<a href="{html.escape(address)}" rel="noopener noreferrer">{shown}</a>' if good else shown


def _short(timestamp: str) -> str:
    return timestamp[:19].replace("T", " ")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
