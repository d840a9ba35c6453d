"""A bundle: one directory that holds a whole model as data, and never code.

    manifest.json       format, and the size and SHA-256 of every file below; the bundle's id is its digest
    *.json              documents
    *.safetensors       arrays
    *.onnx              networks
    model_card.md       for people
    provenance.json     when and where it was written; outside the digest, and never trusted

`save_bundle` goes parts -> files -> directory, `load_bundle` the same way back. What a directory says is a
stranger's word: sizes are checked before reading, and the bytes that were hashed are those that are parsed.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from enhanced_deeplog.errors import BundleError, OutputError

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog, ModelParts

__all__ = [
    "BundleContents",
    "check_bundle_path",
    "load_bundle",
    "read_parts",
    "read_provenance",
    "save_bundle",
]

FORMAT = 1
PRODUCT = "enhanced-deeplog"

_ADVICE = "Fetch the bundle again, or fit anew."
_MANIFEST = "manifest.json"
_PROVENANCE = "provenance.json"
_MODEL_CARD = "model_card"
_MIB = 1 << 20
_MAX_BYTES = {"json": 256 * _MIB, "md": 16 * _MIB, "onnx": 2048 * _MIB, "safetensors": 2048 * _MIB}  # a file
_MAX_TOTAL_BYTES = 4096 * _MIB
_MAX_MANIFEST_BYTES = _MIB
_MAX_PROVENANCE_BYTES = _MIB // 16
_MAX_FILES = 64
_MAX_NESTING = 32  # of JSON; ours stays under 10

# Lower case, so that no two names are one file on some disk; no name that is a device on Windows.
_NAME = re.compile(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)\.)[a-z][a-z0-9_]{0,63}\.[a-z]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Never through a link, and never waiting for the other end of a pipe. Windows has neither.
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class BundleContents:
    """What came out of a bundle.

    Attributes:
        documents: Plain data by name; "model_card" is a text.
        tensors: Named arrays by name.
        networks: ONNX models by name.
    """

    documents: dict[str, Any]
    tensors: dict[str, dict[str, npt.NDArray[Any]]]
    networks: dict[str, bytes]


def save_bundle(model: EnhancedDeepLog, path: Path | str, *, overwrite: bool = False) -> str:
    """Write a model as a bundle. The same model gives the same bytes in every file but `provenance.json`.

    The directory is written beside its place and renamed, so it is there whole or not at all.

    Args:
        model: Fitted.
        path: Of the directory; directories above it are made.
        overwrite: Replace a bundle that is there. Nothing but a bundle is ever replaced.

    Returns:
        The bundle's id, 16 hexadecimal digits. The model isn't told.

    Raises:
        OutputError: If the path is taken, or can't be written.
        BundleError: If the model holds what no bundle may hold, such as NaN in a document.
    """
    target = check_bundle_path(path, overwrite=overwrite)
    files = files_of(model.to_parts())
    manifest = manifest_of(files)
    # Read back what is about to be written: nothing is saved that `load_bundle` would refuse.
    entries_of(manifest)
    contents_of(files)
    files |= {_MANIFEST: manifest, _PROVENANCE: _provenance()}
    with _output_errors(path):
        _write_directory(target, files, overwrite=overwrite)
    return bundle_id_of(manifest)


def load_bundle(path: Path | str, *, expect: str | None = None) -> EnhancedDeepLog:
    """Read a model from a bundle. Nothing in it is executed, and nothing outside it is read.

    Args:
        path: Of the directory.
        expect: The id that the bundle must have; None: any.

    Raises:
        BundleError: If the bundle is missing, damaged, too new, not the expected one, or no bundle.
    """
    # Here, so that looking at a bundle needs no more than NumPy.
    from enhanced_deeplog.detector import EnhancedDeepLog, ModelParts

    contents, bundle_id = read_parts(path, expect=expect)
    parts = ModelParts(contents.documents, contents.tensors, contents.networks)
    try:
        return EnhancedDeepLog.from_parts(parts, bundle_id=bundle_id)
    except Exception as error:  # a stranger's numbers can provoke any, ONNX Runtime's own among them
        came = f"its files fit its manifest, but make no model: {type(error).__name__}: {_reason(error)}"
        refusal = _refusal("the content that this version writes", came)
        raise BundleError(f"The bundle at {path} is refused. {refusal}") from error


def read_parts(path: Path | str, *, expect: str | None = None) -> tuple[BundleContents, str]:
    """Read a bundle without making a model of it.

    Args:
        path: Of the directory.
        expect: As in `load_bundle`.

    Returns:
        What is in it, and its id.

    Raises:
        BundleError: As in `load_bundle`.
    """
    try:
        files, bundle_id = _read_directory(Path(path), expect)
        return contents_of(files), bundle_id
    except BundleError as error:
        raise BundleError(f"The bundle at {path} is refused. {error}") from None


def read_provenance(path: Path | str) -> dict[str, str]:
    """When and where a bundle says it was written: to show, not to believe. Empty where it says nothing."""
    try:
        data = _parse_json(_read_file(Path(path), _PROVENANCE, at_most=_MAX_PROVENANCE_BYTES))
    except BundleError:
        return {}
    said = data if isinstance(data, dict) else {}
    return {_printable(key): _printable(value) for key, value in said.items() if isinstance(value, str)}


def check_bundle_path(path: Path | str, *, overwrite: bool = False) -> Path:
    """Whether a bundle can be written at a path: ask before a long fit, not after it.

    Args:
        path: As in `save_bundle`.
        overwrite: As in `save_bundle`.

    Returns:
        Where the directory will lie, links resolved.

    Raises:
        OutputError: If the path is taken, or can't be written.
    """
    with _output_errors(path):
        target = Path(path).resolve()
        present = {child.name for child in target.iterdir()} if target.exists() else set()
        above = next(parent for parent in [*target.parents, target] if parent.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{above} may not be written")
    if not present:
        return target
    try:
        listed = entries_of(_read_file(target, _MANIFEST, at_most=_MAX_MANIFEST_BYTES))
        foreign = present - {_MANIFEST, _PROVENANCE, *listed}
    except BundleError:
        foreign = present
    if foreign:
        some = ", ".join(map(_printable, sorted(foreign)[:3]))
        raise OutputError(f"Expected a free path for a bundle; {path} holds {some}. Choose another path.")
    if not overwrite:
        raise OutputError(
            f"Expected a free path for a bundle; {path} holds one, and a bundle is never changed. "
            "Choose another path, or ask to overwrite it."
        )
    return target


# --- Parts <-> files: no disk -------------------------------------------------------------------------------


def files_of(parts: ModelParts | BundleContents) -> dict[str, bytes]:
    """The bytes of every file that the manifest lists, by name; the same parts give the same bytes."""
    files = {f"{name}.onnx": network for name, network in parts.networks.items()}
    name = ""
    try:
        for name, document in parts.documents.items():
            if name == _MODEL_CARD and isinstance(document, str):
                files[f"{name}.md"] = document.encode("utf-8", "surrogatepass")
            else:
                files[f"{name}.json"] = _to_json(document)
        for name, arrays in parts.tensors.items():
            files[f"{name}.safetensors"] = _to_safetensors(arrays)
    except Exception as error:  # safetensors' own shares no base class but this
        expected = f"plain data in {_printable(name)!r}"
        raise _refusal(expected, _reason(error), "Nothing was saved.") from None
    return files


def contents_of(files: Mapping[str, bytes]) -> BundleContents:
    """Parse every file: the way back from `files_of`."""
    contents = BundleContents({}, {}, {})
    for file_name, data in files.items():
        name, _, kind = file_name.partition(".")
        try:
            if kind == "json":
                contents.documents[name] = _parse_json(data)
            elif kind == "md":
                contents.documents[name] = data.decode("utf-8", "surrogatepass")
            elif kind == "safetensors":
                contents.tensors[name] = _parse_safetensors(data)
            else:
                contents.networks[name] = _check_network(data)
        except (BundleError, UnicodeDecodeError) as error:
            raise BundleError(f"{file_name}: {error}") from None
    return contents


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The bytes of `manifest.json`."""
    entries = {name: {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    return _to_json({"files": entries, "format": FORMAT, "product": PRODUCT})


def bundle_id_of(manifest: bytes) -> str:
    """The id of the bundle that has this manifest."""
    return hashlib.sha256(manifest).hexdigest()[:16]


def entries_of(manifest: bytes) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file that a manifest lists, if it lists only what a bundle may hold."""
    data = _parse_json(manifest)
    if not isinstance(data, dict) or data.get("product") != PRODUCT or type(data.get("format")) is not int:
        raise _refusal(f"a {_MANIFEST} of {PRODUCT}, with a format number", "this is none", "Check the path.")
    if data["format"] > FORMAT:
        came = f"this one has format {_printable(data['format'])}: a newer version made it"
        raise _refusal(f"format {FORMAT}", came, f"Upgrade {PRODUCT}.")
    files = data.get("files")
    if data["format"] < FORMAT or len(data) != 3 or not isinstance(files, dict):
        raise _refusal(f"a {_MANIFEST} as format {FORMAT} has it", "no version ever made this one")
    if len(files) > _MAX_FILES:
        raise _refusal(f"at most {_MAX_FILES} files", f"{len(files)} are listed")
    entries = {name: _entry(name, entry) for name, entry in files.items()}
    if sum(n_bytes for n_bytes, _ in entries.values()) > _MAX_TOTAL_BYTES:
        raise _refusal(f"at most {_MAX_TOTAL_BYTES:,} bytes in all", "more are listed")
    return entries


def _entry(name: str, entry: Any) -> tuple[int, str]:
    stem, _, kind = name.rpartition(".")
    largest = _MAX_BYTES.get(kind)
    if largest is None:
        raise _refusal(f"files of the kinds {', '.join(_MAX_BYTES)}", f"{_printable(name)!r} is listed")
    reserved = name in (_MANIFEST, _PROVENANCE) or (stem == _MODEL_CARD) != (kind == "md")
    if reserved or not _NAME.fullmatch(name):
        raise _refusal("plain file names such as templates.json", f"{_printable(name)!r} is listed")
    if isinstance(entry, dict) and entry.keys() == {"n_bytes", "sha256"}:
        n_bytes, sha256 = entry["n_bytes"], entry["sha256"]
        is_size = type(n_bytes) is int and 0 <= n_bytes <= largest
        if is_size and isinstance(sha256, str) and _SHA256.fullmatch(sha256):
            return n_bytes, sha256
    raise _refusal(f"size (up to {largest:,} bytes) and SHA-256 of {name}", f"got {_printable(entry)}")


def _to_json(data: object) -> bytes:
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return f"{text}\n".encode("ascii")


def _parse_json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise _refusal("JSON", _reason(error)) from None
    level, depth = [value], 0
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
        if depth > _MAX_NESTING:
            raise _refusal(f"JSON nested at most {_MAX_NESTING} deep", "this is deeper")
    return value


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return data


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _to_safetensors(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    # safetensors sorts the names and mends the order of bytes; that of axes it takes as it lies in memory.
    return bytes(safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()}))


def _parse_safetensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        # Shapes must fill the file exactly, so no array is larger than what came. A copy can be written to.
        return {name: array.copy() for name, array in sorted(safetensors.numpy.load(data).items())}
    except Exception as error:  # safetensors' own, or NumPy's where a shape is absurd
        raise _refusal("safetensors", _reason(error)) from None


def _check_network(data: bytes) -> bytes:
    # A tensor that is kept elsewhere has an entry "location": a path, or even an address in memory; ONNX
    # Runtime's own form, "ORTM", has other ways to point outside. Neither word occurs in a network of ours.
    if b"location" in data or data[4:8] == b"ORTM":
        raise _refusal("an ONNX network with its weights inside", "this one may refer to data outside itself")
    from enhanced_deeplog.learning.scoring import OnnxNetwork  # here, so that reading a manifest stays light

    try:
        OnnxNetwork(data, threads=1).load()
    except BundleError as error:
        raise BundleError(f"{error} {_ADVICE}") from None
    return data


# --- Files <-> directory ------------------------------------------------------------------------------------


def _read_directory(directory: Path, expect: str | None) -> tuple[dict[str, bytes], str]:
    try:
        next(directory.iterdir(), None)
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise _refusal("a directory that `fit --bundle` wrote", _reason(error), "Check the path.") from None
    manifest = _read_file(directory, _MANIFEST, at_most=_MAX_MANIFEST_BYTES)
    bundle_id = bundle_id_of(manifest)
    if expect is not None and expect != bundle_id:
        raise _refusal(f"the bundle {_printable(expect)}", f"this is {bundle_id}", "Check path and id.")
    files = {}
    for name, (n_bytes, sha256) in entries_of(manifest).items():
        files[name] = data = _read_file(directory, name, at_most=n_bytes)
        if len(data) != n_bytes:
            raise _refusal(f"{n_bytes:,} bytes in {name}", f"there are {len(data):,}")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _refusal(f"{name} as the manifest has it", "its SHA-256 differs")
    return files, bundle_id


def _read_file(directory: Path, name: str, *, at_most: int) -> bytes:
    try:
        descriptor = os.open(directory / name, _OPEN)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _refusal(f"a regular file {name}", "it is something else")
            if status.st_size > at_most:
                raise _refusal(f"at most {at_most:,} bytes in {name}", f"there are {status.st_size:,}")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        is_link = isinstance(error, OSError) and error.errno == errno.ELOOP
        came = "it is a symbolic link" if is_link else _reason(error)
        raise _refusal(f"a regular file {name}", came) from None


def _write_directory(target: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write beside, make it last, rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = f"{os.getpid()}-{secrets.token_hex(4)}"  # in containers, every process is number 1
    partial = target.with_name(f".{target.name}.partial-{beside}")
    replaced = target.with_name(f".{target.name}.replaced-{beside}")
    try:
        partial.mkdir()
        for name, data in files.items():
            with (partial / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync_directory(partial)
        if overwrite and target.exists():
            target.rename(replaced)
        partial.rename(target)  # fails if another process wrote a bundle there meanwhile
        _sync_directory(target.parent)
    finally:  # after Ctrl-C as well
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        _remove_files(partial)
        _remove_files(replaced)


def _remove_files(directory: Path) -> None:
    """Remove a directory of files, if it is there; one that holds directories isn't ours, and stays."""
    with suppress(OSError):
        for file in list(directory.iterdir()):
            file.unlink()
        directory.rmdir()


def _sync_directory(directory: Path) -> None:
    if os.name == "posix":  # elsewhere a directory can't be opened
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _provenance() -> bytes:
    packages = []
    for package in (PRODUCT, "numpy", "polars", "onnxruntime", "safetensors", "scikit-learn", "torch"):
        with suppress(importlib.metadata.PackageNotFoundError):
            packages.append(f"{package} {importlib.metadata.version(package)}")
    said = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
        "packages": ", ".join(packages),
    }
    return _to_json(said)


# --- What is said of errors ---------------------------------------------------------------------------------


def _refusal(expected: str, came: str, advice: str = _ADVICE) -> BundleError:
    return BundleError(f"Expected {expected}; {came}. {advice}")


@contextmanager
def _output_errors(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL; RuntimeError: links in a loop
        advice = "Choose another path, or mend its permissions."
        raise OutputError(f"Expected to write a bundle at {path}: {_reason(error)}. {advice}") from None


def _reason(error: Exception) -> str:
    """What an error says, to go on with: without the full stop."""
    return _printable(error.strerror if isinstance(error, OSError) and error.strerror else error).rstrip(". ")


def _printable(value: object) -> str:
    """A stranger's text, safe to show: one line, not long, no control characters."""
    return "".join(c if c.isprintable() else " " for c in str(value)[:200])
