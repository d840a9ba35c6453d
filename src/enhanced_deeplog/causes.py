"""Likely causes and advice, by rules that read the lines that surprised: `causes.toml`, and rules of one's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl

from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.findings import SEVERITIES, Severity
from enhanced_deeplog.needed_words import needed_words
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

__all__ = ["CauseRule", "CauseRules", "RuleMatch"]

_TEXTS = {"name", "title", "pattern", "unless", "severity", "advice"}
_LISTS = {"causes", "matches", "near_misses"}
_NEEDED = {"name", "title", "pattern", "causes", "advice"}
_DIGITS = re.compile("[0-9]+")
_LIKE_ASCII = str.maketrans("\u017f\u212a", "sk")  # long s and the sign of kelvin: patterns in any case match them
_FEW = 100  # lines of a micro-batch
_MAX_MATCHED = 200  # characters of a line that are shown as what matched


@dataclass(frozen=True)
class CauseRule:
    """What a line says, what mostly leads to it, and what to do.

    Attributes:
        name: Stable name for programs.
        title: What happened, for people.
        pattern: Rust regular expression that the line matches.
        unless: What must not match the same line, or None.
        severity: The finding is at least so bad; None: the log's own level decides.
        causes: Likely ones, most likely first.
        advice: What to look at, and what to do.
        matches: Lines that it must match.
        near_misses: Lines that it must not match.
    """

    name: str
    title: str
    pattern: str
    causes: tuple[str, ...]
    advice: str
    unless: str | None = None
    severity: Severity | None = None
    matches: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleMatch:
    """The rule that a line matches, and the text that matched."""

    rule: CauseRule
    text: str


class CauseRules:
    """Rules in their order: the first one that a line matches speaks; where none does, nothing is said.

    Example:
        >>> line = "write failed: No space left on device"
        >>> (match,) = CauseRules.shipped().look_at([line])
        >>> match.rule.name, match.text
        ('disk_full', 'No space left on device')
    """

    def __init__(self, rules: Iterable[CauseRule]) -> None:
        self.rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in self.rules}
        # Most lines match none, and a look for a word takes a hundredth of the time of one for a pattern.
        self._always: list[int] = []
        self._by_word: dict[str, list[int]] = {}
        self._needed = [needed_words(rule.pattern) for rule in self.rules]
        for place, needed in enumerate(self._needed):
            words = needed.rarest()
            if words is None:
                self._always.append(place)
            for word in words or ():
                self._by_word.setdefault(word, []).append(place)

    @classmethod
    @cache
    def shipped(cls) -> CauseRules:
        """The rules that come with the package."""
        text = (resources.files("enhanced_deeplog") / "causes.toml").read_text("utf-8")
        return cls(CauseRule(**_values(entry)) for entry in tomllib.loads(text)["rule"])  # the tests have checked it

    @classmethod
    def read(cls, path: Path) -> CauseRules:
        """One's own rules, before those that come with the package; one of the same name takes its place.

        Args:
            path: TOML: a table `[[rule]]` for each, with the attributes of `CauseRule`.

        Raises:
            ConfigError: If the file can't be read, or a rule can't be used.
        """
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Expected a TOML file with rules at {path}; it can't be read: {error}.") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Expected TOML in {path}: {error}.") from None
        own = _rules(data, str(path))
        taken = {rule.name for rule in own}
        return cls([*own, *(rule for rule in cls.shipped().rules if rule.name not in taken)])

    def named(self, name: str) -> CauseRule | None:
        """The rule of that name; None if there is none any more."""
        return self._by_name.get(name)

    def look_at(self, lines: Sequence[str]) -> list[RuleMatch | None]:
        """The first rule that each line matches, None where none does; (N,) -> (N,).

        What is said of a line depends on no other line: a stream, which sees others beside it, says the same.
        """
        found: dict[str, tuple[int, RuleMatch]] = {}
        for place, some in sorted(self._candidates(lines).items()):
            for line, match in _matching(self.rules[place], some).items():
                found.setdefault(line, (place, match))
        return [found[line][1] if line in found else None for line in lines]

    def _candidates(self, lines: Sequence[str]) -> dict[int, list[str]]:
        """By rule, the distinct lines that have the words without which it can't match."""
        alike: dict[str, list[str]] = {}  # those that differ in digits alone: no word has any
        for line in dict.fromkeys(lines):
            alike.setdefault(_DIGITS.sub("0", line.translate(_LIKE_ASCII).lower()), []).append(line)
        of_rule: dict[int, list[str]] = {}
        for shape, words in zip(alike, self._words_of(list(alike)), strict=True):
            for place in {*self._always, *(place for word in words for place in self._by_word[word])}:
                if self._needed[place].are_in(shape):
                    of_rule.setdefault(place, []).extend(alike[shape])
        return of_rule

    def _words_of(self, lower: Sequence[str]) -> list[list[str]]:
        """The words of rules that each line has; of few lines, by a look for each: Polars builds an automaton first."""
        if len(lower) <= _FEW:
            return [[word for word in self._by_word if word in line] for line in lower]
        return pl.Series(lower, dtype=pl.String).str.extract_many(list(self._by_word), overlapping=True).to_list()


def _matching(rule: CauseRule, lines: Sequence[str]) -> dict[str, RuleMatch]:
    """Those of some distinct lines that a rule matches."""
    texts = pl.Series(lines, dtype=pl.String).str.extract(f"({rule.pattern})").to_list()
    found = {line: RuleMatch(rule, text[:_MAX_MATCHED]) for line, text in zip(lines, texts, strict=True) if text}
    if rule.unless is None or not found:
        return found
    excepted = pl.Series(list(found), dtype=pl.String).str.contains(rule.unless)
    return {line: match for (line, match), not_it in zip(found.items(), excepted, strict=True) if not not_it}


def _rules(data: Mapping[str, Any], where: str) -> list[CauseRule]:
    entries = data.get("rule", [])
    if data.keys() - {"rule"} or not isinstance(entries, list):
        raise ConfigError(f"{where}: expected tables called [[rule]] and nothing else; got {sorted(data)}.")
    rules = [_rule(entry, f"{where}, rule {i}") for i, entry in enumerate(entries, 1)]
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{where}: expected each rule once; {twice!r} comes twice.")
    return rules


def _rule(entry: Any, where: str) -> CauseRule:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected a table; got {entry!r:.200}.")
    unknown, missing = entry.keys() - _TEXTS - _LISTS, _NEEDED - entry.keys()
    if unknown or missing:
        wrong = f"{sorted(unknown)} is unknown" if unknown else f"{sorted(missing)} is missing"
        raise ConfigError(f"{where}: expected {sorted(_NEEDED)}, and perhaps unless and severity; {wrong}.")
    for key, value in entry.items():
        texts = value if key in _LISTS and isinstance(value, list) else [value] if key in _TEXTS else [None]
        if not texts or not all(isinstance(text, str) and text for text in texts):
            kind = "a list of texts" if key in _LISTS else "a text"
            raise ConfigError(f"{where}: expected {kind} as {key}; got {value!r:.200}.")
    for key in ("pattern", "unless"):
        error = _pattern_error(entry[key]) if key in entry else None
        if error is not None:
            raise ConfigError(f"{where}: expected a regular expression as {key}; {entry[key]!r:.200}: {error}.")
    if entry.get("severity") not in (None, *SEVERITIES):
        raise ConfigError(f"{where}: expected a severity of {', '.join(SEVERITIES)}; got {entry['severity']!r}.")
    return CauseRule(**_values(entry))


def _values(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if key in _LISTS else value for key, value in entry.items()}


def _pattern_error(pattern: str) -> str | None:
    error = regex_error(pattern)
    return "it matches any line" if error is None and matches_nothing(pattern, "") else error
