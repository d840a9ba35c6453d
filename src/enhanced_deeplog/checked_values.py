"""Values from the documents and arrays of a bundle, each refused with its name if it can't be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.errors import BundleError

__all__ = ["array_of", "expect", "number_of"]


def array_of(
    arrays: Mapping[str, npt.NDArray[Any]],
    name: str,
    shape: tuple[int | None, ...],
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[Any]:
    """An array of a bundle, if it has this shape (None: any length) and type and is finite."""
    if name not in arrays:
        raise BundleError(f"In the bundle, {name} is missing.")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise BundleError(
            f"In the bundle, {name} must have the shape {shape} and the type {np.dtype(dtype)}; "
            f"it has {array.shape} and {array.dtype}."
        )
    if not np.isfinite(array).all():
        raise BundleError(f"In the bundle, {name} must be finite; it holds NaN or infinity.")
    return array


def number_of(data: Mapping[str, Any], name: str, *, least: float = -np.inf, most: float = np.inf) -> float:
    """A number of a bundle between two bounds; 0 as the least is left out: nothing here may be 0."""
    value = data.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(value) if is_number else np.nan  # type: ignore[arg-type]  # checked in the line above
    good = np.isfinite(number) and least <= number <= most and not number == least == 0
    expect(bool(good), name, f"a number from {least} to {most}", value)
    return number


def expect(good: bool, name: str, expected: str, came: object) -> None:
    if not good:
        raise BundleError(f"In the bundle, {name} must be {expected}; got {str(came)[:200]}.")
