"""Which events say of themselves that something failed."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.logs.sessions import Sessions

__all__ = ["severe_events"]

_SEVERE = ("ERROR", "ERR", "SEVERE", "FAILURE", "FATAL", "CRIT", "CRITICAL", "ALERT", "EMERG", "EMERGENCY", "PANIC")
_HARMLESS = ("TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING")
# Only where records have no level that we know: a text that mentions an error is no error if its level is INFO.
_FAILED = re.compile(
    r"(?<!\bno )(?:error|exception)s?\b|\b(?:fatal|panic|traceback|fail|abort|crash|refused|timed out)", re.IGNORECASE
)


def severe_events(sessions: Sessions, vocabulary: EventVocabulary) -> npt.NDArray[np.bool_]:
    """The events most records of which have the level of an error; without levels, those whose template says so.

    Returns:
        bool (V,).
    """
    severe = np.zeros(len(vocabulary), dtype=np.bool_)
    level = pl.col("severity")
    levels = sessions.records.group_by("event_id").agg(
        level.is_in(_SEVERE).fill_null(False).mean().alias("share"),
        (~level.is_in(_SEVERE + _HARMLESS)).fill_null(True).all().alias("unknown"),
    )
    for event, share, unknown in levels.iter_rows():
        severe[event] = bool(_FAILED.search(vocabulary.template(event))) if unknown else share > 0.5
    return severe
