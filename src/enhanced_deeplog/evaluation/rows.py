"""Rows that `evaluate --output` left in a file, read again: each is checked before a table or plot is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.foreign_text import printable

__all__ = ["read_rows"]

Row = dict[str, Any]

_Number = FiniteFloat | None
_Place = Annotated[int, Field(ge=0, le=10**9)]


class _Shape(BaseModel):
    """What tables and plots read of a row; whatever else a row holds may be there, too."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Detection(_Shape):
    precision: _Number = None
    recall: _Number = None
    f1: _Number = None
    pr_auc: _Number = None
    oracle_f1: _Number = None
    false_alarms_per_10_000: _Number = None
    alarm_rate_achieved: _Number = None


class _Kinds(_Shape):
    ari: _Number = None
    nmi: _Number = None
    purity: _Number = None
    macro_f1: _Number = None
    n_classes: _Number = None
    called_unknown: _Number = None


class _Confidence(_Shape):
    ece: _Number = None
    bins: list[Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]] = []


class _Loss(_Shape):
    training: list[FiniteFloat]
    held_out: list[FiniteFloat]


class _Confusion(_Shape):
    types: list[str]
    classes: Annotated[list[str], Field(min_length=2)]  # normal first, unknown last
    counts: list[list[_Place]]

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if [len(row) for row in self.counts] != [len(self.classes)] * len(self.types):
            raise ValueError("counts must have a row for each type and a column for each class")
        return self


class _ClassMap(_Shape):
    x: list[FiniteFloat]
    y: list[FiniteFloat]
    classes: list[_Place] = Field(alias="class")
    types: list[_Place] = Field(alias="type")
    spread: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len({len(self.x), len(self.y), len(self.classes), len(self.types)}) > 1:
            raise ValueError("x, y, class and type must be equally long")
        return self


class _Deploy(_Shape):
    n_changes: _Number = None
    new_findings: _Number = None
    recall_lost: _Number = None


class _Expected(_Shape):
    before: _Detection = _Detection()
    n_hidden: _Number = None
    n_hidden_abnormal: _Number = None
    n_alike_abnormal: _Number = None


class _Scorecard(_Shape):
    rank_correlation: _Number = None
    mean_difference: _Number = None


class _Row(_Shape):
    protocol: str
    seed: int
    system: str
    run: str | None = None
    config: dict[str, Any] = {}
    version: str = ""
    commit: str = ""
    data_differs: list[str] = []
    detection: _Detection = _Detection()
    detection_distinct: _Detection = _Detection()
    alarm_rate_asked: _Number = None
    pr_curve: list[Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]] = []
    loss: _Loss | None = None
    kinds: _Kinds = _Kinds()
    kinds_distinct: _Kinds = _Kinds()
    confusion: _Confusion | None = None
    class_map: _ClassMap | None = None
    confidence: _Confidence = _Confidence()
    deploy: _Deploy = _Deploy()
    expected: _Expected = _Expected()
    scorecard: _Scorecard = _Scorecard()
    left_out: str | None = None
    left_out_unknown: _Number = None
    left_out_normal: _Number = None
    known_unknown: _Number = None
    log: str = ""
    ga: _Number = None
    fga: _Number = None

    @model_validator(mode="after")
    def _check_map(self) -> Self:
        """A map speaks of classes and types by their places in the confusion matrix."""
        if self.class_map is not None:
            shown = self.confusion or _Confusion(types=[], classes=["", ""], counts=[])
            classes, types = self.class_map.classes, self.class_map.types
            if max(classes, default=-1) >= len(shown.classes) or max(types, default=-1) >= len(shown.types):
                raise ValueError("class_map has a class or type that confusion has not")
        return self


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order.

    Raises:
        InputError: If it can't be read, or a line of it is no row.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InputError(
            f"{printable(str(path))}: expected rows that 'enhanced-deeplog evaluate --output' wrote; the file can't be "
            f"read: {reason}. Give --rows a file of such rows."
        ) from None
    rows = [_read(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError(
            f"{printable(str(path))}: expected rows that 'enhanced-deeplog evaluate --output' wrote; there is none in "
            "it. Give --rows a file of such rows."
        )
    return rows


def _read(line: str, path: Path, number: int) -> Row:
    where = f"{printable(str(path))}, line {number}"
    try:
        row = json.loads(line, parse_constant=_refuse)
        if not isinstance(row, dict):
            raise ValueError(f"no JSON object: {printable(line, 60)}")
        _Row.model_validate(row)
    except ValidationError as error:
        raise InputError(_told(where, "; ".join(_reasons(error)[:3]))) from None
    except (ValueError, RecursionError) as error:  # what is no JSON is a ValueError
        raise InputError(_told(where, printable(str(error)))) from None
    return dict(row)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}, which JSON doesn't have")


def _reasons(error: ValidationError) -> Sequence[str]:
    return [
        f"{printable('.'.join(map(str, one['loc']))) or 'the row'}: {printable(one['msg'])}" for one in error.errors()
    ]


def _told(where: str, got: str) -> str:
    return (
        f"{where}: expected a row that 'enhanced-deeplog evaluate --output' wrote, a JSON object with protocol, seed "
        f"and system; got {got}. Take the line out, or give --rows another file."
    )
