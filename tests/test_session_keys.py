"""Which key a log is written around."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from conftest import small_config
from enhanced_deeplog import EnhancedDeepLog, load_bundle, save_bundle
from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.key_choice import find_session_key
from enhanced_deeplog.logs.records import LogRecords, read_records
from enhanced_deeplog.logs.session_keys import CANDIDATE_KEYS, extract_session_key, session_key_of

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
needs_shared_data = [
    pytest.mark.needs_shared_data,
    pytest.mark.skipif(
        not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} is absent: real logs aren't part of the project"
    ),
]


STEPS = ("accept", "load", "check", "store", "answer", "close")


def frame_of(lines: list[str]) -> pl.DataFrame:
    return LogRecords.from_lines(lines, format="plain").head(len(lines))


def interleaved(sessions: list[list[str]], seed: int = 0) -> list[str]:
    """Lines of many sessions, each in its own order, started one after another, several open at once."""
    order = random.Random(seed)
    waiting, open_, lines = list(sessions), [], []
    while waiting or open_:
        while waiting and len(open_) < 5:
            open_.append(list(waiting.pop(0)))
        chosen = order.choice(open_)
        lines.append(chosen.pop(0))
        open_ = [session for session in open_ if session]
    return lines


def sessions_of(make: Callable[[str], str], n_sessions: int = 40, n_records: int = 6) -> list[list[str]]:
    ids = [str(uuid.UUID(int=random.Random(i).getrandbits(128))) for i in range(n_sessions)]
    return [[f"step {step} {make(one)} done" for step in range(n_records)] for one in ids]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("block", lambda one: f"blk_-{int(one[:8], 16)}"),
        ("instance", lambda one: f"[instance: {one}]"),
        ("trace", lambda one: f"trace_id={one}"),
        ("trace", lambda one: f'"traceId": "{one}"'),
        ("request", lambda one: f"[req-{one}]"),
        ("request_id", lambda one: f"request_id={one[:8]}"),
        ("uuid", lambda one: f"order {one}"),
        ("attempt", lambda one: f"attempt_1445144423722_{int(one[:4], 16)}_m_000000_0"),
    ],
)
def test_the_key_of_every_line_is_found(name, make):
    choice = find_session_key(frame_of(interleaved(sessions_of(make))))
    assert choice.chosen is CANDIDATE_KEYS[name]
    best = choice.candidates.row(0, named=True)
    assert (best["coverage"], best["n_sessions"], best["median_length"]) == (1.0, 40, 6.0)


def test_the_reason_is_one_line_for_a_person():
    choice = find_session_key(frame_of(interleaved(sessions_of(lambda one: f"[req-{one}]"))))
    assert choice.reason == ("request: in 100% of the records, 40 sessions, 6 records each (median), 0% have only one")


def test_an_object_that_lives_through_many_requests_is_the_session():
    ids = [str(uuid.UUID(int=i + 10**30)) for i in range(60)]
    lines = [f"[req-{ids[2 * i + step // 3]}] [instance: {ids[i]}] step {step}" for i in range(30) for step in range(6)]
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is CANDIDATE_KEYS["instance"]
    assert choice.runner_up is CANDIDATE_KEYS["request"]


def test_the_key_that_the_format_gives_comes_first():
    lines = [f'{{"msg": "step of blk_{i}", "trace_id": "{i}"}}' for i in range(20) for _ in range(3)]
    frame = LogRecords.from_lines(lines).head(100)
    assert find_session_key(frame).chosen is CANDIDATE_KEYS["field"]


@pytest.mark.parametrize(
    "lines",
    [
        ["nothing to hold on to"] * 50,
        ["blk_1 again"] * 50,
        [f"blk_{i} once" for i in range(50)],
        [f"blk_{i % 10} rarely" if i % 5 == 0 else "nothing" for i in range(500)],
        [],
    ],
    ids=["no key", "one session", "one record a session", "a fifth of the records", "no records"],
)
def test_a_key_that_makes_no_sessions_is_not_chosen(lines):
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is None
    assert choice.runner_up is None
    assert choice.reason == "no key: consecutive blocks"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("job", lambda one: f"ts=2024-03-01T08:00:00Z level=info job=vt-{one[:8]}"),
        ("flow", lambda one: f'{{"level": "INFO", "flow": "fl_{one[:4]}{one[9:13]}"}}'),
        ("build", lambda one: f"[runner-1] build #{int(one[:4], 16)}: queue"),
        ("order", lambda one: f"of order {int(one[:4], 16)} is"),
        ("vt-*", lambda one: f"[vt-{one[:4]}{one[9:13]}]"),
        ("hex12", lambda one: f"[shop,{one[24:]}]"),
        ("HEX12", lambda one: f"{one[24:].upper()}: from=<ann>"),
    ],
)
def test_a_key_that_nobody_named_is_found_by_the_sessions_that_it_makes(name, make):
    ids = [str(uuid.UUID(int=random.Random(i).getrandbits(128))) for i in range(40)]
    frame = frame_of(interleaved([[f"{make(one)} {step} it" for step in STEPS] for one in ids]))
    choice = find_session_key(frame)
    assert choice.chosen is not None
    assert choice.chosen.name == name
    assert (choice.chosen.extract(frame) == session_key_of(name).extract(frame)).all()
    best = choice.candidates.row(0, named=True)
    assert (best["coverage"], best["n_sessions"], best["median_length"]) == (1.0, 40, 6.0)


@pytest.mark.parametrize(
    "line",
    [
        lambda i, step: f"{step} user={i % 13 + 100}",
        lambda i, step: f"{step} host=web-{i % 7 + 100}",
        lambda i, step: f"{step} status={200 + i % 5}",
        lambda i, step: f"ts={1_709_280_000 + i // 20} {step}",
        lambda i, step: f"Mar {i // 100 + 1} {step}",
        lambda i, step: f"{step} took={i * 7919 % 97} ms",
        lambda i, step: f"{step} by worker {i * 7919 % 40 + 100}",
    ],
    ids=["user", "host", "status", "second", "day", "duration", "worker"],
)
@pytest.mark.parametrize("in_turn", [False, True])
def test_what_is_no_unit_of_work_is_no_session_key(line, in_turn):
    order = random.Random(1)
    lines = [line(i, STEPS[i % 20 % 6] if in_turn else order.choice(STEPS)) for i in range(2_000)]
    assert find_session_key(frame_of(lines)).chosen is None


def test_a_request_is_a_session_and_the_process_that_serves_hundreds_is_none():
    steps = ["boot" if i % 600 == 0 else STEPS[i % 6] for i in range(14_400)]
    lines = [f"{step} run=r-{i // 600} rid=q{i // 6}" for i, step in enumerate(steps)]
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is not None
    assert choice.chosen.name == "rid"


def test_a_known_key_that_would_do_comes_before_what_is_found():
    lines = [f"{step} conn={i // 2} trace_id=abcd{i}" for i in range(100) for step in STEPS]
    assert find_session_key(frame_of(lines)).chosen is CANDIDATE_KEYS["trace"]


def test_a_key_is_found_among_many_fields_that_say_nothing_of_it():
    others = " ".join(f"{letter}{letter}=7" for letter in "abcdefghijklmnopqrst")
    lines = [f"{step} {others} workflow={1000 + i}" for i in range(100) for step in STEPS]
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is not None
    assert choice.chosen.name == "workflow"


def test_a_name_in_the_first_record_hides_no_key():
    names = ["".join(random.Random(i).choices("abcdefgh", k=6)) for i in range(100)]
    lines = [f"job={i} {step} for {names[i]}" for i in range(100) for step in STEPS]
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is not None
    assert choice.chosen.name == "job"


def test_a_name_of_any_length_and_lines_of_any_length_are_no_trouble():
    lines = [f"{'n' * 100_000}={i} job={i} {step}" for i in range(30) for step in STEPS]
    assert find_session_key(frame_of(lines)).chosen is None


def test_a_key_by_name_is_the_same_in_a_bundle(tmp_path):
    order = random.Random(0)
    lines = interleaved([[f"INFO build #{i} {step}" for step in STEPS[: order.randint(3, 6)]] for i in range(60)])
    records = LogRecords.from_lines(lines, format="plain", session_key="build")
    model = EnhancedDeepLog(small_config()).fit(normal=records)
    assert model.session_rules.key == "build"
    save_bundle(model, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    sessions = loaded.read_sessions(LogRecords.from_lines(lines, format="plain"))
    assert set(sessions.table["session_key"]) == {str(i) for i in range(60)}


def test_of_a_whole_and_its_parts_the_whole_is_the_session():
    ids = range(1_000, 1_060)
    lines = [f"{step} job={i} task={10 * i + k // 3}" for i in ids for k, step in enumerate(STEPS)]
    choice = find_session_key(frame_of(lines))
    assert choice.chosen is not None
    assert choice.chosen.name == "job"


def test_sessions_cut_by_the_end_of_the_sample_are_no_reason_against_a_key():
    # Half of all sessions begin just before the sample ends, so they have one record in it.
    whole = interleaved(sessions_of(lambda one: f"req-{one}", n_sessions=50, n_records=8))
    cut = [lines[0] for lines in sessions_of(lambda one: f"req-{one[::-1]}", n_sessions=60)]
    choice = find_session_key(frame_of(whole + cut))
    assert choice.chosen is CANDIDATE_KEYS["request"]
    assert choice.candidates.row(0, named=True)["singleton_share"] == 0.0


def test_a_thread_that_does_everything_is_no_session():
    lines = [f"2024-03-01 08:00:00 INFO [{('main', 'pool-1')[i % 2]}] a.b: x {i}" for i in range(100)]
    assert find_session_key(LogRecords.from_lines(lines).head(100)).chosen is None


def test_a_pattern_takes_the_first_match_and_its_group():
    frame = pl.DataFrame({"text": ["order=7 order=8", "nothing", "order=9"]})
    assert extract_session_key(frame, "order=([0-9]+)").to_list() == ["7", None, "9"]
    assert extract_session_key(frame, "order=[0-9]+").to_list() == ["order=7", None, "order=9"]
    assert extract_session_key(frame, "(?:order|x)=(?P<key>[0-9])").name == "session_key"
    assert extract_session_key(frame, "order=([a-z]*)").to_list() == [None, None, None]


def test_a_candidate_can_be_named():
    frame = pl.DataFrame({"text": ["got blk_-5 and blk_6"]})
    assert extract_session_key(frame, "block").to_list() == ["blk_-5"]


def test_a_key_can_be_named_by_what_stands_before_it():
    keys = {
        '{"user": "ann", "x-user": "no"}': "ann",
        "user=bob;": "bob",
        "superuser=x": None,
        "user 'carl' is in": None,
        "by user 17": "17",
        "user=null": None,
        "GET /x?user=17&page=2": "17",
        "user=17|x=2": "17",
        "user=17<b>x</b>": "17",
        "user: 17.": "17",
        "user=<redacted:email>": "<redacted:email>",
    }
    assert extract_session_key(pl.DataFrame({"text": list(keys)}), "user").to_list() == list(keys.values())


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(unclosed", "expected a regular expression of Rust's syntax"),
        ("a(?=b)", "look-around, including look-ahead and look-behind, is not supported"),
        (r"(a)\1", "backreferences are not supported"),
        ("(a)(b)", "expected at most one group, the key itself; it has 2. Write (?:...) for the others."),
        ("x*", "it matches the empty text"),
        ("", "it matches the empty text"),
        ("[0-9]{1000}{1000}", "size limit"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern, said):
    with pytest.raises(UsageError) as caught:
        extract_session_key(pl.DataFrame({"text": ["x"]}), pattern)
    assert str(caught.value).startswith(f"session key '{pattern}': ")
    assert said in str(caught.value)


class TestRealLogs:
    pytestmark = needs_shared_data

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("hdfs/HDFS_2percent.log.gz", "block"),
            ("openstack_nova/openstack-nova-sample.log.gz", "instance"),
            ("openstack_nova/openstack-nova-dhcpoff.log.gz", "instance"),
            ("openstack_nova/openstack-vm-destroy-immediately-after-create.log.gz", "instance"),
            ("hdfs/sequences_normal.txt", "field"),
        ],
    )
    def test_the_key_of_a_real_log_is_found(self, path, name):
        choice = find_session_key(read_records(SHARED_DATA / path).head(50_000))
        assert choice.chosen is CANDIDATE_KEYS[name]

    @pytest.mark.parametrize("system", ["Hadoop", "Spark", "Apache", "Windows", "OpenStack"])
    def test_a_log_without_a_usable_key_gets_none(self, system):
        records = read_records(SHARED_DATA / "loghub_2k" / f"{system}_2k.log")
        assert find_session_key(records.head(2000)).chosen is None
