"""Groups of rows that have the same label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["groups_of"]

Int64s = npt.NDArray[np.int64]


def groups_of(labels: Int64s) -> Iterator[tuple[int, Int64s]]:
    """Each label, ascending, and where it is, ascending.

    Example:
        >>> [(label, rows.tolist()) for label, rows in groups_of(np.array([7, 5, 7]))]
        [(5, [1]), (7, [0, 2])]
    """
    if not len(labels):
        return
    order = np.argsort(labels, kind="stable")
    values, begins = np.unique(labels[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, begins[1:]), strict=True)
