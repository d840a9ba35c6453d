"""The screen of what logs have otherwise than normal ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from enhanced_deeplog.cli.tables import Entry, entry_list, share
from enhanced_deeplog.cli.terminal import shown
from enhanced_deeplog.differences import Differences, TemplateDifference

__all__ = ["differences_screen", "in_short"]

_MOST = 10  # shown of each kind
_STYLES = {"new": "red", "gone": "yellow", "more": "", "less": ""}


def in_short(found: Differences) -> str:
    """One sentence: how many templates are new, gone, changed in rate."""
    n_new, n_gone, n_changed = (len(found.of(*what)) for what in (("new",), ("gone",), ("more", "less")))
    return (
        f"Against the normal log: {n_new:,} new template{'' if n_new == 1 else 's'}, {n_gone:,} gone, "
        f"{n_changed:,} clearly more or less frequent."
    )


def differences_screen(found: Differences) -> Iterator[RenderableType]:
    """What is new, what is gone, what changed in rate, for a person."""
    yield Text(in_short(found), "bold")
    if found.severe_share is not None and found.normal_severe_share is not None:
        yield Text(
            f"  records of an error's level: {share(found.severe_share)}, in the normal log "
            f"{share(found.normal_severe_share)}"
        )
    if not found.templates:
        return
    kinds = (("new",), ("gone",), ("more", "less"))
    entries = [entry for what in kinds for entry in _entries(found.of(*what))]
    yield from entry_list(("", ">sessions", ">a session", ">normally"), "template", entries)


def _entries(of_kind: Sequence[TemplateDifference]) -> Iterator[Entry]:
    for one in of_kind[:_MOST]:
        cells = (
            Text(one.what, _STYLES[one.what]),
            Text(f"{one.n_sessions:,}"),
            Text(_often(one.per_session)),
            Text(_often(one.per_normal_session)),
        )
        first = f"first at {one.source}:{one.line}  {one.text}".rstrip()
        where = (shown(first, "dim", limit=300),) if one.what == "new" else ()
        yield Entry(cells, shown(one.template, limit=300), where)
    if len(of_kind) > _MOST:
        rest = f"and {len(of_kind) - _MOST:,} more that are {' or '.join(sorted({one.what for one in of_kind}))}"
        yield Entry((Text(""), Text(""), Text(""), Text("")), Text(rest, "dim"))


def _often(per_session: float) -> str:
    return "-" if per_session == 0 else f"{per_session:.2g}" if per_session < 10 else f"{per_session:,.0f}"
