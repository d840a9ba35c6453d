"""`fit` and `analyze`: learn from logs."""

from __future__ import annotations

import contextlib
import importlib.util
import json as json_format
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.judging import All, FailOn, hand_over
from enhanced_deeplog.cli.known import Known, ShowExpected
from enhanced_deeplog.cli.options import (
    CausesFile,
    Files,
    Json,
    KnowledgeFile,
    Output,
    Reading,
    Report,
    Settings,
    Workers,
    check_standard_input,
    rules_of,
)
from enhanced_deeplog.cli.reporting import check_page, reported_on, write_page
from enhanced_deeplog.cli.terminal import message, progress, tell_of_misread, write_lines, write_screen
from enhanced_deeplog.errors import EnhancedDeepLogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from enhanced_deeplog.causes import CauseRules
    from enhanced_deeplog.config import Config
    from enhanced_deeplog.detector import EnhancedDeepLog
    from enhanced_deeplog.differences import Differences
    from enhanced_deeplog.findings import AnomalyClass, Finding
    from enhanced_deeplog.logs.records import LogRecords

    Judge = Callable[..., list[Finding]]

__all__ = ["analyze", "check_training_packages", "fit"]

_FIRST_LOOK = 100_000  # records of a long input that are looked at first
_LONG = 500_000  # records of one

Normal = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Normal log: what is usual is learnt from it alone. Repeatable."),
]
NormalUntil = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Earlier than this, MIXED is normal: instead of --normal. Sessions are cut there."
    ),
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
    normal_until: NormalUntil = None,
    causes: CausesFile = None,
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
    config, of_mixed, usual = _settled(reading, settings, files, normal, normal_until)
    mixed = of_mixed.records(files) if files else None
    model = _fit(config, mixed, usual, workers, rules_of(causes))
    _tell_of_misread(mixed, None if normal_until else usual)  # of a file once
    from enhanced_deeplog.bundle import save_bundle

    bundle_id = save_bundle(model, bundle, overwrite=overwrite)
    message(f"Bundle {bundle_id} saved to {bundle}.")
    if keep_stages is not None:
        model.save_stages(keep_stages)
        message(f"The output of each stage is in {keep_stages}.")
    if json:
        found = reading.differences_to_show(model)
        compared = {} if found is None else {"differences": found.to_json()}
        write_lines([json_format.dumps({"bundle_id": bundle_id, **model.summary, **compared})])
        return
    _tell_of_differences(reading.differences_to_show(model), to_screen=True)
    from enhanced_deeplog.cli.learnt import learnt_screen

    write_screen(*learnt_screen(model.summary, model.classes))


def analyze(
    files: Files,
    reading: Reading,
    settings: Settings,
    *,
    normal: Normal = None,
    normal_until: NormalUntil = None,
    causes: CausesFile = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also save what was learnt, as `fit` does.")
    ] = None,
    overwrite: Overwrite = False,
    knowledge: KnowledgeFile = None,
    show_expected: ShowExpected = False,
    output: Output = None,
    report: Report = None,
    every_session: All = False,
    fail_on: FailOn = False,
    json: Json = False,
    workers: Workers = 0,
) -> None:
    """Learn from the files themselves, and report what is abnormal in them.

    With a normal log, what is new in them, what is gone and what changed in rate comes first.
    Of a long input, a first look at its beginning comes within a minute; Ctrl-C then keeps that.
    """
    if output is not None:
        reading.check_output(output, files, normal)
    if report is not None:
        check_page(report)
    _check_places(bundle, overwrite=overwrite)
    config, of_mixed, usual = _settled(reading, settings, files, normal, normal_until)
    mixed, rules = of_mixed.records(files), rules_of(causes)
    known = Known.read(bundle, knowledge, show_expected=show_expected)
    judge = partial(_judge, reading, known, every_session=every_session, workers=workers)
    say = partial(hand_over, output=output, every_session=every_session, json=json, fail_on=fail_on)
    first = _first_look(config, mixed, usual, workers, judge, rules, known) if _is_long(mixed) else None
    try:
        model = _fit(config, mixed, usual, workers, rules)
        _tell_of_misread(mixed, None if normal_until else usual)  # of a file once
        message(_learnt_from(model.summary, presumed=usual is None))
        if bundle is not None:
            from enhanced_deeplog.bundle import save_bundle

            model.bundle_id = save_bundle(model, bundle, overwrite=overwrite)
            message(f"Bundle {model.bundle_id} saved to {bundle}.")
        from enhanced_deeplog.courses import KeptCourses

        courses = KeptCourses(as_shown=known.view) if report is not None else None
        findings = judge(model, mixed, courses=courses)
    except KeyboardInterrupt:
        if first is not None:
            message(f"What follows is of the first {_FIRST_LOOK:,} records alone.")
            with contextlib.suppress(typer.Exit):  # that it was interrupted is said, whatever was found
                say(*first)
        raise
    known.tell()
    if report is not None and courses is not None:
        write_page(reported_on(model, findings, courses, known, reading, files), report)
    _tell_of_differences(reading.differences_to_show(model), to_screen=output is None and not json)
    say(findings, known.classes)


def _learnt_from(summary: dict[str, Any], *, presumed: bool) -> str:
    """What was chosen, where nothing was asked for."""
    of = f" of {summary['n_sessions']:,}, those that look usual in the log itself" if presumed else ", given as normal"
    return f"Sessions: {summary['session_key_reason']}. Learnt from {summary['n_normal_sessions']:,}{of}."


def _tell_of_differences(found: Differences | None, *, to_screen: bool) -> None:
    if found is None:
        return
    from enhanced_deeplog.cli.difference_screens import differences_screen, in_short

    if to_screen:
        write_screen(*differences_screen(found))
    else:
        message(in_short(found))


def _settled(
    reading: Reading, settings: Settings, files: list[str] | None, normal: list[str] | None, normal_until: str | None
) -> tuple[Config, Reading, LogRecords | None]:
    """The settings, how MIXED is read, and normal logs; whatever can be checked before anything is read is checked."""
    check_standard_input(files, normal)
    config = settings.read()
    if normal_until is None:
        usual = reading.records(normal) if normal else None
    elif normal or not files or "-" in files or reading.since is not None or reading.until is not None:
        raise UsageError(
            "--normal-until says which part of MIXED is normal: expected files to split, and no --normal, --since or "
            "--until beside it. Leave one of the two out; standard input can't be read twice."
        )
    else:
        usual = replace(reading, until=normal_until).records(files)
        reading = replace(reading, since=normal_until)
    check_training_packages()
    return config, reading, usual


def _first_look(
    config: Config,
    mixed: LogRecords,
    usual: LogRecords | None,
    workers: int,
    judge: Judge,
    rules: CauseRules,
    known: Known,
) -> tuple[list[Finding], Sequence[AnomalyClass]] | None:
    """Tell what is abnormal in the beginning of a long input, learnt from it alone; None: that is too little."""
    quick = config.learning.model_copy(update={"compare_window_sizes": ()})
    beginning = mixed.first(_FIRST_LOOK)
    try:
        quickly = config.model_copy(update={"learning": quick})
        model = _fit(quickly, beginning, usual and usual.first(_FIRST_LOOK), workers, rules)
        found = judge(model, beginning)
    except EnhancedDeepLogError as error:  # all of the input may do
        message(f"No first look at the first {_FIRST_LOOK:,} records: {error}")
        return None
    from enhanced_deeplog.cli.verdict_screens import findings_screen

    message(f"A first look, at the first {_FIRST_LOOK:,} records and learnt from them alone:")
    known.tell()
    write_screen(*findings_screen(found, classes=known.classes), to_stderr=True)
    message("Now all of them. Ctrl-C ends this and keeps the first look.")
    return found, known.classes


def _judge(
    reading: Reading, known: Known, model: EnhancedDeepLog, records: LogRecords, **options: Any
) -> list[Finding]:
    known.open(model.classes)
    with progress() as report:
        report("judging", None)
        findings = model.classify(records, source_name=reading.logical_source, **options)
    return [reading.to_show(finding) for finding in known.of(findings)]


def _tell_of_misread(*given: LogRecords | None) -> None:
    for records in given:
        if records is not None:
            tell_of_misread(records)


def _is_long(records: LogRecords) -> bool:
    """Whether judging all of them would keep somebody waiting."""
    return sum(map(len, records.first(_LONG + 1))) > _LONG


def _fit(
    config: Config, mixed: LogRecords | None, usual: LogRecords | None, workers: int, rules: CauseRules
) -> EnhancedDeepLog:
    from enhanced_deeplog.detector import EnhancedDeepLog

    with progress() as report:
        return EnhancedDeepLog(config, progress=report, cause_rules=rules).fit(mixed, normal=usual, workers=workers)


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
