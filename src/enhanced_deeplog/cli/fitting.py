"""`fit` and `analyze`: learn from logs."""

from __future__ import annotations

import importlib.util
import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enhanced_deeplog.cli.judging import All, FailOn, hand_over
from enhanced_deeplog.cli.options import (
    Files,
    Json,
    Output,
    Reading,
    Settings,
    Workers,
    check_standard_input,
)
from enhanced_deeplog.cli.terminal import message, progress, tell_of_misread, write_lines, write_screen
from enhanced_deeplog.errors import UsageError

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog
    from enhanced_deeplog.logs.records import LogRecords

__all__ = ["analyze", "check_training_packages", "fit"]

Normal = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Normal log: what is usual is learnt from it alone. Repeatable."),
]
Overwrite = Annotated[bool, typer.Option(help="Replace a bundle that is there.")]


def fit(
    reading: Reading,
    settings: Settings,
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="MIXED", help="Logs of unknown content: where kinds of anomaly are found."),
    ] = None,
    normal: Normal = None,
    bundle: Annotated[Path, typer.Option(metavar="DIR", help="Where to save what was learnt.")],
    keep_stages: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also leave the output of each stage here.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    workers: Workers = 0,
) -> None:
    """Learn what is normal and which kinds of anomaly there are, and save it as a bundle.

    Logs need no labels: what is rare among MIXED is not learnt from. --normal makes it surer.
    """
    if not files and not normal:
        raise UsageError("fit: expected logs to learn from; none were given. Give MIXED or --normal logs, or both.")
    _check_places(bundle, overwrite=overwrite, keep_stages=keep_stages)
    model = _fit(reading, settings, files, normal, workers)
    from enhanced_deeplog.bundle import save_bundle

    bundle_id = save_bundle(model, bundle, overwrite=overwrite)
    message(f"Bundle {bundle_id} saved to {bundle}.")
    if keep_stages is not None:
        model.save_stages(keep_stages)
        message(f"The output of each stage is in {keep_stages}.")
    if json:
        write_lines([json_format.dumps({"bundle_id": bundle_id, **model.summary})])
        return
    from enhanced_deeplog.cli.learnt import learnt_screen

    write_screen(*learnt_screen(model.summary, model.classes))


def analyze(
    files: Files,
    reading: Reading,
    settings: Settings,
    *,
    normal: Normal = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also save what was learnt, as `fit` does.")
    ] = None,
    overwrite: Overwrite = False,
    output: Output = None,
    every_session: All = False,
    fail_on: FailOn = False,
    json: Json = False,
    workers: Workers = 0,
) -> None:
    """Learn from the files themselves, and report what is abnormal in them."""
    if output is not None:
        reading.check_output(output, files, normal)
    _check_places(bundle, overwrite=overwrite)
    records = reading.records(files)
    model = _fit(reading, settings, files, normal, workers, records=records)
    if bundle is not None:
        from enhanced_deeplog.bundle import save_bundle

        model.bundle_id = save_bundle(model, bundle, overwrite=overwrite)
        message(f"Bundle {model.bundle_id} saved to {bundle}.")
    with progress() as report:
        report("judging", None)
        findings = model.classify(
            records, every_session=every_session, workers=workers, source_name=reading.logical_source
        )
    hand_over(findings, model.classes, output=output, every_session=every_session, json=json, fail_on=fail_on)


def _fit(
    reading: Reading,
    settings: Settings,
    files: list[str] | None,
    normal: list[str] | None,
    workers: int,
    *,
    records: LogRecords | None = None,
) -> EnhancedDeepLog:
    check_standard_input(files, normal)
    config = settings.read()
    mixed = records if records is not None else reading.records(files) if files else None
    usual = reading.records(normal) if normal else None
    check_training_packages()
    from enhanced_deeplog.detector import EnhancedDeepLog

    with progress() as report:
        model = EnhancedDeepLog(config, progress=report).fit(mixed, normal=usual, workers=workers)
    for given in (mixed, usual):
        if given is not None:
            tell_of_misread(given)
    return model


def _check_places(bundle: Path | None, *, overwrite: bool, keep_stages: Path | None = None) -> None:
    """What can't be written must be known before the work begins."""
    if bundle is not None:
        from enhanced_deeplog.bundle import check_bundle_path

        place = check_bundle_path(bundle, overwrite=overwrite)
        if keep_stages is not None and keep_stages.resolve() == place:
            raise UsageError(f"--keep-stages and --bundle are both {bundle}: expected two directories.")
    if keep_stages is not None:
        from enhanced_deeplog.output import check_directory

        check_directory(keep_stages)


def check_training_packages() -> None:
    """Say what is missing before anything is read.

    Raises:
        UsageError: If a package that learning needs is not installed.
    """
    needed = {"torch": "torch", "sklearn": "scikit-learn"}
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"Learning needs {' and '.join(missing)}, which can't be found. Install what is missing: "
            "pip install 'enhanced-deeplog[train]'. Judging by a bundle needs none of it."
        )
