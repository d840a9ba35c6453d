"""What people say about classes: kept apart, narrow, counted, and gone when it has expired."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cli_logs import SMALL, fitted_once
from enhanced_deeplog import load_bundle, read_records
from enhanced_deeplog.cli import app
from enhanced_deeplog.errors import ConfigError
from enhanced_deeplog.findings import Finding
from enhanced_deeplog.knowledge import Knowledge, Statement

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    fitted = fitted_once()
    return load_bundle(fitted.bundle).classify(read_records(fitted.log))


@pytest.fixture(scope="module")
def classes():
    return load_bundle(fitted_once().bundle).classes


def said(class_key: str, topic, value: str, **more) -> Statement:
    return Statement(class_key, topic, value, "amy", more.pop("at", NOW), **more)


statements = st.builds(
    Statement,
    st.text(),
    st.sampled_from(["name", "merge", "expect", "owner", "runbook", "severity"]),
    st.sampled_from(["low", "high", ""]),
    st.text(),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda t: t.replace(microsecond=0)
    ),
    st.text(),
    st.none() | st.just(NOW),
    st.lists(st.text()).map(tuple),
    st.lists(st.text()).map(tuple),
)


@given(st.lists(statements, max_size=4))
@settings(max_examples=50)
def test_whatever_is_said_is_read_again_as_it_was(all_said: list[Statement]) -> None:
    known = Knowledge().with_statements(all_said)
    assert Knowledge.from_toml(known.to_toml(), "here") == known


def test_the_latest_statement_that_has_not_expired_holds() -> None:
    known = Knowledge().with_statements(
        [
            said("a", "owner", "amy"),
            said("a", "owner", "bob", at=NOW + timedelta(days=1), until=NOW + timedelta(days=2)),
            said("b", "owner", "cid"),
            said("b", "owner", "", at=NOW + timedelta(days=1)),
        ]
    )

    def owner(key: str, days: float) -> str | None:
        statement = known.current(key, "owner", now=NOW + timedelta(days=days))
        return statement.value if statement else None

    assert [owner("a", 1.5), owner("a", 2), owner("b", 1.5), owner("c", 0)] == ["bob", "amy", None, None]


def test_merges_lead_to_the_last_class_and_never_in_circles() -> None:
    known = Knowledge((said("a", "merge", "b"), said("b", "merge", "c")))
    assert [known.merged_into(key, now=NOW) for key in "abcx"] == ["c", "c", "c", "x"]
    circle = known.with_statements([said("c", "merge", "a")])
    assert [circle.merged_into(key, now=NOW) for key in "abcx"] == ["a", "a", "a", "x"]


def test_names_owners_runbooks_severities_and_merges_are_shown(findings, classes) -> None:
    first, second = classes
    known = Knowledge(
        (
            said(first.key, "name", "Slow queries"),
            said(first.key, "owner", "database team"),
            said(first.key, "runbook", "https://wiki.example/slow"),
            said(first.key, "severity", "critical"),
            said(second.key, "merge", first.key),
        )
    )
    shown = known.apply(findings, classes, now=NOW)
    assert {f.class_name for f in shown} == {"Slow queries"}
    assert {(f.anomaly_class, f.class_key) for f in shown} == {(first.id, first.key)}
    assert {f.severity for f in shown} == {"critical"}
    assert {f.owner for f in shown} == {"database team"}
    assert all(f.advice.startswith("Runbook: https://wiki.example/slow. ") for f in shown)
    assert [f.id for f in shown] == [f.id for f in findings]
    assert known.described(first, now=NOW).name == "Slow queries"


def test_expected_hides_a_kind_and_nothing_that_the_kind_was_not(findings, classes) -> None:
    one = classes[0]
    of_kind = [f for f in findings if f.anomaly_class == one.id]
    known = Knowledge((said(one.key, "expect", "yes", until=NOW + timedelta(days=90),
                            templates=one.template_ids, patterns=one.patterns),))  # fmt: skip
    shown = known.apply(findings, classes, now=NOW)
    assert {f.id for f in shown if f.expected} == {f.id for f in of_kind} != set()
    new_template = replace(of_kind[0], template_ids=(*of_kind[0].template_ids, "0123456789ab"))
    unknown_template = replace(of_kind[0], template_ids=(*of_kind[0].template_ids, ""))
    other_pattern = replace(of_kind[0], pattern="volume")
    assert not any(f.expected for f in known.apply([new_template, unknown_template, other_pattern], classes, now=NOW))
    assert not any(f.expected for f in known.apply(findings, classes, now=NOW + timedelta(days=90)))


def test_the_command_line_says_hides_counts_exports_applies_and_takes_back(tmp_path: Path, findings) -> None:
    fitted, knowledge = fitted_once(), tmp_path / "knowledge.toml"
    at = ("--bundle", fitted.bundle, "--knowledge", knowledge)
    number = findings[0].anomaly_class
    n_hidden = sum(f.anomaly_class == number for f in findings)
    assert run("classes", "name", number, "Cancelled", *at, "--by", "amy", "--why", "ticket 7").exit_code == 0
    result = run("classes", "expect", number, *at, "--by", "amy")
    assert "What has other templates or patterns is shown all the same." in result.stderr
    judged = run("classify", fitted.log, *at)
    assert f"{n_hidden} findings are hidden, for somebody expects them (classes log)." in judged.stderr
    assert "Cancelled" not in judged.stdout
    assert "Cancelled" in run("classify", fitted.log, *at, "--show-expected").stdout
    assert "Cancelled" in run("explain", fitted.log, "--session", findings[0].session_key, *at).stdout
    written = tmp_path / "some.jsonl"
    assert run("classify", fitted.log, *at, "--output", written).exit_code == 0
    assert len(written.read_text().splitlines()) == len(findings) - n_hidden
    exported = tmp_path / "exported.toml"
    exported.write_text(run("classes", "export", *at).stdout)
    there = ("--bundle", fitted.bundle, "--knowledge", tmp_path / "there.toml")
    assert "2 of 2 statements are new" in run("classes", "apply", exported, *there).stderr
    assert "0 of 2 statements are new" in run("classes", "apply", exported, *there).stderr
    assert run("classes", "export", *there).stdout == exported.read_text()
    assert "ticket 7" in run("classes", "log", *there).stdout
    assert run("classes", "expect", number, "--undo", *at).exit_code == 0
    assert "hidden" not in run("classify", fitted.log, *at).stderr


def test_backtest_and_analyze_hide_what_is_expected_too(tmp_path: Path, findings) -> None:
    fitted, knowledge = fitted_once(), ("--knowledge", tmp_path / "knowledge.toml")
    number = findings[0].anomaly_class
    n_hidden = sum(f.anomaly_class == number for f in findings)
    assert run("classes", "expect", number, "--bundle", fitted.bundle, *knowledge).exit_code == 0
    for command in (("backtest", fitted.log, "--bundle", fitted.bundle), ("analyze", fitted.log, *SMALL)):
        result = run(*command, *knowledge, "--json")
        assert f"{n_hidden} findings are hidden" in result.stderr
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert sum(row.get("n_findings", 1) for row in rows) == len(findings) - n_hidden
    shown = run("backtest", fitted.log, "--bundle", fitted.bundle, *knowledge, "--show-expected")
    assert shown.stdout.startswith(f"{len(findings)} findings among ")


def test_the_list_of_kinds_says_which_are_merged_or_expected_and_shows_the_worst_first(tmp_path: Path) -> None:
    at = ("--bundle", fitted_once().bundle, "--knowledge", tmp_path / "knowledge.toml")
    for words in (("expect", 1), ("severity", 1, "info"), ("severity", 2, "critical")):
        assert run("classes", *words, *at).exit_code == 0
    text = run("classes", "list", *at).stdout
    assert text.index("critical") < text.index("Somebody expects it.")
    assert run("classes", "merge", 1, 2, *at).exit_code == 0
    assert "Shown as class 2. Somebody expects it." in run("classes", "list", *at).stdout
    log = run("classes", "log", *at).stdout
    assert "merge 2" in log
    assert "class-" not in log  # kinds of this bundle go by their numbers


def test_knowledge_lies_beside_the_bundle_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "b"
    shutil.copytree(fitted_once().bundle, bundle)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert run("classes", "owner", 1, "storage", "--bundle", bundle).exit_code == 0
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert "storage" in (tmp_path / "knowledge.toml").read_text()


def test_what_was_said_last_holds_even_within_one_second(tmp_path: Path) -> None:
    at = ("--bundle", fitted_once().bundle, "--knowledge", tmp_path / "k.toml")
    for name in ("one", "two", "one"):
        run("classes", "name", 1, name, *at)
    assert run("classes", "show", 1, *at).stdout.startswith("Class 1: one")
    run("classes", "merge", 1, 2, *at)
    assert "expected two classes; these are one" in run("classes", "merge", 2, 1, *at).stderr


def test_a_file_written_by_hand_is_read_in_the_order_of_its_times() -> None:
    late, early = said("a", "name", "late", at=NOW + timedelta(days=1)), said("a", "name", "early")
    known = Knowledge.from_toml(Knowledge((late, early)).to_toml(), "here")
    (holds,) = {known.current("a", "name", now=NOW + timedelta(days=2))}
    assert holds == late


def test_a_name_that_is_no_text_is_not_written(tmp_path: Path) -> None:
    at = ("--bundle", fitted_once().bundle, "--knowledge", tmp_path / "k.toml")
    result = run("classes", "owner", 1, "storage", *at, "--by", "a\udcff")
    assert result.exit_code == 2
    assert "expected text of one line" in result.stderr


def test_knowledge_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    fitted = fitted_once()
    result = run("classify", fitted.log, "--bundle", fitted.bundle, "--knowledge", tmp_path / "typo.toml")
    assert (result.exit_code, "expected a file that 'classes' commands wrote" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("name", "9", "x"), "9: expected the number or the key of a class of this bundle; it has 1, 2."),
        (("merge", "1", "1"), "classes merge 1 1: expected two classes; these are one."),
        (("expect", "1", "--until", "9999-12-31T23:59:59-05:00"), "--until 9999-12-31T23:59:59-05:00: expected a date"),
        (("severity", "1", "bad"), "classes severity: expected one of info, low, medium, high, critical; got 'bad'."),
        (("name", "1", "a\x1b[31m"), "classes name: expected text of one line; got 'a\\x1b[31m'."),
        (("expect", "1", "--until", "soon"), "--until soon: expected a date such as 2027-01-31."),
        (("apply", "/no/such/file"), "classes apply: expected a file that 'classes export' wrote; there is none at"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    result = run("classes", *words, "--bundle", fitted_once().bundle, "--knowledge", tmp_path / "k.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {expected}")
    assert not (tmp_path / "k.toml").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("format = 2", r"expected format = 1 and tables \[\[said\]\]"),
        ("format = [", r"^Expected TOML in "),
        (
            "format = 1\n[[said]]\nclass = 'a'",
            r"statement 1: expected class, topic, value, by and at, .* is missing\.$",
        ),
        (
            "format = 1\n[[said]]\nclass = 'a'\ntopic = 'x'\nvalue = ''\nby = ''\nat = 2026-01-01T00:00:00Z",
            r"expected a topic of name, merge, expect, owner, runbook, severity; got 'x'\.$",
        ),
        (
            "format = 1\n[[said]]\nclass = 'a'\ntopic = 'name'\nvalue = ''\nby = ''\nat = 2026-01-01",
            r"expected a time with its zone as at; got ",
        ),
    ],
)
def test_knowledge_that_can_not_be_understood_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "knowledge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        Knowledge.read(path)
