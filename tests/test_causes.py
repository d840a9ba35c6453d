"""Rules from lines to likely causes: sure, or silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from enhanced_deeplog.causes import CauseRule, CauseRules, _matching
from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.logs.records import read_records
from enhanced_deeplog.needed_words import needed_words
from enhanced_deeplog.rust_regex import matches_nothing, regex_error

SHIPPED = CauseRules.shipped()
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def rules_of(*lines: str) -> list[str | None]:
    """The name of the rule of each line."""
    return [None if match is None else match.rule.name for match in SHIPPED.look_at(lines)]


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.name) for rule in SHIPPED.rules])
def test_every_rule_matches_its_lines_first_and_none_of_its_near_misses(rule: CauseRule) -> None:
    assert len(rule.matches) >= 3
    assert rules_of(*rule.matches) == [rule.name] * len(rule.matches)
    assert len(rule.near_misses) >= 3
    assert rule.name not in rules_of(*rule.near_misses)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.name) for rule in SHIPPED.rules])
def test_every_rule_says_what_happened_why_and_what_to_do(rule: CauseRule) -> None:
    for pattern in filter(None, (rule.pattern, rule.unless)):
        assert regex_error(pattern) is None
        assert not matches_nothing(pattern, "")
    assert 0 < len(rule.title) <= 40
    assert not rule.title.endswith(".")
    assert 2 <= len(rule.causes) <= 3
    assert all(text.endswith(".") for text in (*rule.causes, rule.advice))


def test_there_are_rules_for_at_least_fifteen_families_of_failure() -> None:
    families = {
        *("disk_full", "read_only_filesystem", "disk_io_error", "data_corrupt", "file_missing", "copies_missing"),
        *("heap_exhausted", "connect_timed_out", "connection_refused", "connection_lost", "dns_failed", "tls_failed"),
        *("permission_denied", "login_failed", "rate_limited", "deadlock", "lock_wait", "crashed", "config_invalid"),
        *("version_mismatch", "dependency_down", "circuit_open"),
    }
    assert families <= {rule.name for rule in SHIPPED.rules}


def test_what_is_said_of_a_line_depends_on_no_other_line() -> None:
    usual = [f"write {i}: done" for i in range(100)]
    odd = "write 7: no space left on device"
    alone, (*_, among) = SHIPPED.look_at([odd]), SHIPPED.look_at([*usual, odd])
    assert alone == [among]
    assert among is not None
    assert (among.rule.name, among.text) == ("disk_full", "no space left on device")


def test_looking_for_words_first_changes_nothing() -> None:
    lines = [line for rule in SHIPPED.rules for line in (*rule.matches, *rule.near_misses)]
    lines += [line.upper() for line in lines]
    found: dict[str, str] = {}
    for rule in SHIPPED.rules:
        for line in _matching(rule, list(dict.fromkeys(lines))):
            found.setdefault(line, rule.name)
    naive = [found.get(line) for line in lines]
    assert rules_of(*lines) == naive
    assert [name for i in range(0, len(lines), 50) for name in rules_of(*lines[i : i + 50])] == naive


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("connection to [[:alpha:]]db failed", "connection to xdb failed"),
        ("disk failure in [^[:space:]]rack", "disk failure in xrack"),
        ("disk failure in [a-z&&[^b]]rack", "disk failure in xrack"),
        (r"\<oom killer\>", "the oom killer came"),
        (r"failed\b{end}", "it failed"),
        ("(?i)\u039f\u0394\u039f\u03a3 closed", "\u039f\u0394\u039f\u03a3 closed"),
        ("(?i)disk full", "di\u017fk full"),
        ("(?i)token gone", "to\u212aen gone"),
        ("answered 50[0-9] at once", "it answered 503 at once"),
        ("a{0}b failed", "b failed"),
        (r"(?x) disk [\ x-z] full", "diskxfull"),
        (r"\[[0-9]+\] [a-z\[]gone", "[17] [gone"),
        ("(?:retry )?gave up|(gone)", "gone"),
    ],
)
def test_a_rule_of_ones_own_finds_what_its_pattern_matches(pattern: str, line: str) -> None:
    rule = CauseRule("own", "Own", pattern, ("A cause.",), "Advice.")
    assert list(_matching(rule, [line])) == [line]
    (match,) = CauseRules([rule]).look_at([line])
    assert match is not None


def test_nearly_every_rule_needs_some_word() -> None:
    assert sum(needed_words(rule.pattern).rarest() is None for rule in SHIPPED.rules) <= 5


@pytest.mark.needs_shared_data
def test_normal_lines_of_ten_systems_hardly_ever_fire() -> None:
    n_fired = n_normal = 0
    for folder in sorted((SHARED_DATA / "loghub_2k").glob("*")):
        for path in folder.glob("*_2k.log") if folder.is_dir() else [folder] if folder.suffix == ".log" else []:
            for batch in read_records(path):
                lines = batch.filter(batch["severity"].is_in(["INFO", "DEBUG", "NOTICE"]))["text"].to_list()
                n_normal += len(lines)
                n_fired += sum(match is not None for match in SHIPPED.look_at(lines))
    assert n_normal > 5_000
    assert n_fired <= 0.01 * n_normal


OWN = """
[[rule]]
name = "{name}"
title = "The shelf is empty"
pattern = '''(?i)shelf [0-9]+ is empty'''
causes = ["Nobody has filled it."]
advice = "Fill it."
"""


def test_own_rules_come_first_and_may_take_the_place_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(OWN.format(name="disk_full"))
    rules = CauseRules.read(own)
    assert rules.rules[0].title == "The shelf is empty"
    assert [rule.name for rule in rules.rules].count("disk_full") == 1
    line = "Shelf 7 is empty"
    (match,) = rules.look_at([line])
    assert match is not None
    assert match.text == "Shelf 7 is empty"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[rule]", r"^Expected TOML in .*own\.toml: "),
        ("x = 1", r"own\.toml: expected tables called \[\[rule\]\] and nothing else; got \['x'\]\.$"),
        (OWN.format(name="a") * 2, r"own\.toml: expected each rule once; 'a' comes twice\.$"),
        (
            OWN.replace("shelf [", "shelf ["[:-1] + "("),
            r"rule 1: expected a regular expression as pattern; .*: unclosed",
        ),
        (OWN.replace("(?i)shelf [0-9]+ is empty", ".*"), r"rule 1: .*: it matches any line\.$"),
        (OWN.replace("causes = [", "causes = [3, "), r"rule 1: expected a list of texts as causes; got \[3, "),
        (OWN.replace("advice", "advise"), r"rule 1: expected \[.*\], and perhaps unless and severity; \['advise'\] is"),
        (OWN + 'severity = "bad"\n', r"rule 1: expected a severity of info, low, medium, high, critical; got 'bad'\.$"),
    ],
)
def test_own_rules_that_can_not_be_used_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        CauseRules.read(own)
