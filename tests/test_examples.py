"""The scripts in examples/ run, and say what the commands say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import enhanced_deeplog
from cli_logs import fitted_once
from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, load_bundle, read_records

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_log_is_learnt_from_and_judged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhanced_deeplog, "EnhancedDeepLog", lambda: EnhancedDeepLog(small_config()), raising=False)
    runpy.run_path(str(EXAMPLES / "find_anomalies.py"))["main"]([str(fitted_once().log)])
    text = capsys.readouterr().out
    assert "query cancelled after" in text
    assert "service.log', line " in text


def test_a_log_is_judged_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = fitted_once()
    runpy.run_path(str(EXAMPLES / "judge_as_it_comes.py"))["main"]([str(fitted.bundle), str(fitted.log)])
    latest = {row["id"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    found = load_bundle(fitted.bundle).classify(read_records(fitted.log))
    assert {key for key, row in latest.items() if row["is_anomaly"]} == {finding.id for finding in found}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_without_files_it_says_how_it_is_used(path: Path) -> None:
    with pytest.raises(SystemExit, match=f"python examples/{path.name}"):
        runpy.run_path(str(path))["main"]([])
