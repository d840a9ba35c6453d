"""The protocols and `evaluate`, on data sets that the tests write themselves in the published shapes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cli_logs import SMALL
from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, LogRecords
from enhanced_deeplog.errors import InputError
from enhanced_deeplog.evaluation import measuring, splits
from enhanced_deeplog.evaluation.datasets import DATASETS, Dataset, DatasetFile
from enhanced_deeplog.evaluation.deploy import measure_deploy
from enhanced_deeplog.evaluation.figures import FIGURES, measured, published, value_at
from enhanced_deeplog.evaluation.protocol import PROTOCOLS, protocols_of
from enhanced_deeplog.simulator import N_CHANGES, simulate
from test_cli import run, said

N_BLOCKS, N_ABNORMAL = 400, 20
TRANSDUCTIVE = ("hdfs-sequences/types", "synthetic/kinds", "service/kinds")
SYSTEMS = ("Apache", "BGL", "HDFS", "HPC", "Hadoop", "Mac", "OpenStack", "Spark", "Thunderbird", "Windows")


def _block_lines(rng: np.random.Generator, block: str, abnormal: bool) -> list[str]:
    size = int(rng.integers(1000, 9999))
    steps = [f"Receiving block {block} src: /10.0.0.1:4000 dest: /10.0.0.2:50010"] * int(rng.integers(2, 4))
    steps += [f"Received block {block} of size {size} from /10.0.0.1", f"Verification succeeded for {block}"]
    if abnormal:
        steps.insert(2, f"writeBlock {block} received exception java.io.IOException")
    return [*steps, f"Deleting block {block} file /data/{block}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (folder / "hdfs").mkdir()
    timed, labels = [], []
    for i in range(N_BLOCKS):
        block, abnormal = f"blk_{i}", i % (N_BLOCKS // N_ABNORMAL) == 3
        labels.append((block, "Anomaly" if abnormal else "Normal"))
        # A block begins every five seconds and writes a line every four: three or four blocks are at work at once.
        timed += [(5 * i + 4 * step, text) for step, text in enumerate(_block_lines(rng, block, abnormal))]
    lines = [
        f"081109 {s // 3600:02d}{s // 60 % 60:02d}{s % 60:02d} 143 INFO dfs.DataNode$DataXceiver: {text}\n"
        for s, text in sorted(timed)
    ]
    with gzip.open(folder / "hdfs" / "HDFS_2percent.log.gz", "wt") as file:
        file.writelines(lines)
    _write_csv(folder / "hdfs" / "anomaly_label.csv", ("BlockId", "Label"), labels)
    normal = [f"n{i},{' '.join(map(str, np.tile([3, 4, 5], rng.integers(2, 4))))}" for i in range(200)]
    kinds = {"1": "3 4 9 9", "2": "3 4 5 7 8 3 4 5"}
    abnormal_lines = [f"a{i},{kinds[str(i % 2 + 1)]}" for i in range(40)]
    (folder / "hdfs" / "sequences_normal.txt").write_text("\n".join(normal))
    (folder / "hdfs" / "sequences_abnormal.txt").write_text("\n".join(abnormal_lines))
    types = [(f"a{i}", str(i % 2 + 1), "", "C" if i == 39 else "A") for i in range(40)]
    _write_csv(folder / "hdfs" / "anomaly_type.csv", ("BlockId", "Type", "Name", "Confidence"), types)
    (folder / "openstack_nova").mkdir()
    for file, first in (("openstack-nova-sample", 0), ("openstack-nova-dhcpoff", 20),
                        ("openstack-vm-destroy-immediately-after-create", 60)):  # fmt: skip
        # The mixed file, instances 0 to 39, repeats half of the instances of the first fault.
        instances = [f"{i:08x}-0000-0000-0000-000000000000" for i in range(first, first + 40)]
        with gzip.open(folder / "openstack_nova" / f"{file}.log.gz", "wt") as out:
            out.writelines(f"INFO nova.compute [instance: {i}] {w}\n" for i in instances for w in ("Claim", "Started"))
    (folder / "loghub_2k").mkdir()
    for system in SYSTEMS:
        rows = [(f"{word} of block {i} done", word) for word in ("read", "write") for i in range(20)]
        _write_csv(folder / "loghub_2k" / f"{system}_2k.log_structured.csv", ("Content", "EventId"), rows)
    return folder


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _keys(records: object) -> set[str]:
    return {key for batch in records for key in batch["session_key"].drop_nulls()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name, protocol in PROTOCOLS.items() if protocol.split is not None])
def test_what_is_judged_is_never_learnt_from_but_where_rows_say_so(name: str, data: Path) -> None:
    split = PROTOCOLS[name].split(data, 1)  # type: ignore[misc]  # each of these has a split
    learnt = set().union(*(_keys(logs) for logs in (split.mixed, split.normal) if logs is not None))
    judged = _keys(split.judged)
    assert learnt
    assert (judged <= learnt) if name in TRANSDUCTIVE else not judged & learnt
    assert set(split.truth) & judged


def test_another_seed_is_another_split_and_the_same_seed_the_same(data: Path) -> None:
    one, again, other = (splits.hdfs_halves(data, seed, labelled=True) for seed in (0, 0, 1))
    assert one.truth == again.truth
    assert one.truth != other.truth


def test_normal_halves_hold_no_abnormal_block_and_unlabelled_ones_do(data: Path) -> None:
    abnormal = {f"blk_{i}" for i in range(N_BLOCKS) if i % (N_BLOCKS // N_ABNORMAL) == 3}
    assert not _keys(splits.hdfs_halves(data, 0, labelled=True).normal) & abnormal
    assert _keys(splits.hdfs_halves(data, 0, labelled=False).mixed) & abnormal


def test_halves_by_time_learn_nothing_that_was_written_after_the_split(data: Path) -> None:
    split = splits.hdfs_by_time(data, 0)
    assert split.learnt_until.startswith("line ")
    last_learnt = max(batch["timestamp"].max() for batch in split.normal)  # type: ignore[union-attr]
    first_judged = min(batch["timestamp"].min() for batch in split.judged)
    assert last_learnt <= first_judged


def test_types_that_are_not_sure_count_nowhere(data: Path) -> None:
    assert "a39" not in splits.hdfs_types(data, 0).truth


def test_leaving_a_kind_out_is_the_same_as_a_fit_that_never_met_it(data: Path) -> None:
    """The shortcut, which trains stage 1 once for all kinds, against the long way."""
    split = splits.hdfs_types_unseen(data, 0)
    config = small_config()
    model = EnhancedDeepLog(config).fit(split.mixed, normal=split.normal, workers=1)
    learnt, judged = model.read_sessions(split.mixed), model.read_sessions(split.judged)  # type: ignore[arg-type]
    short = measuring._without(model, learnt, judged, split.truth, "2")

    lines = (data / "hdfs" / "sequences_abnormal.txt").read_text().splitlines()
    in_fit = _keys(split.mixed)
    kept = [line for line in lines if line.split(",")[0] in in_fit and split.truth[line.split(",")[0]] != "2"]
    never_met = replace(split, mixed=splits._sequence_records(kept))
    other = EnhancedDeepLog(config).fit(never_met.mixed, normal=never_met.normal, workers=1)
    sessions = other.read_sessions(split.judged)
    found = measuring.by_key(sessions, other.judge(sessions), split.truth)
    assert short["left_out_unknown"] == pytest.approx((found.classes[found.types == "2"] == -1).mean(), abs=0.01)
    assert short["n_classes"] == len(other.classes)


# --- The command ------------------------------------------------------------------------------------------------


def test_evaluate_measures_ours_beside_every_peer_and_appends_rows(data: Path, tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.jsonl"
    rows_file.write_text('{"kept": true}\n')
    words = ("evaluate", "hdfs/random", "--data", data, "--seeds", 1, "--output", rows_file, "--json", *SMALL)
    result = run(*words, "--report", tmp_path / "x.html")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["system"] for row in rows][:2] == ["enhanced-deeplog", "all positive"]
    assert len(rows) == 9
    ours = rows[0]
    assert ours["detection"]["f1"] > 0.9
    assert ours["f1_interval"][0] <= ours["detection"]["f1"] <= ours["f1_interval"][1]
    assert 0 < ours["first_alarm"]["median_share"] <= 1
    assert ours["config"]["learning"]["epochs"] == 4
    assert {"python", "versions", "commit", "run"} <= set(ours)
    assert ours["data_differs"] == ["hdfs/HDFS_2percent.log.gz", "hdfs/anomaly_label.csv"]
    assert rows_file.read_text().splitlines() == ['{"kept": true}', *result.stdout.splitlines()]
    assert "is not the file that published figures were measured on" in result.stderr

    recall, precision = ours["detection"]["recall"], ours["detection"]["precision"]
    assert [round(recall, 5), round(precision, 5)] in ours["pr_curve"]
    assert len(ours["loss"]["training"]) == len(ours["loss"]["held_out"]) == 4
    assert not any({"pr_curve", "loss"} & set(row) for row in rows[1:])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["Figures aimed at", "Detection", "Learning"]
    assert re.findall(r"<h4>(.*?)</h4>", page) == ["Precision and recall", "hdfs/random"]


def test_evaluate_shows_tables_and_which_bars_are_met(data: Path) -> None:
    result = run("evaluate", "parsing", "--data", data)
    assert result.exit_code == 0, result.stderr
    assert "LogHub 2k, ten systems: grouping accuracy" in result.stdout
    assert "met" in result.stdout


def test_splits_can_be_exported_and_another_system_scored(data: Path, tmp_path: Path) -> None:
    result = run("evaluate", "hdfs/random", "--data", data, "--seeds", 1, "--export-splits", tmp_path)
    assert result.exit_code == 0, result.stderr
    with (tmp_path / "hdfs-random-0.csv").open() as file:
        told = list(csv.DictReader(file))
    assert {row["role"] for row in told} == {"normal", "judged"}
    judged = [row for row in told if row["role"] == "judged"]
    perfect = [(row["session_key"], str(row["type"] != "").lower()) for row in judged]
    _write_csv(tmp_path / "theirs.csv", ("session_key", "is_anomaly"), perfect)
    words = ("evaluate", "hdfs/random", "--data", data, "--predictions", tmp_path / "theirs.csv")
    row = json.loads(run(*words, "--json").stdout)
    assert row["system"] == "predictions theirs.csv"
    assert row["detection"]["f1"] == 1.0

    _write_csv(tmp_path / "theirs.csv", ("session_key", "is_anomaly"), perfect[1:])
    assert f"1 have none, such as '{perfect[0][0]}'" in said(run(*words), 4)
    _write_csv(tmp_path / "theirs.csv", ("session_key", "is_anomaly"), [(perfect[0][0], "perhaps")])
    assert "line 2: expected is_anomaly to be true or false" in said(run(*words), 4)
    _write_csv(tmp_path / "theirs.csv", ("key", "is_anomaly"), perfect)
    assert "expected the columns session_key and is_anomaly" in said(run(*words), 4)
    assert "needs one protocol with a split" in said(run(*words[:1], "hdfs", *words[2:]), 2)


def test_what_is_missing_or_unknown_is_said_before_anything_is_measured(data: Path, tmp_path: Path) -> None:
    assert "No protocol is called 'hdsf'. There are: hdfs," in said(run("evaluate", "hdsf", "--data", data), 2)
    stderr = said(run("evaluate", "hdfs", "--data", tmp_path), 4)
    assert "The data set hdfs needs hdfs/HDFS_2percent.log.gz" in stderr
    assert "--data says where the folder is. It is: raw HDFS_v1 lines" in stderr
    assert "--download fetches them" in said(run("evaluate", "parsing", "--data", tmp_path), 4)
    stderr = said(run("evaluate", "parsing", "--data", data, "--output", tmp_path / "rows.csv"), 2)
    assert "expected a name that ends in .jsonl" in stderr


# --- Downloads, from a real server --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "one.csv").write_text("Content,EventId\n")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def _dataset(*files: DatasetFile) -> Dataset:
    return Dataset("small", "a table", "MIT", "nobody", files)


def test_a_missing_file_is_fetched_once_its_digest_is_right(server: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"Content,EventId\n").hexdigest()
    dataset, fetched = _dataset(DatasetFile("a/one.csv", digest, f"{server}/one.csv")), []
    dataset.download(tmp_path, on_file=fetched.append)
    dataset.download(tmp_path, on_file=fetched.append)
    assert fetched == ["a/one.csv"]
    assert dataset.check(tmp_path) == []


def test_another_file_than_the_expected_one_is_not_kept(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the file that was expected"):
        _dataset(DatasetFile("one.csv", "0" * 64, f"{server}/one.csv")).download(tmp_path)
    with pytest.raises(InputError, match=r"can't be fetched: HTTP Error 404"):
        _dataset(DatasetFile("two.csv", "0" * 64, f"{server}/two.csv")).download(tmp_path)
    with pytest.raises(InputError, match=r"three\.csv can't be fetched: it is published as part of something larger"):
        _dataset(DatasetFile("three.csv", "0" * 64)).download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_every_protocol_can_be_asked_for_by_itself() -> None:
    for name in set(PROTOCOLS) - set(DATASETS):
        assert [protocol.name for protocol in protocols_of([name])] == [name]


def test_an_instance_that_two_files_have_belongs_to_the_file_of_its_fault(data: Path) -> None:
    split = splits.nova_halves(data, 0)
    shared = {f"{i:08x}-0000-0000-0000-000000000000" for i in range(20, 40)}
    assert {split.truth[key] for key in shared if key in split.truth} == {"dhcp_off"}
    lines = [text for batch in split.judged for text in batch["text"]]
    assert len(lines) == len(set(lines))


# --- Figures ----------------------------------------------------------------------------------------------------


def test_every_figure_is_read_from_a_protocol_that_exists() -> None:
    assert {figure.protocol for figure in FIGURES} <= set(PROTOCOLS)
    assert {protocol.dataset for protocol in PROTOCOLS.values()} == set(DATASETS)


def test_a_figure_is_the_mean_over_seeds_of_our_rows_alone() -> None:
    rows = [
        {"protocol": "hdfs/random", "seed": seed, "system": system, "detection": {"f1": f1}}
        for seed, system, f1 in ((0, "enhanced-deeplog", 1.0), (1, "enhanced-deeplog", 0.9), (0, "PCA", 0.1))
    ]
    (one,) = measured(rows)
    assert one.values == (1.0, 0.9)
    assert not one.figure.is_met(0.97)
    assert one.figure.is_met(one.mean + 0.04)
    assert value_at(rows[0], "detection.nothing.deeper") is None


def test_of_several_runs_the_last_one_at_default_settings_is_published() -> None:
    def row(run: str, f1: float, **more: object) -> dict[str, object]:
        told = {"protocol": "hdfs/random", "seed": 0, "system": "enhanced-deeplog", "detection": {"f1": f1}}
        return {**told, "run": run, "config": {}, **more}

    rows = [row("1", 0.5), row("2", 0.9), row("3", 0.1, config={"detection": {"alarm_rate": 0.1}})]
    assert [one.values for one in measured(published(rows))] == [(0.9,)]


def test_a_deploy_is_measured_by_the_sessions_before_it_and_since() -> None:
    def log_of(seed: int, **options: float) -> tuple[LogRecords, dict[str, str]]:
        made = simulate(seed=seed, n_records=6_000, fault_share=0.1, **options)
        records = LogRecords.from_lines(made.lines, session_key="request")
        return records, {key: made.faults.get(key, "") for key in made.session_keys}

    judged, truth = log_of(1, deploy_at=0.5)
    split = splits.Split(log_of(0)[0], None, judged, truth)
    ((told,),) = [[row["deploy"] for row in measure_deploy(split, small_config(), lambda *_: None)]]
    assert told["n_changes"] == N_CHANGES
    before, since = told["before"], told["since"]
    assert before["n_normal"] + since["n_normal"] + before["n_faults"] + since["n_faults"] == len(truth)
    assert before["n_normal"] == pytest.approx(since["n_normal"], rel=0.3)
    # The first session of each change is a finding, and hardly another one.
    assert 0 < told["new_findings"] < 3 * N_CHANGES
