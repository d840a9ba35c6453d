"""From a log without labels to the abnormal sessions, their kinds, the lines they show on, and why."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enhanced_deeplog.bundle import load_bundle, save_bundle
    from enhanced_deeplog.config import Config
    from enhanced_deeplog.detector import EnhancedDeepLog
    from enhanced_deeplog.errors import EnhancedDeepLogError
    from enhanced_deeplog.findings import AnomalyClass, Evidence, Finding, SequenceVerdict
    from enhanced_deeplog.logs.records import LogRecords, read_records
    from enhanced_deeplog.stream import StreamingClassifier

__all__ = [
    "AnomalyClass",
    "Config",
    "EnhancedDeepLog",
    "EnhancedDeepLogError",
    "Evidence",
    "Finding",
    "LogRecords",
    "SequenceVerdict",
    "StreamingClassifier",
    "load_bundle",
    "read_records",
    "save_bundle",
]

__version__ = "0.1.0"

# Resolved on first use (PEP 562): importing the package costs nothing until something of it is needed.
_HOMES = {
    "AnomalyClass": "findings",
    "Config": "config",
    "EnhancedDeepLog": "detector",
    "EnhancedDeepLogError": "errors",
    "Evidence": "findings",
    "Finding": "findings",
    "LogRecords": "logs.records",
    "SequenceVerdict": "findings",
    "StreamingClassifier": "stream",
    "load_bundle": "bundle",
    "read_records": "logs.records",
    "save_bundle": "bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
