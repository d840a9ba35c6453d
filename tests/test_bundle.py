"""A bundle is data: what was saved comes back, and whatever else lies in a directory is refused."""

import hashlib
import importlib.metadata
import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from enhanced_deeplog import bundle
from enhanced_deeplog.bundle import (
    check_bundle_path,
    load_bundle,
    read_parts,
    read_provenance,
    save_bundle,
)
from enhanced_deeplog.errors import BundleError, ConfigError, OutputError
from enhanced_deeplog.learning.anomaly_score import EVIDENCE, SessionScore
from enhanced_deeplog.model_parts import _calibration

FETCH = "Fetch the bundle again, or fit anew."


def network(weights: TensorProto | None = None, op: str = "Add") -> bytes:
    """y = x + w, as ONNX."""
    weights = weights or helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x", "w"], ["y"])], "g", [x], [y], [weights])
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


NETWORK = network()


@dataclass(frozen=True)
class Parts:
    documents: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    parts: Parts
    bundle_id: str = ""

    def to_parts(self) -> Parts:
        return self.parts


def a_model(text: str = "opened <*>") -> Any:
    return Model(
        Parts(
            documents={"config": {"seed": 0}, "templates": [text, "geöffnet"], "model_card": "# Für Leute\n"},
            tensors={"statistics": {"mean": np.arange(6.0).reshape(2, 3), "n": np.array(7)}},
            networks={"base_model": NETWORK},
        )
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    save_bundle(a_model(), path)
    return path


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A detector that takes any parts; a test may make it fail."""

    class EnhancedDeepLog:
        @classmethod
        def from_parts(cls, parts: Parts, *, bundle_id: str) -> Model:
            return Model(parts, bundle_id)

    module = types.SimpleNamespace(EnhancedDeepLog=EnhancedDeepLog, ModelParts=Parts)
    monkeypatch.setitem(sys.modules, "enhanced_deeplog.detector", module)  # type: ignore[arg-type]
    return module


def bytes_of(directory: Path) -> dict[str, bytes]:
    """What the bundle's digest covers."""
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name != "provenance.json"}


def names_in(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((directory / "manifest.json").read_bytes())
    edit(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))


def plant(directory: Path, name: str, data: bytes) -> None:
    """Put a file in the bundle and make the manifest match, as an attacker would."""
    (directory / name).write_bytes(data)
    entry = {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit_manifest(directory, lambda manifest: manifest["files"].update({name: entry}))


def refusal(directory: Path, expect: str | None = None) -> str:
    """The error of reading a bundle, without the words that name its path."""
    with pytest.raises(BundleError) as caught:
        read_parts(directory, expect=expect)
    beginning, text = f"The bundle at {directory} is refused. ", str(caught.value)
    assert text.startswith(beginning)
    assert "\n" not in text
    assert len(text) < 700
    return text.removeprefix(beginning)


# --- What was saved comes back ------------------------------------------------------------------------------


names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: name not in ("manifest", "provenance", "model_card") and not re.match("con|prn|aux|nul|com|lpt", name)
)
texts = st.text(max_size=20) | st.sampled_from(["half a pair: \ud800", "\0\x1b[31m", "\u2028 ü 🦄\r\n"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain_data = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
dtypes = st.sampled_from(["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i8"])
some_arrays = arrays_of.arrays(dtypes, arrays_of.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4))
transposed = some_arrays.map(lambda a: a.T) | some_arrays.map(lambda a: a[..., ::-1] if a.ndim else a)
tensor_names = texts.filter(lambda name: name != "__metadata__" and name.isprintable())
any_parts = st.builds(
    Parts,
    documents=st.dictionaries(names, plain_data, max_size=3)
    | st.fixed_dictionaries({"model_card": texts, "config": plain_data}),
    tensors=st.dictionaries(names, st.dictionaries(tensor_names, transposed, max_size=3), max_size=2),
    networks=st.sampled_from([{}, {"base_model": NETWORK}]),
)


@given(parts=any_parts)
@settings(max_examples=100)
def test_parts_that_went_through_a_directory_are_the_same(parts: Parts, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("bundles") / "b"
    bundle_id = save_bundle(Model(parts), path)  # type: ignore[arg-type]
    contents, read_id = read_parts(path, expect=bundle_id)

    assert read_id == bundle_id
    assert contents.documents == parts.documents
    assert contents.networks == parts.networks
    assert contents.tensors.keys() == parts.tensors.keys()
    for name, tensors in parts.tensors.items():
        assert contents.tensors[name].keys() == tensors.keys()
        for key, array in tensors.items():
            came = contents.tensors[name][key]
            assert came.dtype == array.dtype.newbyteorder("=")
            assert came.flags.writeable
            np.testing.assert_array_equal(came, array, strict=array.dtype.isnative)


def test_saving_twice_gives_the_same_bytes_whatever_the_order_of_parts(tmp_path: Path) -> None:
    parts = a_model().parts
    turned = Parts(
        documents=dict(reversed(parts.documents.items())),
        tensors={"statistics": dict(reversed(parts.tensors["statistics"].items()))},
        networks=parts.networks,
    )
    ids = {save_bundle(Model(parts), tmp_path / "a"), save_bundle(Model(turned), tmp_path / "sub" / "b")}

    assert len(ids) == 1
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "sub" / "b")


def test_the_files_are_the_ones_that_are_documented(saved: Path) -> None:
    assert names_in(saved) == [
        "base_model.onnx",
        "config.json",
        "manifest.json",
        "model_card.md",
        "provenance.json",
        "statistics.safetensors",
        "templates.json",
    ]
    assert (saved / "config.json").read_bytes() == b'{\n "seed": 0\n}\n'
    assert (saved / "templates.json").read_bytes() == b'[\n "opened <*>",\n "ge\\u00f6ffnet"\n]\n'
    assert (saved / "model_card.md").read_text(encoding="utf-8") == "# Für Leute\n"
    manifest = json.loads((saved / "manifest.json").read_bytes())
    assert list(manifest) == ["files", "format", "product"]
    assert manifest["files"]["config.json"] == {
        "n_bytes": 15,
        "sha256": hashlib.sha256(b'{\n "seed": 0\n}\n').hexdigest(),
    }


def test_the_id_is_the_digest_of_the_manifest_and_changes_with_any_part(tmp_path: Path) -> None:
    bundle_id = save_bundle(a_model(), tmp_path / "a")
    assert bundle_id == hashlib.sha256((tmp_path / "a" / "manifest.json").read_bytes()).hexdigest()[:16]
    assert save_bundle(a_model("closed <*>"), tmp_path / "b") != bundle_id


def test_files_under_the_digest_hold_no_path_host_or_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "host-of-the-fit")
    save_bundle(a_model(), tmp_path / "bundle")
    digested = b"".join(bytes_of(tmp_path / "bundle").values())
    for word in (str(tmp_path), str(Path.cwd()), "host-of-the-fit", time.strftime("%Y-")):
        assert word.encode() not in digested
    assert read_provenance(tmp_path / "bundle")["host"] == "host-of-the-fit"


def test_loading_gives_the_model_its_id(saved: Path, detector: Any) -> None:
    model = load_bundle(saved)
    assert model.bundle_id == read_parts(saved)[1]
    assert model.parts.documents == a_model().parts.documents  # type: ignore[attr-defined]


def test_a_bundle_can_be_reached_through_a_link(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(saved)
    assert read_parts(tmp_path / "latest")[1] == read_parts(saved)[1]


def test_bundle_brings_in_neither_torch_nor_the_detector() -> None:
    heavy = ("torch", "polars", "onnxruntime", "enhanced_deeplog.detector")
    code = f"import sys, enhanced_deeplog.bundle; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# --- Provenance is shown, not trusted -----------------------------------------------------------------------


def test_provenance_says_when_and_where_and_is_no_part_of_the_id(saved: Path) -> None:
    bundle_id = read_parts(saved)[1]
    said = read_provenance(saved)
    assert sorted(said) == ["created_at", "host", "packages", "python"]
    assert f"numpy {importlib.metadata.version('numpy')}" in said["packages"]
    assert said["created_at"].endswith("+00:00")

    (saved / "provenance.json").write_text('{"host": "elsewhere\\u001b[31m", "n": 1}')
    assert read_parts(saved)[1] == bundle_id
    assert read_provenance(saved) == {"host": "elsewhere [31m"}


@pytest.mark.parametrize("text", [None, "", "[1]", "{", '{"a": NaN}', '{"a": "' + "x" * 70_000 + '"}'])
def test_provenance_that_says_nothing_sensible_is_empty(saved: Path, text: str | None) -> None:
    (saved / "provenance.json").unlink()
    if text is not None:
        (saved / "provenance.json").write_text(text)
    assert read_provenance(saved) == {}
    read_parts(saved)


# --- A bundle is there whole or not at all ------------------------------------------------------------------


def test_an_existing_bundle_is_never_changed(saved: Path) -> None:
    before = bytes_of(saved)
    with pytest.raises(OutputError) as caught:
        save_bundle(a_model("closed <*>"), saved)
    assert str(caught.value) == (
        f"Expected a free path for a bundle; {saved} holds one, and a bundle is never changed. "
        "Choose another path, or ask to overwrite it."
    )
    assert bytes_of(saved) == before


def test_an_existing_bundle_is_swapped_when_that_is_asked_for(saved: Path) -> None:
    (saved / "provenance.json").unlink()
    bundle_id = save_bundle(a_model("closed <*>"), saved, overwrite=True)
    assert read_parts(saved, expect=bundle_id)[0].documents["templates"][0] == "closed <*>"
    assert names_in(saved.parent) == ["bundle"]


def test_overwriting_through_a_link_swaps_the_bundle_and_keeps_the_link(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(saved)
    bundle_id = save_bundle(a_model("closed <*>"), tmp_path / "latest", overwrite=True)
    assert (tmp_path / "latest").is_symlink()
    assert read_parts(saved)[1] == bundle_id


def test_an_empty_directory_may_become_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    save_bundle(a_model(), tmp_path / "b")
    read_parts(tmp_path / "b")


def test_a_path_can_be_checked_before_the_fit(saved: Path, tmp_path: Path) -> None:
    assert check_bundle_path(tmp_path / "new" / "b") == (tmp_path / "new" / "b").resolve()
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError):
        check_bundle_path(saved)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_of_someone_else_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError) as caught:
        save_bundle(a_model(), tmp_path, overwrite=overwrite)
    expected = f"Expected a free path for a bundle; {tmp_path} holds thesis.tex. Choose another path."
    assert str(caught.value) == expected
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_bundle_that_holds_files_of_someone_else_is_never_replaced(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt\. Choose another path\.$"):
        save_bundle(a_model(), saved, overwrite=True)
    assert (saved / "notes.txt").read_text() == "mine"


def test_a_bundle_of_a_newer_format_is_never_replaced(saved: Path) -> None:
    edit_manifest(saved, lambda manifest: manifest.update(format=2))
    with pytest.raises(OutputError, match="Choose another path"):
        save_bundle(a_model(), saved, overwrite=True)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "Not a directory"),
        ("file/b", ""),
        ("a\0b", "embedded null"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_that_cant_be_written_is_said_so(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        save_bundle(a_model(), tmp_path / path)
    assert str(caught.value).startswith(f"Expected to write a bundle at {tmp_path / path}: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith(". Choose another path, or mend its permissions.")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_save_that_fails_anywhere_leaves_the_old_bundle(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: int
) -> None:
    before, calls, fsync = bytes_of(saved), iter(range(1, 99)), os.fsync

    def failing_fsync(descriptor: int) -> None:
        if next(calls) == call:  # seven files, then the directory
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        save_bundle(a_model("closed <*>"), saved, overwrite=True)
    assert bytes_of(saved) == before
    assert names_in(saved.parent) == ["bundle"]


def test_all_that_was_written_is_made_last_and_so_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = set(), os.fsync

    def recording_fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    save_bundle(a_model(), tmp_path / "b")
    assert synced == {path.stat().st_ino for path in [tmp_path, tmp_path / "b", *(tmp_path / "b").iterdir()]}


def test_a_swap_that_fails_puts_the_old_bundle_back(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = bytes_of(saved), Path.rename

    def failing_rename(source: Path, target: Path) -> Path:
        if ".partial-" in source.name:
            raise PermissionError(13, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(OutputError, match="Permission denied"):
        save_bundle(a_model("closed <*>"), saved, overwrite=True)
    assert bytes_of(saved) == before
    assert names_in(saved.parent) == ["bundle"]


def test_of_two_that_save_to_one_path_at_once_one_wins_whole(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def save(text: str) -> None:
        try:
            outcomes.append(save_bundle(a_model(text), tmp_path / "b"))
        except OutputError:
            outcomes.append("")

    threads = [threading.Thread(target=save, args=(f"text {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, outcomes)) == [False, False, False, True]
    read_parts(tmp_path / "b", expect=next(filter(None, outcomes)))
    assert names_in(tmp_path) == ["b"]


SLOW_SAVE = """
import os, sys, time, types
import numpy as np
from enhanced_deeplog.bundle import save_bundle
def fsync(descriptor):
    print("half-written", flush=True)
    time.sleep(60)
os.fsync = fsync
parts = types.SimpleNamespace(documents={"config": {}}, tensors={"t": {"a": np.zeros(100_000)}}, networks={})
save_bundle(types.SimpleNamespace(to_parts=lambda: parts), sys.argv[1], overwrite=True)
"""


@pytest.fixture
def half_saved(saved: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the middle of overwriting the bundle."""
    command = [sys.executable, "-c", SLOW_SAVE, str(saved)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-written\n"
        yield process
        process.kill()


def test_ctrl_c_leaves_nothing_half_written(saved: Path, half_saved: subprocess.Popen[str]) -> None:
    before = bytes_of(saved)
    assert len(names_in(saved.parent)) == 2
    half_saved.send_signal(signal.SIGINT)
    _, errors = half_saved.communicate(timeout=10)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert names_in(saved.parent) == ["bundle"]
    assert bytes_of(saved) == before


def test_a_killed_save_leaves_the_old_bundle_and_doesnt_hinder_the_next(
    saved: Path, half_saved: subprocess.Popen[str]
) -> None:
    half_saved.kill()
    half_saved.wait(timeout=10)
    read_parts(saved)
    (left,) = (name for name in names_in(saved.parent) if name != "bundle")
    assert left.startswith(f".bundle.partial-{half_saved.pid}-")
    save_bundle(a_model("closed <*>"), saved, overwrite=True)
    read_parts(saved)


# --- What no bundle may hold is not saved -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            Parts(documents={"score": {"threshold": float("nan")}}),
            "Expected plain data in 'score'; Out of range float values are not JSON compliant",
        ),
        (
            Parts(documents={"score": {1, 2}}),
            "Expected plain data in 'score'; Object of type set is not JSON serializable. Nothing was saved.",
        ),
        (Parts(tensors={"t": {"a": np.array(["x"], dtype=object)}}), "Expected plain data in 't'; "),
        (Parts(tensors={"t": {"a": np.array(["x"])}}), "Expected plain data in 't'; "),
        (Parts(tensors={"t": {"__metadata__": np.zeros(1)}}), "t.safetensors: Expected safetensors; "),
        (Parts(networks={"n": b"no network"}), "n.onnx: Expected an ONNX network; ONNX Runtime refuses it: "),
        (
            Parts(documents={"../x": 1}),
            "Expected plain file names such as templates.json; '../x.json' is listed",
        ),
        (
            Parts(documents={"model_card": {}}),
            "Expected plain file names such as templates.json; 'model_card.json'",
        ),
        (
            Parts(documents={"manifest": {}}),
            "Expected plain file names such as templates.json; 'manifest.json'",
        ),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path, parts: Parts, text: str) -> None:
    with pytest.raises(BundleError) as caught:
        save_bundle(Model(parts), tmp_path / "b")  # type: ignore[arg-type]
    assert str(caught.value).startswith(text)
    assert names_in(tmp_path) == []


# --- Damage is refused --------------------------------------------------------------------------------------


def test_a_path_without_a_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    expected = "Expected a directory that `fit --bundle` wrote; {}. Check the path."
    assert refusal(tmp_path / "none") == expected.format("No such file or directory")
    assert refusal(tmp_path / "file") == expected.format("Not a directory")
    assert "embedded null" in refusal(tmp_path / "a\0b")
    assert refusal(tmp_path) == f"Expected a regular file manifest.json; No such file or directory. {FETCH}"


def test_another_bundle_than_the_expected_one_is_refused(saved: Path, detector: Any) -> None:
    bundle_id = read_parts(saved)[1]
    came = f"this is {bundle_id}. Check path and id."
    assert refusal(saved, expect="0123456789abcdef") == f"Expected the bundle 0123456789abcdef; {came}"
    assert refusal(saved, expect="") == f"Expected the bundle ; {came}"
    assert refusal(saved, expect=bundle_id[:8]) == f"Expected the bundle {bundle_id[:8]}; {came}"
    with pytest.raises(BundleError, match="Expected the bundle 0123456789abcdef"):
        load_bundle(saved, expect="0123456789abcdef")


@pytest.mark.parametrize(
    "name", ["base_model.onnx", "config.json", "model_card.md", "statistics.safetensors", "templates.json"]
)
def test_a_flipped_byte_or_another_length_is_refused_in_every_file(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    middle, n = len(data) // 2, len(data)
    (saved / name).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    assert refusal(saved) == f"Expected {name} as the manifest has it; its SHA-256 differs. {FETCH}"
    (saved / name).write_bytes(data[:-1])
    assert refusal(saved) == f"Expected {n} bytes in {name}; there are {n - 1}. {FETCH}"
    (saved / name).write_bytes(data + b"\n")
    assert refusal(saved) == f"Expected at most {n} bytes in {name}; there are {n + 1}. {FETCH}"
    (saved / name).unlink()
    assert refusal(saved) == f"Expected a regular file {name}; No such file or directory. {FETCH}"


@given(data=st.data())
@settings(max_examples=40)
def test_no_flipped_bit_of_the_manifest_goes_unnoticed(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("bundles") / "b"
    bundle_id = save_bundle(Model(Parts(documents={"config": {"seed": 0}})), path)  # type: ignore[arg-type]
    manifest = bytearray((path / "manifest.json").read_bytes())
    manifest[data.draw(st.integers(0, len(manifest) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (path / "manifest.json").write_bytes(manifest)
    refusal(path, expect=bundle_id)


bytes_like_json = st.text(alphabet='{}[]":,0fe-\\ manifstorpduc').map(str.encode)
json_bytes = plain_data.map(lambda value: json.dumps(value).encode())


@given(st.binary(max_size=200) | bytes_like_json | json_bytes)
@settings(max_examples=100)
def test_whatever_a_manifest_says_it_is_read_or_refused(manifest: bytes) -> None:
    with pytest.raises(BundleError):
        bundle.entries_of(manifest)


def test_a_file_that_no_manifest_lists_is_never_read(saved: Path) -> None:
    os.mkfifo(saved / "surprise.json")  # reading it would wait for ever
    (saved / "run.py").write_text("raise SystemExit")
    assert sorted(read_parts(saved)[0].documents) == ["config", "model_card", "templates"]


def test_what_is_parsed_is_what_was_hashed_since_each_file_is_opened_once(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, really_open = [], os.open

    def recording_open(path: Path, *flags: int) -> int:
        opened.append(Path(path).name)
        return really_open(path, *flags)

    monkeypatch.setattr(os, "open", recording_open)
    monkeypatch.setattr("builtins.open", None)
    read_parts(saved)
    monkeypatch.undo()
    assert sorted(opened) == [name for name in names_in(saved) if name != "provenance.json"]


# --- Hostile manifests are refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expected JSON; Expecting value: line 1 column 1 (char 0)"),
        ("PK\3\4", "Expected JSON; Expecting value: line 1 column 1 (char 0)"),
        ('{"format": 1, "format": 2}', "Expected JSON; a key comes twice in one object"),
        ('{"format": NaN}', "Expected JSON; NaN is not a finite number"),
        ('{"format": -Infinity}', "Expected JSON; -Infinity is not a finite number"),
        ('{"format": 1e999}', "Expected JSON; 1e999 is not a finite number"),
        (
            '{"format": ' + "9" * 5000 + "}",
            "Expected JSON; Exceeds the limit (4300 digits) for integer string",
        ),
        ("[" * 100_000, "Expected JSON; maximum recursion depth exceeded"),
        ("[" * 40 + "]" * 40, "Expected JSON nested at most 32 deep; this is deeper"),
        (" " * (1 << 20) + "{}", "Expected at most 1,048,576 bytes in manifest.json; there are 1,048,578"),
    ],
)
def test_a_manifest_that_isnt_sound_json_is_refused(saved: Path, text: str, reason: str) -> None:
    (saved / "manifest.json").write_text(text)
    assert refusal(saved).startswith(reason)


def test_a_manifest_that_isnt_utf8_is_refused(saved: Path) -> None:
    (saved / "manifest.json").write_bytes(b'{"\xff": 1}')
    assert refusal(saved).startswith("Expected JSON; 'utf-8' codec can't decode byte 0xff in position 2")


OF_ANOTHER = "Expected a manifest.json of enhanced-deeplog, with a format number; this is none. Check the path."
OF_NO_VERSION = f"Expected a manifest.json as format 1 has it; no version ever made this one. {FETCH}"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"product": "other"}, OF_ANOTHER),
        ({"product": None}, OF_ANOTHER),
        ({"format": "1"}, OF_ANOTHER),
        ({"format": True}, OF_ANOTHER),
        ({"format": 1.0}, OF_ANOTHER),
        ({"format": None}, OF_ANOTHER),
        (
            {"format": 2, "files": 0, "more": 0},
            "Expected format 1; this one has format 2: a newer version made it. Upgrade enhanced-deeplog.",
        ),
        ({"format": 0}, OF_NO_VERSION),
        ({"format": -1}, OF_NO_VERSION),
        ({"more": 0}, OF_NO_VERSION),
        ({"files": []}, OF_NO_VERSION),
        ({"files": None}, OF_NO_VERSION),
        (
            {"files": {f"f{i}.json": 0 for i in range(65)}},
            f"Expected at most 64 files; 65 are listed. {FETCH}",
        ),
        (
            {"files": {f"f{i}.onnx": {"n_bytes": 2**31, "sha256": "0" * 64} for i in range(3)}},
            f"Expected at most 4,294,967,296 bytes in all; more are listed. {FETCH}",
        ),
    ],
)
def test_a_manifest_of_another_product_format_or_shape_is_refused(
    saved: Path, changes: dict[str, Any], text: str
) -> None:
    edit_manifest(saved, lambda manifest: manifest.update(changes))
    assert refusal(saved) == text


def test_a_manifest_that_is_no_object_is_refused(saved: Path) -> None:
    (saved / "manifest.json").write_text("[]")
    assert refusal(saved) == OF_ANOTHER


@pytest.mark.parametrize(
    "name",
    [
        "../outside.json",
        "..\\outside.json",
        "sub/inside.json",
        "/etc/passwd.json",
        "C:\\windows.json",
        "c:stream.json",
        "nul.json",
        "com1.json",
        "a\0b.json",
        "a\n.json",
        "a.json\n.json",
        ".hidden.json",
        "..json",
        ".json",
        "json",
        "Upper.json",
        "a b.json",
        "two.dots.json",
        "ünïcode.json",
        "\uff46ullwidth.json",
        "\u202egnp.json",
        "x" * 65 + ".json",
        "manifest.json",
        "provenance.json",
        "model_card.json",
        "readme.md",
    ],
)
def test_a_name_that_no_file_of_ours_has_is_refused(saved: Path, name: str) -> None:
    edit_manifest(saved, lambda m: m["files"].update({name: m["files"]["config.json"]}))
    text = refusal(saved)
    assert text.startswith("Expected plain file names such as templates.json; ")
    assert text.endswith(f" is listed. {FETCH}")
    assert text.isprintable()


@pytest.mark.parametrize("name", ["a.npz", "a.pkl", "a.pt", "a.py", "a.so", "a", "", "a.json ", "a.JSON"])
def test_a_kind_of_file_that_no_bundle_holds_is_refused(saved: Path, name: str) -> None:
    (saved / (name or "a")).write_bytes((saved / "config.json").read_bytes())
    edit_manifest(saved, lambda m: m["files"].update({name: m["files"]["config.json"]}))
    assert refusal(saved) == f"Expected files of the kinds json, md, onnx, safetensors; {name!r} is listed. {FETCH}"


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"n_bytes": 14},
        {"n_bytes": 14, "sha256": None},
        {"n_bytes": 14, "sha256": "0" * 63},
        {"n_bytes": 14, "sha256": "A" * 64},
        {"n_bytes": 14, "sha256": "0" * 64 + "\n"},
        {"n_bytes": 14, "sha256": "0" * 64, "url": "http://example.org"},
        {"n_bytes": "14", "sha256": "0" * 64},
        {"n_bytes": True, "sha256": "0" * 64},
        {"n_bytes": 14.0, "sha256": "0" * 64},
        {"n_bytes": -1, "sha256": "0" * 64},
        {"n_bytes": 2**28 + 1, "sha256": "0" * 64},
        {"n_bytes": 10**4000, "sha256": "0" * 64},
    ],
)
def test_a_size_or_hash_that_cant_be_is_refused(saved: Path, entry: object) -> None:
    edit_manifest(saved, lambda manifest: manifest["files"].update({"config.json": entry}))
    text = refusal(saved)
    assert text.startswith("Expected size (up to 268,435,456 bytes) and SHA-256 of config.json; got ")


# --- Files that aren't what they seem are refused -----------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a_link_in_place_of_a_file_is_refused_even_to_the_right_bytes(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).rename(tmp_path / "elsewhere")
    (saved / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(saved) == f"Expected a regular file {name}; it is a symbolic link. {FETCH}"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a_pipe_or_directory_in_place_of_a_file_is_refused(
    saved: Path, name: str, make: Callable[[Path], None]
) -> None:
    (saved / name).unlink()
    make(saved / name)
    assert refusal(saved) == f"Expected a regular file {name}; it is something else. {FETCH}"


def test_a_file_that_never_ends_is_not_read(saved: Path) -> None:
    with (saved / "config.json").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on disk
    assert refusal(saved) == f"Expected at most 15 bytes in config.json; there are 1,099,511,627,776. {FETCH}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expected JSON; Expecting property name"),
        ('{"a": 1, "a": 2}', "Expected JSON; a key comes twice in one object"),
        ('{"a": Infinity}', "Expected JSON; Infinity is not a finite number"),
        ('[{"a": ' * 40 + "0" + "}]" * 40, "Expected JSON nested at most 32 deep; this is deeper"),
        ('{"a":' * 100_000, "Expected JSON; maximum recursion depth exceeded"),
    ],
)
def test_a_document_that_isnt_sound_json_is_refused(saved: Path, text: str, reason: str) -> None:
    plant(saved, "config.json", text.encode())
    assert refusal(saved).startswith(f"config.json: {reason}")


def test_a_model_card_that_isnt_text_is_refused(saved: Path) -> None:
    plant(saved, "model_card.md", b"\xff")
    assert refusal(saved).startswith("model_card.md: 'utf-8' codec can't decode")


def safetensors_file(header: object, n_bytes: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * n_bytes


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


class Trap:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("trap_was_sprung", "w"))


def npz() -> bytes:
    import io

    file = io.BytesIO()
    np.savez(file, a=np.array([Trap()], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        pickle.dumps(Trap()),
        npz(),
        struct.pack("<Q", 2**63) + b"{}",
        safetensors_file(b"[" * 10_000),
        safetensors_file(b'{"a": 1}'),
        safetensors_file(tensor("F32", [2**40], 0, 4), 4),
        safetensors_file(tensor("F32", [2**32, 2**32, 2**32], 0, 4), 4),
        safetensors_file(tensor("F32", [2**64], 0, 4), 4),
        safetensors_file(tensor("F32", [-1], 0, 4), 4),
        safetensors_file(tensor("F32", [0, 2**62], 0, 0)),
        safetensors_file(tensor("F32", [1] * 100, 0, 4), 4),
        safetensors_file(tensor("F32", [1], 0, 2**63), 4),
        safetensors_file(tensor("F32", [1], 4, 0), 4),
        safetensors_file(tensor("F32", [1], 0, 4), 8),
        safetensors_file(tensor("F32", [1], 4, 8), 8),
        safetensors_file(tensor("O", [1], 0, 8), 8),
        safetensors_file(tensor("BF16", [1], 0, 2), 2),
        safetensors.numpy.save({"a": np.zeros(9)})[:-1],
    ],
)
def test_arrays_that_cant_be_and_pickles_in_disguise_are_refused(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(saved, "statistics.safetensors", data)
    assert refusal(saved).startswith("statistics.safetensors: Expected safetensors; ")
    assert names_in(tmp_path) == ["bundle"]


def outside(location: str) -> bytes:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    weights.external_data.add(key="length", value="8")
    return network(weights)


@pytest.mark.parametrize("location", ["secret", "../secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_a_network_that_refers_to_data_outside_itself_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(saved)
    (saved / "secret").write_bytes(b"\0" * 8)
    plant(saved, "base_model.onnx", outside(location))
    assert refusal(saved) == (
        "base_model.onnx: Expected an ONNX network with its weights inside; "
        f"this one may refer to data outside itself. {FETCH}"
    )


@pytest.mark.parametrize("location", ["secret", "../bundle/secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_onnx_runtime_itself_refuses_such_a_network_given_as_bytes(
    saved: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    import onnxruntime

    monkeypatch.chdir(saved)
    (saved / "secret").write_bytes(b"\0" * 8)
    with pytest.raises(Exception):  # noqa: B017  # its errors share no base class but this
        onnxruntime.InferenceSession(outside(location), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "data",
    [b"", b"no network", NETWORK[:-20], network(op="Explode"), pickle.dumps(Trap())],
    ids=["empty", "text", "cut", "unknown operator", "pickle"],
)
def test_a_network_that_onnx_runtime_refuses_is_refused(
    saved: Path, tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    plant(saved, "base_model.onnx", data)
    assert refusal(saved).startswith("base_model.onnx: Expected an ONNX network; ONNX Runtime refuses it: ")
    assert capfd.readouterr() == ("", "")


def test_a_network_in_the_runtimes_own_form_is_refused(saved: Path) -> None:
    plant(saved, "base_model.onnx", b"\x18\0\0\0ORTM" + b"\0" * 64)
    assert refusal(saved).startswith("base_model.onnx: Expected an ONNX network with its weights inside; ")


def test_a_custom_operator_finds_no_library(saved: Path) -> None:
    model = onnx.load_from_string(NETWORK)
    model.graph.node[0].domain = "evil.example"
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    plant(saved, "base_model.onnx", model.SerializeToString())
    assert "ONNX Runtime refuses it" in refusal(saved)


# --- Files that fit their manifest, yet make no model -------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        KeyError("config"),
        ValueError("cannot reshape array of size 4 into shape (1000000, 128)"),
        TypeError("'NoneType' object is not subscriptable"),
        IndexError("index 9 is out of bounds"),
        AttributeError("'list' object has no attribute 'items'"),
        OverflowError("int too large"),
        MemoryError("Unable to allocate 7 EiB"),
        RecursionError("maximum recursion depth exceeded"),
        ConfigError("Unknown setting 'learning.x'."),
        BundleError("Expected an ONNX network."),
        InvalidArgument("Got invalid dimensions for input: features"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_content_that_makes_no_model_is_refused(
    saved: Path, detector: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def from_parts(parts: Parts, *, bundle_id: str) -> Model:
        raise error

    monkeypatch.setattr(detector.EnhancedDeepLog, "from_parts", from_parts)
    with pytest.raises(BundleError) as caught:
        load_bundle(saved)
    said = str(error).rstrip(".")
    assert str(caught.value) == (
        f"The bundle at {saved} is refused. Expected the content that this version writes; its files fit its "
        f"manifest, but make no model: {type(error).__name__}: {said}. {FETCH}"
    )
    assert caught.value.exit_code == 5


def test_what_a_stranger_wrote_reaches_the_terminal_as_plain_text(saved: Path) -> None:
    edit_manifest(saved, lambda m: m["files"].update({"\x1b]0;owned\x07\n.json": 0}))
    assert refusal(saved) == f"Expected plain file names such as templates.json; ' ]0;owned  .json' is listed. {FETCH}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agreement", float("nan")),
        ("agreement", None),
        ("tails", {}),
        ("tails", {"counts": {}}),
        ("tails", {"end": {}}),
    ],
)
def test_a_score_that_could_judge_nothing_is_refused(name: str, value: object) -> None:
    score = SessionScore.fit({kind: np.arange(100.0) for kind in EVIDENCE}).to_json()
    with pytest.raises(BundleError, match=rf"In the bundle, score\.{name} must be .*; got "):
        _calibration({**score, name: value})
