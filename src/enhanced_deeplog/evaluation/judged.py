"""Verdicts beside the truth, one a session key, and what makes sessions the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.detector import EnhancedDeepLog
from enhanced_deeplog.findings import NORMAL
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.verdicts import Verdicts

__all__ = ["Judged", "by_key", "distinct_sequences", "sequences_of"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Verdicts beside the truth, one a session key: of a session in several parts, that on the oddest one.

    Attributes:
        keys: Session keys.
        types: True type of each, "" for normal, str (S,).
        margins: How far above its threshold the score of each is, float64 (S,).
        classes: Class found, int64 (S,).
        confidence: float64 (S,).
    """

    keys: list[str]
    types: npt.NDArray[np.str_]
    margins: Float64s
    classes: Int64s
    confidence: Float64s

    @property
    def is_abnormal(self) -> Bools:
        """Whether each session is abnormal, bool (S,)."""
        return np.asarray(self.types != "")

    @property
    def found(self) -> Bools:
        """Whether each was found to be, bool (S,)."""
        return np.asarray(self.classes != NORMAL)

    def take(self, chosen: Bools) -> Judged:
        """Some of the sessions."""
        rows = np.flatnonzero(chosen)
        keys = [self.keys[row] for row in rows.tolist()]
        return Judged(keys, self.types[rows], self.margins[rows], self.classes[rows], self.confidence[rows])


def by_key(sessions: Sessions, verdicts: Verdicts, truth: Mapping[str, str]) -> Judged:
    """Put verdicts beside the truth.

    Args:
        sessions: What was judged.
        verdicts: On each of them.
        truth: Type of each session key; keys without one are left out.
    """
    table = (
        pl.DataFrame(
            {
                "key": sessions.table["session_key"],
                "margin": verdicts.scores - verdicts.thresholds,
                "class": verdicts.classes,
                "confidence": verdicts.confidence,
            }
        )
        .sort("margin", descending=True, maintain_order=True)
        .unique("key", keep="first", maintain_order=True)
    )
    wanted = pl.DataFrame({"key": list(truth), "type": list(truth.values())})
    found = wanted.join(table, on="key", how="inner", maintain_order="left")
    return Judged(
        found["key"].to_list(),
        np.asarray(found["type"].to_list(), dtype=np.str_),
        found["margin"].to_numpy(),
        found["class"].to_numpy(),
        found["confidence"].to_numpy(),
    )


def sequences_of(model: EnhancedDeepLog, records: LogRecords) -> dict[str, Int64s]:
    """Event ids of each session that has a key, without END."""
    parsed = pl.concat(batch.select("session_key", "event_id") for batch in model.parse(records))
    grouped = parsed.drop_nulls("session_key").group_by("session_key", maintain_order=True).agg("event_id")
    return {key: np.asarray(events, dtype=np.int64) for key, events in grouped.iter_rows()}


def distinct_sequences(judged: Judged, sequences: Mapping[str, Int64s]) -> Int64s:
    """The first session of each distinct sequence and type."""
    first: dict[tuple[str, bytes], int] = {}
    for row, (key, of_type) in enumerate(zip(judged.keys, judged.types.tolist(), strict=True)):
        first.setdefault((of_type, sequences[key].tobytes()), row)
    return np.array(list(first.values()), dtype=np.int64)
