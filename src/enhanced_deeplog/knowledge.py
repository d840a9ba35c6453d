"""What people say about classes: names, merges, what is to be expected, owners, runbooks, severities.

It is kept apart from what was trained, in `knowledge.toml` beside the bundle: every statement with its author, time and
reason, none ever taken away. The latest one that has not expired holds.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.findings import SEVERITIES, AnomalyClass, Finding

__all__ = ["Knowledge", "Statement", "Topic", "knowledge_path"]

Topic = Literal["name", "merge", "expect", "owner", "runbook", "severity"]
_TOPICS = get_args(Topic)
_FORMAT = 1
_TEXTS = ("class", "topic", "value", "by", "why")
_LISTS = ("templates", "patterns")
_TIMES = ("at", "until")
_NEEDED = {"class", "topic", "value", "by", "at"}


def knowledge_path(bundle: Path) -> Path:
    """Where the knowledge about the classes of a bundle lies: beside it, for whoever learns anew there keeps it."""
    return bundle.absolute().parent / "knowledge.toml"


@dataclass(frozen=True)
class Statement:
    """What somebody has said about a class.

    Attributes:
        class_key: The fingerprint of the class.
        topic: What it is about.
        value: What is said: a name, a key of another class, "yes", a team, a link, a severity. "": no longer so.
        by: Author.
        at: When, UTC.
        why: Reason, or "".
        until: It holds so long, UTC; None: for good.
        templates: With "expect", the templates that the class had then; "" stands for unknown ones.
        patterns: With "expect", how its sessions deviated then.
    """

    class_key: str
    topic: Topic
    value: str
    by: str
    at: datetime
    why: str = ""
    until: datetime | None = None
    templates: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def covers(self, finding: Finding) -> bool:
        """Whether a finding has no template and no pattern that the class lacked when it was marked as expected."""
        # What is new is never covered: unknown templates, which all are "", may be any line.
        return finding.pattern in self.patterns and set(finding.template_ids) <= set(self.templates) - {""}


@dataclass(frozen=True)
class Knowledge:
    """All statements, in the order of their time.

    Example:
        >>> at = datetime(2024, 3, 1, tzinfo=UTC)
        >>> known = Knowledge((Statement("class-1", "owner", "storage team", "amy", at),))
        >>> known.current("class-1", "owner", now=at).value
        'storage team'
        >>> known == Knowledge.from_toml(known.to_toml(), "here")
        True
    """

    statements: tuple[Statement, ...] = field(default=())

    @classmethod
    def read(cls, path: Path) -> Knowledge:
        """The knowledge in a file; none where there is no file.

        Raises:
            ConfigError: If the file can't be read, or a statement can't be understood.
        """
        try:
            return cls.from_toml(path.read_text("utf-8"), str(path))
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Expected knowledge, a TOML file, at {path}; it can't be read: {error}.") from None

    @classmethod
    def from_toml(cls, text: str, where: str) -> Knowledge:
        """The inverse of `to_toml`, perhaps edited by hand.

        Raises:
            ConfigError: If a statement can't be understood.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Expected TOML in {where}: {error}.") from None
        if data.get("format") != _FORMAT or data.keys() - {"format", "said"}:
            raise ConfigError(f"{where}: expected format = {_FORMAT} and tables [[said]]; got {sorted(data)}.")
        said = data.get("said", [])
        if not isinstance(said, list):
            raise ConfigError(f"{where}: expected said to be tables [[said]]; got {said!r:.200}.")
        statements = (_statement(entry, f"{where}, statement {i}") for i, entry in enumerate(said, 1))
        return cls(tuple(sorted(statements, key=lambda one: one.at)))

    def to_toml(self) -> str:
        """As text that people can read, compare and review."""
        parts = [f"# What people say about classes of anomalies; see 'enhanced-deeplog classes'.\nformat = {_FORMAT}\n"]
        for one in self.statements:
            entry: dict[str, str | datetime | tuple[str, ...] | None] = {
                **{"class": one.class_key, "topic": one.topic, "value": one.value, "by": one.by, "at": one.at},
                **{"why": one.why, "until": one.until, "templates": one.templates, "patterns": one.patterns},
            }
            lines = (f"{key} = {_as_toml(value)}" for key, value in entry.items() if value or key in _NEEDED)
            parts.append("\n[[said]]\n" + "\n".join(lines) + "\n")
        return "".join(parts)

    def with_statements(self, others: Iterable[Statement]) -> Knowledge:
        """The same and more; what is known already isn't added twice."""
        merged = dict.fromkeys([*self.statements, *others])
        return Knowledge(tuple(sorted(merged, key=lambda one: one.at)))

    def current(self, class_key: str, topic: Topic, *, now: datetime) -> Statement | None:
        """The latest statement about a class that has not expired; None where there is none, or it was taken back."""
        for one in reversed(self.statements):
            if (one.class_key, one.topic) == (class_key, topic) and (one.until is None or now < one.until):
                return one if one.value else None
        return None

    def merged_into(self, class_key: str, *, now: datetime) -> str:
        """The key of the class that this one is a part of; its own where it is none."""
        seen = [class_key]
        while (merge := self.current(seen[-1], "merge", now=now)) is not None:
            if merge.value in seen:
                return min(seen[seen.index(merge.value) :])  # a circle, made by hand: one class of all of them
            seen.append(merge.value)
        return seen[-1]

    def apply(
        self, findings: Sequence[Finding], classes: Sequence[AnomalyClass], *, now: datetime | None = None
    ) -> list[Finding]:
        """Findings as people want to see them; what is expected says so.

        Args:
            findings: As the model gives them.
            classes: Of the model.
            now: The time; None: of the clock.
        """
        return list(map(self.viewer(classes, now=now), findings))

    def viewer(self, classes: Sequence[AnomalyClass], *, now: datetime | None = None) -> Callable[[Finding], Finding]:
        """The same for one finding after the other: what is said about each class is looked up once."""
        at = now or datetime.now(UTC)
        by_key = {one.key: one for one in classes}
        views = {key: self._view(key, by_key, at) for key in by_key} if self.statements else {}

        def seen(finding: Finding) -> Finding:
            view = views.get(finding.class_key) if finding.is_anomaly else None
            return finding if view is None else view.of(finding)

        return seen

    def described(self, one: AnomalyClass, *, now: datetime | None = None) -> AnomalyClass:
        """A class by the name and the severity that people have given it."""
        view = self._view(one.key, {one.key: one}, now or datetime.now(UTC))
        return replace(one, name=view.name or one.name, severity=view.severity or one.severity)

    def _view(self, key: str, classes: Mapping[str, AnomalyClass], now: datetime) -> _View:
        shown_as = self.merged_into(key, now=now)
        target = classes.get(shown_as)

        def said(topic: Topic) -> str:
            statement = self.current(shown_as, topic, now=now)
            return statement.value if statement is not None else ""

        return _View(
            key=shown_as,
            id=target.id if target is not None else None,
            name=said("name") or (target.name if target is not None and shown_as != key else ""),
            severity=said("severity"),
            owner=said("owner"),
            runbook=said("runbook"),
            expected=[one for one in (self.current(k, "expect", now=now) for k in {key, shown_as}) if one is not None],
        )


@dataclass(frozen=True)
class _View:
    """How the findings of one class are shown."""

    key: str
    id: int | None
    name: str
    severity: Any
    owner: str
    runbook: str
    expected: list[Statement]

    def of(self, finding: Finding) -> Finding:
        return replace(
            finding,
            anomaly_class=self.id if self.id is not None else finding.anomaly_class,
            class_key=self.key,
            class_name=self.name or finding.class_name,
            severity=self.severity or finding.severity,
            owner=self.owner,
            runbook=self.runbook,
            advice=f"Runbook: {self.runbook}. {finding.advice}" if self.runbook else finding.advice,
            expected=any(statement.covers(finding) for statement in self.expected),
        )


def _as_toml(value: str | datetime | tuple[str, ...] | None) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    text = json.dumps(value, ensure_ascii=False)  # a JSON text is a TOML text, but for what is no character to see
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _statement(entry: Any, where: str) -> Statement:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected a table; got {entry!r:.200}.")
    unknown = entry.keys() - {*_TEXTS, *_LISTS, *_TIMES}
    missing = _NEEDED - entry.keys()
    if unknown or missing:
        wrong = f"{sorted(unknown)} is unknown" if unknown else f"{sorted(missing)} is missing"
        raise ConfigError(f"{where}: expected class, topic, value, by and at, perhaps why and until; {wrong}.")
    for key, value in entry.items():
        texts = value if key in _LISTS and isinstance(value, list) else [value] if key in _TEXTS else [None]
        good = isinstance(value, datetime) and value.tzinfo if key in _TIMES else all(isinstance(t, str) for t in texts)
        if not good:
            kind = "a time with its zone" if key in _TIMES else "a list of texts" if key in _LISTS else "a text"
            raise ConfigError(f"{where}: expected {kind} as {key}; got {value!r:.200}.")
    if entry["topic"] not in _TOPICS:
        raise ConfigError(f"{where}: expected a topic of {', '.join(_TOPICS)}; got {entry['topic']!r:.200}.")
    if entry["topic"] == "severity" and entry["value"] not in ("", *SEVERITIES):
        raise ConfigError(f"{where}: expected a severity of {', '.join(SEVERITIES)}; got {entry['value']!r:.200}.")
    values: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in entry.items()}
    return Statement(class_key=values.pop("class"), **values)
