"""The output of each stage as files, for people who study the stages; no part of a bundle."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from enhanced_deeplog.errors import OutputError

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["STAGE_FILES", "save_stage_files"]

STAGE_FILES = ("base_model.safetensors", "features.npy", "final_labels.npy", "multiclass_model.safetensors")


def save_stage_files(model: EnhancedDeepLog, directory: Path) -> tuple[Path, ...]:
    """Leave what each stage gave: weights, features float32 (S, D), classes int64 (S,), weights.

    S are the sessions that were clustered. A stage that was not fitted leaves no file, and takes away the one
    that an earlier fit left: files of two fits together would mislead.

    Args:
        model: Fitted.
        directory: Made if it isn't there; files of other names in it stay.

    Returns:
        The files that were written.

    Raises:
        OutputError: If they can't be written.
    """
    files = _files_of(model)
    beside = f"partial-{os.getpid()}-{secrets.token_hex(4)}"
    partial = {name: directory / f".{name}.{beside}" for name in files}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            partial[name].write_bytes(data)
        for name in STAGE_FILES:
            if name in files:
                partial[name].replace(directory / name)
            else:
                (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"Expected to write the output of the stages in {directory}: {error.strerror or error}. "
            "Choose another directory, or mend its permissions."
        ) from None
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return tuple(directory / name for name in files)


def _files_of(model: EnhancedDeepLog) -> dict[str, bytes]:
    kinds = model.kinds
    files = {"base_model.safetensors": _weights(model.detection.state)}
    if kinds.clustering is not None:  # a loaded model no longer has what its classes were found in
        files["features.npy"] = _array(kinds.features.astype(np.float32))
        files["final_labels.npy"] = _array(kinds.labels.astype(np.int64))
    if kinds.state:
        files["multiclass_model.safetensors"] = _weights(kinds.state)
    return files


def _weights(state: Mapping[str, npt.NDArray[Any]]) -> bytes:
    return bytes(safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in state.items()}))


def _array(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
