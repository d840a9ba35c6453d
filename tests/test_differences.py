"""Bad logs against good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli_logs import SMALL, service_lines, write_log
from enhanced_deeplog import LogRecords
from enhanced_deeplog.cli import app
from enhanced_deeplog.config import Config
from enhanced_deeplog.differences import Differences, differences_between
from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.logs.corpus import event_ids_of, read_corpus
from enhanced_deeplog.logs.parsing import miner_of
from enhanced_deeplog.logs.session_rules import SessionRules
from enhanced_deeplog.logs.sessions import split_into_sessions


def compared(ours: list[list[str]], theirs: list[list[str]]) -> Differences:
    """Differences of sessions, each given by what happened in it."""

    def lines(sessions: list[list[str]]) -> list[str]:
        return [f"2024-03-01 08:00:00 INFO a.b: [s-{i}] {step}" for i, steps in enumerate(sessions) for step in steps]

    miner = miner_of(Config().templates)
    corpora = [read_corpus(LogRecords.from_lines(lines(s), session_key=r"s-(\d+)"), miner) for s in (ours, theirs)]
    miner.learn(body for corpus in corpora for body in corpus.bodies)
    vocabulary = EventVocabulary.of(template.text for template in miner.templates)
    sessions = [
        split_into_sessions(
            corpus.with_event_ids(event_ids_of(corpus.bodies, corpus.given, miner, vocabulary)), SessionRules(), {}
        )
        for corpus in corpora
    ]
    return differences_between(*sessions, vocabulary)


def told(found: Differences) -> dict[str, str]:
    return {one.template.split(" ", 1)[1]: one.what for one in found.templates}


USUAL = ["opened", "read", "closed"]


def test_what_is_new_gone_more_and_less_frequent_is_told_and_nothing_else() -> None:
    ours = [["opened", "read", "read", "read"] + ["failed"] * (i == 7) for i in range(100)]
    theirs = [[*USUAL, *["checked"] * (i % 2)] for i in range(100)]
    found = compared(ours, theirs)
    assert told(found) == {"failed": "new", "closed": "gone", "checked": "gone", "read": "more"}
    new = found.templates[0]
    assert (new.n_sessions, new.n_normal_sessions, new.per_session, new.line) == (1, 0, 0.01, 33)
    assert told(compared(theirs, ours))["read"] == "less"


def test_logs_of_one_kind_do_not_differ() -> None:
    steps = [[*USUAL, *["checked"] * (i % 3 == 0)] for i in range(200)]
    assert not compared(steps[:100], steps[100:]).templates
    assert not compared(steps[:5], [[*USUAL]] * 5).of("gone", "more", "less")  # five sessions can't tell


def test_what_comes_seldom_is_not_gone_because_a_few_sessions_lack_it() -> None:
    theirs = [[*USUAL, *["checked"] * (i % 50 == 0)] for i in range(200)]
    assert not compared([USUAL] * 40, theirs).templates


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A normal log and one of which the last sessions go wrong."""
    folder = tmp_path_factory.mktemp("differences")
    lines = service_lines(seed=3)
    wrong = {line.split()[7] for line in lines if "cancelled" in line or "login refused" in line}
    usual = [line for line in lines if line.split()[7] not in wrong]
    return write_log(folder / "good.log", usual), write_log(folder / "bad.log", service_lines())


def test_analyze_leads_with_what_a_bad_log_has_otherwise_than_a_good_one(logs: tuple[Path, Path]) -> None:
    good, bad = logs
    result = run("analyze", bad, "--normal", good, *SMALL)
    assert result.exit_code == 0, result.stderr
    said = result.stdout
    assert said.index("Against the normal log: 3 new templates, 0 gone") < said.index("abnormal sessions")
    assert "query cancelled after <*>" in said
    assert f"first at {bad}:" in said
    assert "Learnt from 240, given as normal." in result.stderr


def test_analyze_of_one_log_says_which_key_and_which_sessions_it_chose(logs: tuple[Path, Path]) -> None:
    result = run("analyze", logs[1], "--json", *SMALL)
    assert "Against" not in result.output
    assert "Sessions: request" in result.stderr
    assert "those that look usual in the log itself." in result.stderr


def test_what_is_earlier_than_a_time_can_be_the_normal_log(logs: tuple[Path, Path]) -> None:
    result = run(
        "fit", logs[1], "--normal-until", "2024-03-01T08:06", "--bundle", logs[1].parent / "b", "--json", *SMALL
    )
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["normal_from"] == "given as normal"
    assert 175 <= summary["n_normal_sessions"] <= 185
    assert [one["what"] for one in summary["differences"]["templates"]][:3] == ["new"] * 3
    refused = run("analyze", logs[1], "--normal", logs[0], "--normal-until", "2024-03-01T08:06")
    assert refused.exit_code == 2
    assert "--normal-until says which part of MIXED is normal" in refused.stderr
