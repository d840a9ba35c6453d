"""The kinds of anomaly that a bundle knows, and what people say about them."""

from __future__ import annotations

import getpass
import json as json_format
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.options import Bundle, CausesFile, Json, KnowledgeFile, rules_of
from enhanced_deeplog.cli.terminal import message, write_lines, write_screen
from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.findings import SEVERITIES

if TYPE_CHECKING:
    from enhanced_deeplog.findings import AnomalyClass
    from enhanced_deeplog.knowledge import Knowledge, Statement, Topic

__all__ = ["COMMANDS"]

Which = Annotated[str, typer.Argument(metavar="CLASS", help="Number of a class, or its key.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; your user name if left away.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Reason: a ticket, a sentence.")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="It holds until then: 2027-01-31.")]


def list_(*, bundle: Bundle, knowledge: KnowledgeFile = None, json: Json = False) -> None:
    """List the kinds of anomaly that a bundle knows."""
    known, classes, _ = _open(bundle, knowledge)
    described = [known.described(one) for one in classes]
    if json:
        write_lines(json_format.dumps(one.to_json()) for one in described)
        return
    from enhanced_deeplog.cli.learnt import classes_screen

    now, ids = datetime.now(UTC), {one.key: one.id for one in classes}
    shown_as = {one.id: ids[into] for one in classes if (into := known.merged_into(one.key, now=now)) in ids}
    expected = {one.id for one in classes if known.current(one.key, "expect", now=now) is not None}
    write_screen(*classes_screen(described, shown_as=shown_as, expected=expected))


def show(
    which: Which,
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    causes: CausesFile = None,
    json: Json = False,
) -> None:
    """Show all about one kind: what tells it, how bad it is, what to do, and what people have said."""
    known, classes, _ = _open(bundle, knowledge)
    one = known.described(_class_of(which, classes))
    if json:
        write_lines([json_format.dumps(one.to_json())])
        return
    from enhanced_deeplog.cli.learnt import class_screen, said_screen

    said = [statement for statement in known.statements if statement.class_key == one.key]
    write_screen(*class_screen(one, rules_of(causes)), *said_screen(said, classes))


def name(
    which: Which,
    text: Annotated[str, typer.Argument(metavar="NAME", help='A name that people understand; "" takes it back.')],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    by: By = None,
    why: Why = "",
) -> None:
    """Give a kind a name of your own."""
    _say(bundle, knowledge, which, "name", text, by=by, why=why)


def merge(
    which: Which,
    into: Annotated[str, typer.Argument(metavar="INTO", help='The class that it is a part of; "" takes it back.')],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    by: By = None,
    why: Why = "",
) -> None:
    """Show the findings of one kind as those of another."""
    known, classes, _ = _open(bundle, knowledge)
    target = _class_of(into, classes).key if into else ""
    if target and known.merged_into(target, now=datetime.now(UTC)) == _class_of(which, classes).key:
        raise UsageError(f"classes merge {which} {into}: expected two classes; these are one.")
    _say(bundle, knowledge, which, "merge", target, by=by, why=why)


def expect(
    which: Which,
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    days: Annotated[int, typer.Option(metavar="N", min=1, max=36_500, help="It holds so long.")] = 90,
    until: Until = None,
    undo: Annotated[bool, typer.Option("--undo", help="It is no longer expected.")] = False,
    by: By = None,
    why: Why = "",
) -> None:
    """Hide the findings of a kind: they are to be expected.

    What has a template or a pattern that the kind does not have today is shown all the same, and what is hidden is
    counted.
    """
    end = datetime.now(UTC) + timedelta(days=days) if until is None else _date(until)
    if end <= datetime.now(UTC):
        raise UsageError(f"--until {until}: expected a date to come; --undo takes back what was said.")
    _say(bundle, knowledge, which, "expect", "" if undo else "yes", by=by, why=why, until=None if undo else end)


def owner(
    which: Which,
    text: Annotated[str, typer.Argument(metavar="OWNER", help='A person or a team; "" takes it back.')],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    by: By = None,
    why: Why = "",
) -> None:
    """Say who looks after a kind."""
    _say(bundle, knowledge, which, "owner", text, by=by, why=why)


def runbook(
    which: Which,
    text: Annotated[str, typer.Argument(metavar="LINK", help='Where it is written what to do; "" takes it back.')],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    by: By = None,
    why: Why = "",
) -> None:
    """Name the runbook of a kind: it comes before all other advice."""
    _say(bundle, knowledge, which, "runbook", text, by=by, why=why)


def severity(
    which: Which,
    text: Annotated[
        str, typer.Argument(metavar="SEVERITY", help='info, low, medium, high or critical; "" takes it back.')
    ],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
    by: By = None,
    why: Why = "",
) -> None:
    """Say how bad a kind is."""
    if text not in ("", *SEVERITIES):
        raise UsageError(f"classes severity: expected one of {', '.join(SEVERITIES)}; got {text!r}.")
    _say(bundle, knowledge, which, "severity", text, by=by, why=why)


def export(*, bundle: Bundle, knowledge: KnowledgeFile = None) -> None:
    """Write all that was said to stdout: to review it, or to apply it elsewhere."""
    known, _, _ = _open(bundle, knowledge)
    write_lines([known.to_toml().rstrip("\n")])


def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `classes export` wrote.")],
    *,
    bundle: Bundle,
    knowledge: KnowledgeFile = None,
) -> None:
    """Add what was said elsewhere, as far as it isn't known yet."""
    from enhanced_deeplog.knowledge import Knowledge

    known, classes, path = _open(bundle, knowledge)
    if not file.is_file():
        raise UsageError(f"classes apply: expected a file that 'classes export' wrote; there is none at {file}.")
    given = Knowledge.read(file)
    more = known.with_statements(given.statements)
    _write(more, path)
    n_new, keys = len(more.statements) - len(known.statements), {one.key for one in classes}
    n_foreign = sum(one.class_key not in keys for one in given.statements)
    about = f"; {n_foreign:,} are about classes that this bundle doesn't have" if n_foreign else ""
    message(f"{n_new:,} of {len(given.statements):,} statements are new in {path}{about}.")


def log(*, bundle: Bundle, knowledge: KnowledgeFile = None) -> None:
    """Show who said what when, and why."""
    from enhanced_deeplog.cli.learnt import said_screen

    known, classes, path = _open(bundle, knowledge)
    if not known.statements:
        message(f"Nothing has been said yet: there is nothing in {path}.")
        return
    write_screen(*said_screen(known.statements, classes))


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_, "show": show, "name": name, "merge": merge, "expect": expect, "owner": owner, "runbook": runbook,
    "severity": severity, "export": export, "apply": apply, "log": log,
}  # fmt: skip


def _open(bundle: Path, knowledge: Path | None) -> tuple[Knowledge, tuple[AnomalyClass, ...], Path]:
    from enhanced_deeplog.bundle import load_bundle
    from enhanced_deeplog.knowledge import Knowledge, knowledge_path

    classes = load_bundle(bundle).classes
    path = knowledge or knowledge_path(bundle)
    return Knowledge.read(path), classes, path


def _class_of(which: str, classes: tuple[AnomalyClass, ...]) -> AnomalyClass:
    for one in classes:
        if which in (str(one.id), one.key):
            return one
    numbers = ", ".join(str(one.id) for one in classes) or "none"
    raise UsageError(f"{which}: expected the number or the key of a class of this bundle; it has {numbers}.")


def _say(
    bundle: Path,
    knowledge: Path | None,
    which: str,
    topic: Topic,
    value: str,
    *,
    by: str | None,
    why: str,
    until: datetime | None = None,
) -> None:
    from enhanced_deeplog.knowledge import Statement

    known, classes, path = _open(bundle, knowledge)
    one = _class_of(which, classes)
    by = by or _user()
    for text in (value, why, by):
        if not text.isprintable():  # halves of characters are not, either
            raise UsageError(f"classes {topic}: expected text of one line; got {text!r:.200}.")
    seen: dict[str, Any] = {"templates": one.template_ids, "patterns": one.patterns} if topic == "expect" else {}
    now = datetime.now(UTC).replace(microsecond=0)
    if known.statements:  # what is said last holds, even within one second
        now = max(now, known.statements[-1].at + timedelta(seconds=1))
    end = None if until is None else until.replace(microsecond=0)
    statement = Statement(one.key, topic, value, by, now, why, end, **seen)
    _write(known.with_statements([statement]), path)
    message(f"{path}: {_in_words(statement, one)}")


def _in_words(statement: Statement, one: AnomalyClass) -> str:
    if not statement.value:
        return f"{statement.topic} of class {one.id} taken back."
    if statement.topic == "expect":
        until = f" until {statement.until:%Y-%m-%d}" if statement.until is not None else ""
        return f"class {one.id} is expected{until}. What has other templates or patterns is shown all the same."
    return f"{statement.topic} of class {one.id} is {statement.value!r}."


def _write(known: Knowledge, path: Path) -> None:
    from enhanced_deeplog.output import write_text

    write_text(known.to_toml(), path)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _date(text: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until {text}: expected a date such as 2027-01-31.") from None
    try:
        return date.astimezone(UTC) if date.tzinfo is not None else date.replace(tzinfo=UTC)
    except OverflowError:
        raise UsageError(f"--until {text}: expected a date that there is in UTC, too.") from None
