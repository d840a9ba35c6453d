"""`backtest`: what a bundle would have said, day by day, about logs of the past."""

from __future__ import annotations

import json as json_format
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from enhanced_deeplog.cli.judging import ExpectBundle
from enhanced_deeplog.cli.known import Known, ShowExpected
from enhanced_deeplog.cli.options import Bundle, Files, Json, KnowledgeFile, Reading, Workers
from enhanced_deeplog.cli.terminal import message, progress, shown, tell_of_misread, write_lines, write_screen
from enhanced_deeplog.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from enhanced_deeplog.findings import Finding

__all__ = ["backtest"]

_BAR = 16  # characters of the longest bar
_MOST_KINDS = 2  # named for a day


def backtest(
    files: Files,
    reading: Reading,
    *,
    bundle: Bundle,
    expect_bundle: ExpectBundle = None,
    knowledge: KnowledgeFile = None,
    show_expected: ShowExpected = False,
    json: Json = False,
    workers: Workers = 1,
) -> None:
    """Show findings a day over past logs: how often a bundle would have raised an alarm, and of what kind."""
    from enhanced_deeplog.bundle import load_bundle

    known = Known.read(bundle, knowledge, show_expected=show_expected)
    records = reading.records(files)
    with progress() as report:
        report("loading the bundle", None)
        model = load_bundle(bundle, expect=expect_bundle)
        known.open(model.classes)
        report("reading and judging", None)
        verdicts = model.classify(records, every_session=True, workers=workers)
    tell_of_misread(records)
    timed = [verdict for verdict in verdicts if verdict.first_timestamp is not None]
    if not timed:
        raise InputError(
            "backtest needs records with timestamps, to tell the days apart; these have none. "
            "'enhanced-deeplog inspect' shows how they are read."
        )
    if len(timed) < len(verdicts):
        message(f"Note: {len(verdicts) - len(timed):,} sessions have no timestamp, and count for no day.")
    days = _days(timed, known)
    known.tell()
    if json:
        write_lines(json_format.dumps(day) for day in days)
    else:
        write_screen(*_screen(days))


def _days(verdicts: Sequence[Finding], known: Known) -> list[dict[str, Any]]:
    """Sessions and findings of each day (UTC) from the first to the last, days without any among them."""
    sessions: Counter[date] = Counter()
    found: defaultdict[date, Counter[tuple[str, str]]] = defaultdict(Counter)
    for verdict in verdicts:
        day = date.fromisoformat((verdict.first_timestamp or "")[:10])
        sessions[day] += 1
        for seen in known.of([verdict]):
            if seen.is_anomaly:
                found[day][seen.class_key, seen.class_name] += 1
    first, last = min(sessions), max(sessions)
    return [
        {
            "day": day.isoformat(),
            "n_sessions": sessions[day],
            "n_findings": sum(found[day].values()),
            "kinds": [{"class_key": key, "class_name": name, "n": n} for (key, name), n in found[day].most_common()],
        }
        for day in (first + timedelta(days=i) for i in range((last - first).days + 1))
    ]


def _screen(days: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    from rich.text import Text

    from enhanced_deeplog.cli.tables import table

    most = max(day["n_findings"] for day in days)
    total, n_sessions = sum(day["n_findings"] for day in days), sum(day["n_sessions"] for day in days)
    yield Text(
        f"{total:,} findings among {n_sessions:,} sessions of {len(days):,} {'day' if len(days) == 1 else 'days'}: "
        f"{total / len(days):,.1f} a day.",
        "bold",
    )
    made = table("day (UTC)", ">sessions", ">findings", "", "kinds")
    for day in days:
        bar = "█" * round(_BAR * day["n_findings"] / most) if most else ""
        kinds = day["kinds"]
        named = "; ".join(f"{kind['n']:,} {kind['class_name']}" for kind in kinds[:_MOST_KINDS])
        more = f"; {len(kinds) - _MOST_KINDS} kinds more" if len(kinds) > _MOST_KINDS else ""
        made.add_row(
            day["day"], f"{day['n_sessions']:,}", f"{day['n_findings']:,}", bar, shown(named + more, limit=200)
        )
    yield made
