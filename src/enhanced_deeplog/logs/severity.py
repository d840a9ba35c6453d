"""Which events say of themselves that something failed."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.logs.sessions import Sessions

__all__ = ["SEVERE_LEVELS", "may_fail", "severe_events"]

SEVERE_LEVELS = (
    "ERROR",
    "ERR",
    "SEVERE",
    "FAILURE",
    "FATAL",
    "CRIT",
    "CRITICAL",
    "ALERT",
    "EMERG",
    "EMERGENCY",
    "PANIC",
)
_HARMLESS = ("TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING")
# Only where records have no level that we know: a text that mentions an error is no error if its level is INFO.
_FAILED = re.compile(
    r"(?<!\bno )(?:error|exception)s?\b|\b(?:fatal|panic|traceback|fail|abort|crash|refused|timed out)", re.IGNORECASE
)
# Words that may tell of a failure, whatever the level: not to be taken for a step that is merely new.
_MAY_FAIL = re.compile(
    _FAILED.pattern
    + r"|time-?out|refus|reject|den(?:y|ied)|declin|unavailable|unreachable|lost|missing|cannot|can't|could not|unable"
    r"|invalid|corrupt|retr(?:y|ie)|exceed|exhaust|overload|throttl|kill|dead|degraded|unexpected|not found|no such"
    r"|down\b",
    re.IGNORECASE,
)
_WARNING = ("WARN", "WARNING")


def may_fail(levels: Iterable[str | None], template: str) -> bool:
    """Whether an event may tell of a failure: by a level that is none of the harmless ones, or by its words.

    Args:
        levels: Of its records; None where a record has none.
        template: Its text.

    Example:
        >>> may_fail(["INFO"], "order <*> is known to fulfilment"), may_fail(["INFO"], "payment <*> was declined")
        (False, True)
    """
    harmless = all(level is None or (level in _HARMLESS and level not in _WARNING) for level in levels)
    return not harmless or bool(_MAY_FAIL.search(template))


def severe_events(sessions: Sessions, vocabulary: EventVocabulary) -> npt.NDArray[np.bool_]:
    """The events most records of which have the level of an error; without levels, those whose template says so.

    Returns:
        bool (V,).
    """
    severe = np.zeros(len(vocabulary), dtype=np.bool_)
    level = pl.col("severity")
    levels = sessions.records.group_by("event_id").agg(
        level.is_in(SEVERE_LEVELS).fill_null(False).mean().alias("share"),
        (~level.is_in(SEVERE_LEVELS + _HARMLESS)).fill_null(True).all().alias("unknown"),
    )
    for event, share, unknown in levels.iter_rows():
        severe[event] = bool(_FAILED.search(vocabulary.template(event))) if unknown else share > 0.5
    return severe
