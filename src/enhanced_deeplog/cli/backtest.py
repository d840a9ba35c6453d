"""`backtest`: what a bundle would have said, day by day, about logs of the past."""

from __future__ import annotations

import json as json_format
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enhanced_deeplog.cli.judging import ExpectBundle
from enhanced_deeplog.cli.options import Bundle, Files, Json, Reading, Workers
from enhanced_deeplog.cli.terminal import progress, shown, tell_of_misread, write_lines, write_screen
from enhanced_deeplog.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from enhanced_deeplog.findings import Finding

__all__ = ["backtest"]

_BAR = 40  # characters of the longest bar
_MOST_KINDS = 3  # named for a day


def backtest(
    files: Files,
    reading: Reading,
    *,
    bundle: Bundle,
    expect_bundle: ExpectBundle = None,
    json: Json = False,
    workers: Workers = 1,
) -> None:
    """Show findings a day over past logs: how often a bundle would have raised an alarm, and of what kind."""
    from enhanced_deeplog.bundle import load_bundle

    records = reading.records(files)
    with progress() as report:
        report("loading the bundle", None)
        model = load_bundle(bundle, expect=expect_bundle)
        report("reading and judging", None)
        verdicts = model.classify(records, every_session=True, workers=workers)
    tell_of_misread(records)
    days = _days(verdicts)
    if json:
        write_lines(json_format.dumps(day) for day in days)
    else:
        write_screen(*_screen(days))


def _days(verdicts: Sequence[Finding]) -> list[dict[str, Any]]:
    """Sessions and findings of each day (UTC) from the first to the last that has any."""
    timed = [verdict for verdict in verdicts if verdict.first_timestamp is not None]
    if not timed:
        raise InputError(
            "backtest needs records with timestamps, to tell the days apart; these have none. "
            "'enhanced-deeplog inspect' shows how they are read."
        )
    sessions = Counter((v.first_timestamp or "")[:10] for v in timed)
    found = [v for v in timed if v.is_anomaly]
    return [
        {
            "day": day,
            "n_sessions": sessions[day],
            "n_findings": sum(kinds.values()),
            "kinds": dict(kinds.most_common()),
        }
        for day in sorted(sessions)
        for kinds in (Counter(v.class_name for v in found if (v.first_timestamp or "").startswith(day)),)
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
        kinds = list(day["kinds"].items())
        named = "; ".join(f"{n:,} {name}" for name, n in kinds[:_MOST_KINDS])
        more = f"; {len(kinds) - _MOST_KINDS} kinds more" if len(kinds) > _MOST_KINDS else ""
        made.add_row(
            day["day"], f"{day['n_sessions']:,}", f"{day['n_findings']:,}", bar, shown(named + more, limit=200)
        )
    yield made
