"""Screens of what was learnt: a fit, and its kinds of anomaly."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from enhanced_deeplog.cli.tables import STEP_MARKS, Entry, entry_list, rarity, severity_text, share, table
from enhanced_deeplog.cli.terminal import shown
from enhanced_deeplog.explanation import aligned
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass

if TYPE_CHECKING:
    from enhanced_deeplog.causes import CauseRules
    from enhanced_deeplog.knowledge import Statement

__all__ = ["class_screen", "classes_screen", "learnt_screen", "said_screen"]


def learnt_screen(summary: Mapping[str, Any], classes: Sequence[AnomalyClass]) -> Iterator[RenderableType]:
    """What a fit has learnt, for a person.

    Args:
        summary: `EnhancedDeepLog.summary`.
        classes: `EnhancedDeepLog.classes`.
    """
    yield Text("What was learnt", "bold")
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(summary):
        facts.add_row(Text(f"  {name}", "dim"), shown(value))
    yield facts
    if summary.get("scorecard"):  # a bundle of an earlier version has none
        yield Text("\nDoes it work here: normal sessions damaged in known ways, and what share was found", "bold")
        yield _scorecard(summary["scorecard"])
    if summary["class_number_curve"]:
        yield Text("\nNumber of kinds: how well the findings fall into so many", "bold")
        yield _curve(summary["class_number_curve"], int(summary["clustering"]["n_clusters"]))
    if classes:
        yield Text("\nKinds of anomaly", "bold")
    yield from classes_screen(classes)
    for note in summary["notes"]:
        yield shown(f"Note: {note}", "yellow")


def _facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    n_read = summary.get("n_records_read", summary["n_records"])  # a bundle of an earlier version doesn't say it
    drawn = f" (whole sessions, drawn from {n_read:,})" if n_read > summary["n_records"] else ""
    yield "records", f"{summary['n_records']:,}{drawn}, of {summary['n_templates']:,} templates"
    yield (
        "sessions",
        (
            f"{summary['n_sessions']:,}, {summary['n_normal_sessions']:,} of them learnt from as normal "
            f"({summary['normal_from']}); {summary['n_open_sessions']:,} without an end yet"
        ),
    )
    yield "session key", summary["session_key_reason"]
    if summary["session_key_runner_up"]:
        yield "", f"the next best: {summary['session_key_runner_up']}"
    threshold = summary["threshold"]
    yield "threshold", f"{threshold:.2f}: alarm from {rarity(threshold)} normal sessions on"
    low, high = summary["alarm_rate_interval"]
    yield (
        "false alarms",
        (
            f"{_per_10_000(summary['alarm_rate'])} of 10,000 normal sessions; between {_per_10_000(low)} and "
            f"{_per_10_000(high)}, as far as the log can tell"
        ),
    )
    if summary.get("sessions_a_day"):
        a_day = [summary["sessions_a_day"] * alarms for alarms in (summary["alarm_rate"], low, high)]
        mean, least, most = (_few(alarms) for alarms in a_day)
        yield "", f"at the rate of this log {mean} a day; {least} to {most} with 95 %"
    if summary.get("normal_is_presumed"):  # a bundle of an earlier version doesn't say it
        yield (
            "all alarms",
            (
                f"{summary['n_abnormal']:,} of the {summary['n_sessions']:,} sessions of this log; what is rare and "
                "harmless is among them, for only normal logs (--normal) tell it from what is rare and bad"
            ),
        )
    losses = summary["losses"]
    if losses:
        yield "base model", f"{summary['epochs']} epochs, held-out loss {min(loss[2] for loss in losses):.3f}"
    abnormal = f"{summary['n_abnormal']:,} sessions"
    yield "deviating", abnormal + (f", {summary['n_unknown']:,} of no kind" if summary["n_unknown"] else "")
    quality = summary["clustering"]
    if quality:
        values = (f"{name.replace('_', ' ')} {value:.3g}" for name, value in quality.items())
        yield "clusters", ", ".join(values)


def _per_10_000(rate: float) -> str:
    return _few(10_000 * rate)


def _few(n: float) -> str:
    return f"{n:,.0f}" if n >= 10 else f"{n:.2g}"


def _scorecard(rows: Sequence[Mapping[str, Any]]) -> Table:
    damages = list(dict.fromkeys(row["damage"] for row in rows))
    made = table("service", *(f">{damage}" for damage in damages))
    services = list(dict.fromkeys(row["service"] for row in rows))
    for service in services:
        found = {row["damage"]: share(row["share"]) for row in rows if row["service"] == service}
        made.add_row(
            shown(service or ("all" if len(services) == 1 else "(none named)")),
            *(found.get(damage, "") for damage in damages),
        )
    return made


def _curve(rows: Sequence[Sequence[float]], n_chosen: int) -> Table:
    made = table(">kinds", ">silhouette", ">stability", ">explained", "")
    for n_classes, silhouette, stability, explained in rows:
        chosen = "chosen" if n_classes == n_chosen else ""
        made.add_row(f"{n_classes:.0f}", f"{silhouette:.3f}", f"{stability:.3f}", share(explained), chosen)
    return made


# --- Kinds of anomaly ---------------------------------------------------------------------------------------


def classes_screen(
    classes: Sequence[AnomalyClass],
    *,
    shown_as: Mapping[int, int] | None = None,
    expected: Collection[int] = (),
) -> Iterator[RenderableType]:
    """The kinds that a fit has found, with what tells them, the worst first.

    Args:
        classes: By the names and severities that people have given them.
        shown_as: Class -> the class that its findings are shown as.
        expected: Those that somebody expects.
    """
    if not classes:
        yield Text("No kinds of anomaly are known: whatever is abnormal is of the class unknown.")
        return
    entries = []
    for one in sorted(classes, key=lambda one: (-SEVERITIES.index(one.severity), one.priority, one.id)):
        cells = Text(str(one.id)), Text(f"{one.n_findings:,}"), severity_text(one.severity)
        telling = tuple(shown(f"{share(part):>5}  {template}", limit=300) for template, part in one.templates)
        confidence = Text(share(one.mean_confidence))
        into = (shown_as or {}).get(one.id, one.id)
        said = [f"Shown as class {into}."] * (into != one.id) + ["Somebody expects it."] * (one.id in expected)
        about = (Text(" ".join(said), "yellow"),) if said else ()
        entries.append(Entry((*cells, confidence), shown(one.name, "bold", limit=200), (*about, *telling)))
    columns = (">class", ">sessions", "severity", ">confidence")
    yield from entry_list(columns, "kind, and the templates that tell it", entries)


def class_screen(one: AnomalyClass, rules: CauseRules) -> Iterator[RenderableType]:
    """All about one kind, its likely causes by these rules."""
    yield shown(f"Class {one.id}: {one.name}", "bold")
    grid = Table.grid(padding=(0, 2))
    for name, value in _class_facts(one, rules):
        grid.add_row(Text(f"  {name}", "dim"), shown(value))
    yield grid
    made = table(">share of its surprise", "template")
    for template, part in one.templates:
        made.add_row(share(part), shown(template))
    yield made
    if one.usual:
        yield Text("Its typical session (+) beside the normal one that is most like it (-)", "bold")
        yield _beside(one.typical, one.usual)
    for line in one.examples:
        yield shown(f"  {line}", "dim", limit=300)


def _class_facts(one: AnomalyClass, rules: CauseRules) -> Iterator[tuple[str, str]]:
    yield "key", one.key
    yield "pattern", one.pattern.replace("_", " ")
    yield "severity", f"{one.severity}; number {one.priority} to look at"
    yield "sessions", f"{one.n_findings:,} in fit"
    yield "confidence", f"{share(one.mean_confidence)} on average"
    yield "found when weak", f"{share(one.recall_when_weak)} of its sessions, without half of what tells them"
    yield "typical session", one.example_key
    rule = rules.named(one.cause)
    if rule is not None:
        yield "what happened", rule.title
        for i, cause in enumerate(rule.causes):
            yield "" if i else "likely causes", cause
    yield "what to do", one.advice


def _beside(typical: Sequence[str], usual: Sequence[str]) -> Table:
    made = table("", "template")
    for where, template in aligned(typical, usual):
        mark, style = STEP_MARKS[where]
        made.add_row(mark, shown(template, style, limit=200))
    return made


def said_screen(statements: Sequence[Statement], classes: Sequence[AnomalyClass]) -> Iterator[RenderableType]:
    """Who has said what about classes: by their numbers, but for those that are none of these."""
    if not statements:
        return
    numbers = {one.key: str(one.id) for one in classes}
    made = table("time", "by", "class", "said", "until", "why")
    for one in statements:
        value = "" if one.topic == "expect" and one.value else numbers.get(one.value, one.value) or "taken back"
        said = shown(f"{one.topic} {value}".strip())
        until = f"{one.until:%Y-%m-%d}" if one.until is not None else ""
        about = shown(numbers.get(one.class_key, one.class_key))
        made.add_row(f"{one.at:%Y-%m-%d %H:%M}", shown(one.by), about, said, until, shown(one.why))
    yield made
