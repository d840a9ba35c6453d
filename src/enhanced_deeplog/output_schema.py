"""The contract of a finding, made from its dataclasses: JSON Schema of its line, types of its columns."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Any, Literal

import polars as pl

from enhanced_deeplog.findings import SCHEMA_VERSION, Finding

__all__ = ["REASONS", "columns_of", "output_schema"]

REASONS = ("new_template", "sequence", "counts", "early_end", "timing", "values")

_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}
_COLUMN_TYPES: dict[Any, pl.DataType] = {
    int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean(), str: pl.String(), dict: pl.String(),
}  # fmt: skip
_FROM_1 = {"minimum": 1}
_SHARE = {"minimum": 0, "maximum": 1}
_TIMESTAMP = {"format": "date-time", "pattern": "Z$"}
_LIMITS: dict[str, dict[str, Any]] = {
    "schema_version": {"const": SCHEMA_VERSION},
    "id": {"pattern": "^[0-9a-f]{16}$"},
    "anomaly_class": {"minimum": -1},
    "n_records": {"minimum": 1},
    "event_id": {"minimum": 0},
    "position": {"minimum": 0},
    "byte_offset": {"minimum": 0},
    "template_id": {"pattern": "^[0-9a-f]{12}$"},
    "surprise": {"minimum": 0},
    "pause_s": {"minimum": 0},
    "place": {"minimum": 1},
    **dict.fromkeys(("line", "first_line", "last_line"), _FROM_1),
    **dict.fromkeys(("confidence", "probability", "usual_share"), _SHARE),
    **dict.fromkeys(("timestamp", "first_timestamp", "last_timestamp"), _TIMESTAMP),
}


def columns_of(shape: type) -> dict[str, pl.DataType]:
    """A dataclass as columns; times are still text."""
    return {
        name: pl.Struct(dict.fromkeys(REASONS, pl.Float64())) if name == "reasons" else _column_type(hint)
        for name, hint in typing.get_type_hints(shape).items()
    }


def _column_type(hint: Any) -> pl.DataType:
    if dataclasses.is_dataclass(hint):
        return pl.Struct(columns_of(typing.cast(type, hint)))
    if typing.get_origin(hint) is tuple:
        return pl.List(_column_type(typing.get_args(hint)[0]))
    if typing.get_origin(hint) is Literal:
        return pl.String()
    plain = _COLUMN_TYPES.get(typing.get_origin(hint) or hint)
    return plain if plain is not None else _column_type(_optional(hint))


def _optional(hint: Any) -> Any:
    """The X of `X | None`."""
    return next(one for one in typing.get_args(hint) if one is not types.NoneType)


def output_schema() -> dict[str, Any]:
    """JSON Schema of a line of `classify --output x.jsonl`; `docs/output.schema.json` holds the same.

    Source:
        JSON Schema, draft 2020-12.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A finding of Enhanced DeepLog",
        **_object(Finding),
    }


def _object(shape: type) -> dict[str, Any]:
    hints = typing.get_type_hints(shape)
    about = _attributes(shape.__doc__ or "")
    return {
        "description": (shape.__doc__ or "").split("\n")[0],
        "type": "object",
        "properties": {name: {"description": about[name], **_json_type(hint, name)} for name, hint in hints.items()},
        "required": [one.name for one in dataclasses.fields(shape) if one.default is dataclasses.MISSING],
        "additionalProperties": False,
    }


def _json_type(hint: Any, name: str = "") -> dict[str, Any]:
    limits = _LIMITS.get(name, {})
    if dataclasses.is_dataclass(hint):
        return _object(typing.cast(type, hint))
    if name == "reasons":
        shares = {"properties": {reason: {"type": "number", **_SHARE} for reason in REASONS}}
        return {"type": "object", **shares, "additionalProperties": False}
    if name == "class_probabilities":
        shares = {"patternProperties": {"^(-1|0|[1-9][0-9]*)$": {"type": "number", **_SHARE}}}
        return {"type": "object", **shares, "additionalProperties": False}
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _json_type(arguments[0])}
    if typing.get_origin(hint) is Literal:
        return {"enum": list(arguments)}
    if types.NoneType in arguments:
        return {"anyOf": [{**_json_type(_optional(hint), name)}, {"type": "null"}]}
    return {"type": _JSON_TYPES[hint], **limits}


def _attributes(docstring: str) -> dict[str, str]:
    """What the section `Attributes:` of a docstring says of each attribute."""
    section = re.split(r"\n +Attributes:\n", docstring, maxsplit=1)[-1]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
