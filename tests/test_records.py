"""From bytes to records: nothing lost, nothing invented, whatever the bytes are."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from enhanced_deeplog.errors import InputError, UsageError
from enhanced_deeplog.logs.records import (
    MAX_LINE_BYTES,
    RECORD_SCHEMA,
    LogRecords,
    merge_order,
    read_records,
    records_from,
)
from reader_check import check_reader, examples

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
HDFS = "081109 20{:02d}{:02d} {} INFO dfs.DataNode: Receiving block blk_{}"


def hdfs_lines(n: int) -> list[str]:
    return [HDFS.format(i // 60 % 60, i % 60, i, i % 7) for i in range(n)]


def all_of(records: LogRecords) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=RECORD_SCHEMA), *records])


def with_limits(records: LogRecords, block_bytes: int, max_line_bytes: int = MAX_LINE_BYTES) -> LogRecords:
    options = replace(records._options, block_bytes=block_bytes, max_line_bytes=max_line_bytes)
    return LogRecords(records._inputs, options)


@pytest.fixture
def write(tmp_path):
    def write(content: bytes | str, name: str = "a.log") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# --- the contract ---


def test_every_batch_has_the_columns_of_the_schema_in_their_order(write):
    path = write("\n".join([*hdfs_lines(250), ""]))
    batches = list(read_records(path, batch_size=100))
    assert [len(batch) for batch in batches] == [100, 100, 50]
    for batch in batches:
        assert dict(batch.schema) == RECORD_SCHEMA
        assert list(batch.schema) == list(RECORD_SCHEMA)


def test_a_record_says_where_it_stands_and_what_it_says(write):
    path = write(f"\n{HDFS.format(1, 2, 3, -4)}\r\n")
    assert all_of(read_records(path, session_key="block", service="store")).row(0, named=True) == {
        "source": str(path),
        "service": "store",
        "line": 2,
        "byte_offset": 1,
        "timestamp": datetime(2008, 11, 9, 20, 1, 2),
        "severity": "INFO",
        "component": "dfs.DataNode",
        "host": None,
        "process": "3",
        "session_key": "blk_-4",
        "ends_session": False,
        "template": None,
        "body": "Receiving block blk_-4",
        "text": HDFS.format(1, 2, 3, -4),
    }


def test_records_can_be_read_again_and_again_and_are_counted_once(write):
    records = read_records(write("\n".join(hdfs_lines(10))))
    once, again = all_of(records), all_of(records)
    assert_frame_equal(once, again)
    assert records.sources[0].n_lines == 10
    assert records.head(3)["line"].to_list() == [1, 2, 3]


def test_a_source_tells_what_was_read(write):
    lines = [*hdfs_lines(8), "", " \t", "at x.y(Z.java)\x1b[0m"]
    records = read_records(write("\n".join(lines).encode() + b"\nno \xff UTF-8"))
    all_of(records)
    source = records.sources[0]
    assert (source.format, source.detection.fit) == ("hdfs", 0.8)
    assert (source.n_lines, source.n_records, source.n_empty_lines, source.n_joined_lines) == (12, 8, 2, 2)
    assert (source.n_unfit_lines, source.n_invalid_utf8, source.n_overlong) == (2, 1, 0)
    assert source.unfit_examples == [(11, "at x.y(Z.java)\\x1b[0m"), (12, "no \ufffd UTF-8")]
    assert source.has_timestamps


def test_a_line_of_sequences_is_a_session_that_has_ended(write):
    frame = all_of(read_records(write("blk_1,5 22  5\n7 E8\n")))
    assert frame["template"].to_list() == ["5", "22", "5", "7", "E8"]
    assert frame["body"].to_list() == ["5", "22", "5", "7", "E8"]
    assert frame["session_key"].to_list() == ["blk_1"] * 3 + ["2"] * 2
    assert frame["ends_session"].to_list() == [False, False, True, False, True]
    assert frame["line"].to_list() == [1, 1, 1, 2, 2]
    assert frame["text"].to_list() == ["blk_1,5 22  5"] * 3 + ["7 E8"] * 2


def test_long_sequences_come_in_batches_of_whole_lines(write):
    records = read_records(write("\n".join(f"k{i},1 2 3 4 5" for i in range(40))), batch_size=20)
    batches = list(records)
    assert max(map(len, batches)) <= 20
    assert pl.concat(batches).filter("ends_session").height == 40


def test_files_and_globs_are_read_in_the_order_of_their_names(write, tmp_path):
    write("second", "b.log")
    write(gzip.compress(b"first"), "a.log")
    write("not asked for", "c.txt")
    (tmp_path / "d.log").mkdir()
    frame = all_of(read_records(tmp_path / "*.log", tmp_path / "b.log"))
    assert frame["body"].to_list() == ["first", "second"]
    assert all_of(read_records(tmp_path / "?.log", source_name="x"))["source"].unique().to_list() == ["x"]


def test_lines_in_memory_are_read_like_a_file(write):
    lines = [*hdfs_lines(5), "", "ümlaut\r", "last"]
    from_memory = LogRecords.from_lines(lines, session_key="blk_[0-9]", source_name="x")
    from_file = read_records(write("\n".join(lines)), session_key="blk_[0-9]", source_name="x")
    assert_frame_equal(all_of(from_memory), all_of(from_file))


def test_mappings_are_read_like_json_lines():
    rows = [{"message": "up", "time": datetime(2024, 3, 1, 8, tzinfo=UTC), "level": "critical"}]
    frame = all_of(records_from(rows, service="orders"))
    assert frame.select("body", "timestamp", "severity", "service").row(0) == (
        "up", datetime(2024, 3, 1, 8), "FATAL", "orders",
    )  # fmt: skip


def test_the_session_key_can_be_changed_without_reading_stdin_again(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(hdfs_lines(3)).encode())))
    records = read_records("-")
    assert all_of(records)["session_key"].to_list() == [None] * 3
    keyed = records.with_session_key("block")
    assert all_of(keyed)["session_key"].to_list() == ["blk_0", "blk_1", "blk_2"]
    assert all_of(keyed)["source"].unique().to_list() == ["<stdin>"]
    first, second = iter(keyed), iter(keyed)
    assert_frame_equal(next(first), next(second))


def test_standard_input_is_kept_where_nobody_else_can_read_it(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
    records = read_records("-", source_name="app")
    assert all_of(records)["source"].to_list() == ["app"]
    spool = records._inputs[0].lines.args[0].__self__._spool
    status = os.fstat(spool.fileno())
    assert (status.st_mode & 0o777, status.st_nlink) == (0o600, 0)


def test_a_pipe_is_read_again_and_again(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen([sys.executable, "-c", f"open({str(path)!r}, 'w').write('one\\ntwo\\n')"]):
        records = read_records(path)
        assert all_of(records)["body"].to_list() == ["one", "two"]
    assert all_of(records)["body"].to_list() == ["one", "two"]


def test_since_and_until_keep_a_span_and_what_belongs_to_it(write):
    lines = ["2024-03-01 08:00:00 INFO a.b: early", "  at early", "2024-03-01 09:00:00 INFO a.b: x",
             "  at x", "2024-03-01 10:00:00 INFO a.b: late", "  at late"]  # fmt: skip
    records = read_records(
        write("\n".join(lines)),
        batch_size=1,
        since="2024-03-01T09:30:00+01:00",
        until=datetime(2024, 3, 1, 10),
    )
    assert all_of(records)["text"].to_list() == ["\n".join(lines[2:4])]
    assert (records.sources[0].n_records, records.sources[0].n_out_of_time) == (3, 2)


def test_since_needs_timestamps(write):
    with pytest.raises(InputError, match="expected timestamps for --since and --until; no line has one"):
        all_of(read_records(write("hello\nworld"), since="2024-03-01"))


# --- any bytes ---


def naive_lines(raw: bytes, max_line_bytes: int) -> list[tuple[int, int, str]]:
    """Slow and obvious: (line, byte_offset, text) of every line that isn't empty."""
    found, offset = [], 0
    lines = raw.split(b"\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, 1):
        text = line.removesuffix(b"\r")
        cut = text[:max_line_bytes]
        if len(text) > max_line_bytes:
            cut = without_half_character(cut)
        shown = cut.decode("utf-8", "replace")
        if found and re.match(r"[ \t]+[^ \t]", shown):  # indented: it goes on with what came before
            found[-1] = (*found[-1][:2], f"{found[-1][2]}\n{shown}")
        elif cut.strip(b" \t"):
            found.append((number, offset, shown))
        offset += len(line) + 1
    return found


def without_half_character(cut: bytes) -> bytes:
    """Leave away the last bytes if more of them could have made them a character."""
    for n in (1, 2, 3):
        half = cut[len(cut) - n :]
        for rest in (
            b"\x80",
            b"\xa0",
            b"\x90\x80",
            b"\x80\x80",
            b"\xa0\x80",
            b"\x90\x80\x80",
            b"\x80\x80\x80",
        ):
            if len((half + rest).decode("utf-8", "replace")) == 1 and "\ufffd" not in (half + rest).decode(
                "utf-8", "replace"
            ):
                return cut[: len(cut) - n]
    return cut


raw_logs = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"a", b"\n", b"\n", b"\r", b"\xff", b"\xc3\xa4", b"\xe2\x82\xac", b" ", b"\x0b",
                     b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2", b"\xf0\x9f\x98\x80"]), max_size=60,
).map(b"".join)  # fmt: skip


@given(raw_logs, st.integers(1, 40), st.sampled_from([5, MAX_LINE_BYTES]))
@example(b"aaaaa\r\nb", 1, 5)
@example(b"aaaaa\rb\nb", 1, 5)
@example(b"\xef\xbb\xbfa\nb", 1, 5)
@settings(max_examples=30)
def test_any_bytes_are_read_as_the_naive_reader_reads_them(tmp_path_factory, raw, block_bytes, max_line_bytes):
    raw = b"x\n" + raw.replace(b"\0", b"0")
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_bytes(raw)
    records = with_limits(read_records(path, format="plain"), block_bytes, max_line_bytes)
    frame = all_of(records)
    assert frame.select("line", "byte_offset", "text").rows() == naive_lines(raw, max_line_bytes)
    source = records.sources[0]
    assert source.n_lines == len(raw.removesuffix(b"\n").split(b"\n"))
    assert source.n_lines == source.n_records + source.n_empty_lines + source.n_joined_lines
    for line, offset in frame.select("line", "byte_offset").iter_rows():
        assert raw[:offset].count(b"\n") == line - 1
        assert offset == 0 or raw[offset - 1 : offset] == b"\n"


@given(st.integers(1, 2000), st.sampled_from([[], ["", "  at x.y"], ["1 2 3"], ['{"msg": "x"}'] * 40]))
@settings(max_examples=15)
def test_any_block_size_gives_the_same_records(tmp_path_factory, block_bytes, others):
    path = tmp_path_factory.getbasetemp() / "blocks.log"
    path.write_text("\n".join([*others, *hdfs_lines(30)]))
    records = read_records(path)
    assert_frame_equal(all_of(with_limits(records, block_bytes)), all_of(records))


def test_only_newlines_end_a_line(write):
    line = "a\u2028b\x0bc\x85d\x1ee\rf"
    frame = all_of(read_records(write(f"{line}\r\nnext")))
    assert frame["text"].to_list() == [line, "next"]


def test_a_byte_order_mark_is_no_part_of_the_first_line(write):
    frame = all_of(read_records(write(b"\xef\xbb\xbf" + HDFS.format(1, 2, 3, 4).encode())))
    assert frame.select("byte_offset", "process").row(0) == (3, "3")
    assert all_of(read_records(write(b"\xef\xbb\xbf"))).is_empty()


def test_a_line_of_ten_megabytes_is_cut_and_counted(write):
    records = read_records(write(b"first\n" + b"x" * 10_000_000 + b"\nlast\n"))
    for block_bytes in (1 << 16, 8 << 20, 64 << 20):
        limited = with_limits(records, block_bytes)
        frame = all_of(limited)
        assert frame["text"].str.len_bytes().to_list() == [5, MAX_LINE_BYTES, 4]
        assert frame["byte_offset"].to_list() == [0, 6, 10_000_007]
        assert limited.sources[0].n_overlong == 1


def test_an_empty_file_has_no_records(write):
    records = read_records(write(b""), write(gzip.compress(b""), "b.log"))
    assert all_of(records).is_empty()
    assert [source.n_lines for source in records.sources] == [0, 0]
    assert all_of(LogRecords.from_lines([])).is_empty()


# --- compressed ---


def test_gzip_is_told_by_its_bytes_even_in_several_members(write):
    path = write(gzip.compress(b"one\n") + gzip.compress(b"two\n"), "no-suffix")
    assert all_of(read_records(path))["body"].to_list() == ["one", "two"]


@pytest.mark.parametrize("keep", [2000, 25, 12])
def test_a_gzip_file_that_breaks_off_is_refused_with_the_line(write, keep):
    raw = b"\n".join(os.urandom(20).hex().encode() for _ in range(200))
    path = write(gzip.compress(raw)[:keep])
    with pytest.raises(InputError) as caught:
        all_of(read_records(path))
    n_lines = str(caught.value).partition("after line ")[2].partition(".")[0]
    assert int(n_lines) > 20 if keep == 2000 else int(n_lines) == 0
    assert str(caught.value) == (
        f"{path}: expected a complete compressed file; it breaks off after line {n_lines}. "
        f"Copy it again, or decompress what there is into a file of its own and read that."
    )


def test_a_damaged_gzip_file_is_refused(write):
    damaged = bytearray(gzip.compress(os.urandom(5000).hex().encode()))
    damaged[100:200] = bytes(100)
    with pytest.raises(InputError, match="reading failed after line 0: "):
        all_of(read_records(write(bytes(damaged))))


def test_zstd_is_read_and_a_cut_one_refused(write):
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress("\n".join(hdfs_lines(5000)).encode())
    frame = all_of(read_records(write(packed + zstandard.ZstdCompressor().compress(b"\nlast"))))
    assert (len(frame), frame["text"][-1]) == (5000, hdfs_lines(5000)[-1] + "\nlast")
    with pytest.raises(InputError, match="expected a complete compressed file; it breaks off after line "):
        all_of(read_records(write(packed[:-4])))
    with pytest.raises(InputError, match="reading failed after line 0: "):
        all_of(read_records(write(packed[:10] + b"\xff" * 50)))


def test_xz_is_read_and_a_cut_one_refused(write):
    packed = lzma.compress("\n".join(hdfs_lines(5000)).encode())
    assert len(all_of(read_records(write(packed)))) == 5000
    with pytest.raises(InputError, match="expected a complete compressed file; it breaks off after line "):
        all_of(read_records(write(packed[:-40])))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_what_grows_without_measure_is_refused(write, pack):
    with pytest.raises(InputError, match=r"bytes of it become [0-9,]+ and more, over 500 times as many: it may"):
        all_of(read_records(write(pack(b"a" * (80 << 20)))))
    repetitive = b"".join(b"2024-03-01 08:00:%02d INFO a.b: up\n" % (i % 60) for i in range(200_000))
    assert len(all_of(read_records(write(pack(repetitive))))) == 200_000


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_a_mark_is_read(write, encoding):
    lines = ["2024-03-01 08:00:00 ERROR grün \U0001f600", "2024-03-01 08:00:01 INFO up"]
    frame = all_of(read_records(write("\r\n".join(["\ufeff" + lines[0], lines[1]]).encode(encoding))))
    assert frame["text"].to_list() == lines
    assert all_of(read_records(write(gzip.compress(("\ufeff" + lines[1]).encode(encoding)))))["body"].to_list() == [
        "up"
    ]


def test_a_folder_is_its_logs_and_they_name_the_services(tmp_path):
    (tmp_path / "orders").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, content in {
        "orders/0.log": b"opened",
        "gate-2024-03-01.log.gz": gzip.compress(b"up"),
        "web-1_shop_nginx-0123456789abcdef.log": b"GET /",
        "logo.png": b"\x89PNG\r\n",
        "empty.log": b"",
        ".hidden/secret.log": b"no",
    }.items():
        (tmp_path / name).write_bytes(content)
    frame = all_of(read_records(tmp_path))
    assert sorted(frame.select("service", "body").rows()) == [("gate", "up"), ("nginx", "GET /"), ("orders", "opened")]
    assert all_of(read_records(tmp_path / "orders" / "0.log"))["service"].to_list() == [""]


def test_zstd_without_its_package_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = write(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(InputError) as caught:
        all_of(read_records(path))
    assert str(caught.value) == (
        f"{path}: it is compressed by zstd, and Python's package zstandard is not installed. "
        f"Install it (pip install zstandard), or decompress the file: zstd -d {path}"
    )


# --- what can't be read ---


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x7fELF\x02\x01", "a program (ELF)"),
        (b"PK\x03\x04xx", "a zip archive"),
        (b"\x89PNG\r\n", "an image (PNG)"),
        (b"log\x00\x00\x00\x00", "binary (it holds many NUL bytes)"),
        (b"log" + bytes(range(1, 9)) * 4, "binary (it holds many control characters)"),
        (gzip.compress(b"\x7fELF\x02\x01", mtime=0), "a program (ELF)"),
    ],
)
def test_what_is_no_text_is_refused_by_name(write, content, kind):
    path = write(content)
    with pytest.raises(InputError) as caught:
        all_of(read_records(path))
    assert str(caught.value) == (
        f"{path}: expected a text log, plain or compressed by gzip, zstd or xz; this is {kind}. Unpack or convert it."
    )


def test_a_stray_nul_is_kept(write):
    text = "a\0b" + "x" * 200
    assert all_of(read_records(write(text)))["body"].to_list() == [text]


def test_a_path_without_a_file_is_refused_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        read_records(tmp_path / "a\x1bz.log")
    assert str(caught.value) == f"{tmp_path}/a\\x1bz.log: expected a log file, there is none. Check the path."
    with pytest.raises(InputError, match=r"expected log files in this folder; it holds no text\. Check the path\."):
        read_records(tmp_path)
    with pytest.raises(InputError, match=r"expected files that match; there are none\."):
        read_records(tmp_path / "*.log")
    with pytest.raises(UsageError, match="expected at least one path"):
        read_records()


def test_a_file_that_may_not_be_read_is_refused(write, monkeypatch):
    path = write("x")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError) as caught:
        all_of(read_records(path))
    assert str(caught.value) == f"{path}: expected to be allowed to read it; permission was denied."


def test_a_name_that_is_no_text_can_be_read(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.log")
    Path(path).write_text("x")
    assert all_of(read_records(path))["source"].to_list() == [f"{tmp_path}/\ufffd.log"]


def test_a_format_that_does_not_fit_is_refused_with_the_one_that_does(write):
    path = write("\n".join(["081109 x", *hdfs_lines(3)]))
    with pytest.raises(InputError) as caught:
        all_of(read_records(path, format="log4j"))
    assert str(caught.value) == (
        f"{path}, line 1: expected the format log4j; 4 of 4 lines don't fit it, the first is: 081109 x\n"
        f"It looks like hdfs: leave the format away."
    )


def test_half_of_the_lines_may_be_stack_traces(write):
    lines = [line for record in hdfs_lines(4) for line in (record, "  at x.y")]
    records = read_records(write("\n".join(lines)), format="hdfs")
    frame = all_of(records)
    assert frame["text"].to_list() == [f"{record}\n  at x.y" for record in hdfs_lines(4)]
    assert records.sources[0].n_joined_lines == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"since": "tomorrow"}, "since: expected a time such as 2024-03-01T08:00:00Z, got 'tomorrow'. "),
        ({"batch_size": 0}, "batch_size: expected at least 1 record, got 0."),
        ({"session_key": "("}, "session key '(': expected a regular expression"),
        ({"format": "nope"}, "format 'nope': expected one of "),
        ({"format": "hdfs", "fields": {"body": "b"}}, "--field is for JSON lines and logfmt; the format is hdfs."),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(write, options, said):
    with pytest.raises(UsageError) as caught:
        read_records(write("x"), **options)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("line", [json.dumps({"b": "up"}), "level=info b=up"])
def test_fields_alone_mean_json_lines_or_logfmt(write, line):
    frame = all_of(read_records(write(line), fields={"body": "b"}))
    assert frame["body"].to_list() == ["up"]


# --- several sources ---


def timed(source: str, times: list[int | None]) -> pl.DataFrame:
    stamps = [None if t is None else datetime(2024, 1, 1, 0, 0, t) for t in times]
    return pl.DataFrame(
        {"source": [source] * len(times), "line": range(1, len(times) + 1), "timestamp": stamps},
        schema_overrides={"timestamp": pl.Datetime("ns"), "source": pl.String},
    )


def test_sources_are_merged_by_time_without_turning_their_own_lines_round():
    frame = pl.concat([timed("a", [None, 5, 3, None, 9]), timed("b", [4, 5, 7]), timed("none", [None, None])])
    merged = merge_order(frame)
    assert merged.select("source", "line").rows() == [
        ("none", 1), ("none", 2), ("b", 1), ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 2), ("b", 3),
        ("a", 5),
    ]  # fmt: skip


def test_a_single_source_stays_as_it_is():
    frame = timed("a", [5, 3, None, 9])
    assert_frame_equal(merge_order(frame), frame)


sources_of_times = st.lists(st.lists(st.none() | st.integers(0, 9), max_size=6), min_size=1, max_size=4)


@given(sources_of_times)
@settings(max_examples=30)
def test_merging_keeps_every_record_and_the_order_of_every_source(sources):
    frame = pl.concat([timed(f"s{i}", times) for i, times in enumerate(sources)])
    merged = merge_order(frame)
    assert len(merged) == len(frame)
    for name in frame["source"].unique():
        assert_frame_equal(merged.filter(source=name), frame.filter(source=name))


# --- real logs ---


@pytest.mark.needs_shared_data
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"{SHARED_DATA} is absent: real logs aren't part of the project")
@pytest.mark.parametrize(
    ("path", "name", "n_records", "n_unfit"),
    [
        ("hdfs/HDFS_2percent.log.gz", "hdfs", 222_579, 0),
        ("hdfs/sequences_normal.txt", "sequences", 385_134, 0),
        ("openstack_nova/openstack-nova-sample.log.gz", "nova", 25_385, 6),
        ("openstack_nova/openstack-nova-dhcpoff.log.gz", "nova", 4_195, 0),
        ("openstack_nova/openstack-vm-destroy-immediately-after-create.log.gz", "nova", 9_152, 22),
        ("loghub_2k/HDFS_2k.log", "hdfs", 2000, 0),
        ("loghub_2k/Hadoop_2k.log", "log4j", 2000, 0),
        ("loghub_2k/Spark_2k.log", "log4j", 2000, 0),
        ("loghub_2k/OpenStack_2k.log", "nova", 2000, 0),
        ("loghub_2k/Windows_2k.log", "windows_cbs", 2000, 0),
        ("loghub_2k/BGL_2k.log", "bgl", 2000, 0),
        ("loghub_2k/HPC_2k.log", "hpc", 2000, 0),
        ("loghub_2k/Mac_2k.log", "syslog", 2000, 0),
        ("loghub_2k/Apache_2k.log", "apache_error", 2000, 0),
        ("loghub_2k/Thunderbird_2k.log", "thunderbird", 2000, 0),
    ],
)
def test_a_real_log_is_read_in_its_format(path, name, n_records, n_unfit):
    records = read_records(SHARED_DATA / path)
    n = sum(len(batch) for batch in records)
    source = records.sources[0]
    assert (source.format, n, source.n_unfit_lines) == (name, n_records, n_unfit)


@pytest.mark.parametrize("lines", [["", "  "], ["", "2026-01-01 00:00:00 up", " "]])
def test_blank_lines_have_no_time_and_need_none(lines: list[str]) -> None:
    found = [batch["text"].to_list() for batch in LogRecords.from_lines(lines, since="2020-01-01", batch_size=1)]
    assert found == [[line] for line in lines if line.strip()]


SEEDS = sorted((Path(__file__).parent / "seeds").glob("*"))


@pytest.mark.parametrize("raw", [pytest.param(seed.read_bytes(), id=seed.name) for seed in SEEDS])
def test_what_a_fuzzer_has_found_is_read_rightly(tmp_path, raw):
    check_reader(raw, tmp_path / "fuzz.log")


@pytest.mark.parametrize("raw", examples(), ids=lambda raw: raw[:40].decode("ascii", "replace"))
def test_blocks_change_nothing_in_any_format(tmp_path, raw):
    check_reader(raw * 3, tmp_path / "any.log")
