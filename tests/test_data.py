"""A quick look at real logs: HDFS, its first lines."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pytest

from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, LogRecords

HDFS = Path(__file__).parents[2] / "shared" / "data" / "hdfs" / "HDFS_2percent.log.gz"
N_LINES = 40_000

pytestmark = [
    pytest.mark.needs_shared_data,
    pytest.mark.skipif(not HDFS.exists(), reason="../shared/data is not there"),
]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    with gzip.open(HDFS, "rt") as file:
        return [line.rstrip("\n") for line in islice(file, N_LINES)]


@pytest.fixture(scope="module")
def model(lines: list[str]) -> EnhancedDeepLog:
    config = small_config(learning={"epochs": 2, "draws_per_epoch": 2048}, classifier={"epochs": 2})
    return EnhancedDeepLog(config).fit(LogRecords.from_lines(lines))


def test_the_block_is_found_to_be_the_session_key(model: EnhancedDeepLog) -> None:
    assert model.summary["session_key"] == "block"
    assert model.summary["share_without_key"] == 0.0


def test_the_templates_are_those_of_hdfs(model: EnhancedDeepLog) -> None:
    assert 12 <= model.summary["n_templates"] <= 60
    texts = model.vocabulary.templates
    assert any("Receiving block" in text for text in texts)
    assert not any("blk_-" in text for text in texts)


def test_every_record_is_in_one_session_and_those_that_go_on_have_not_ended(
    model: EnhancedDeepLog, lines: list[str]
) -> None:
    found = model.classify(LogRecords.from_lines(lines), every_session=True)
    blocks = {word.rstrip(".") for line in lines for word in line.split() if word.startswith("blk_")}
    assert sum(f.n_records for f in found) == N_LINES
    assert len(found) == pytest.approx(len(blocks), rel=0.02)
    assert any(f.state == "open" for f in found)
    assert any(f.complete for f in found)


def test_few_blocks_are_called_abnormal(model: EnhancedDeepLog, lines: list[str]) -> None:
    found = model.classify(LogRecords.from_lines(lines), every_session=True)
    assert sum(f.is_anomaly for f in found) < 0.2 * len(found)
    for f in found[:200]:
        for e in f.evidence:
            assert e.text == lines[e.line - 1]
            assert f.session_key in e.text
