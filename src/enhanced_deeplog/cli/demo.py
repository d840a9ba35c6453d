"""`demo`: the whole method on a log whose faults are known, without being told of them."""

from __future__ import annotations

import importlib.util
import json as json_format
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.options import Json, Settings, Workers
from enhanced_deeplog.cli.terminal import message, progress, shown, write_lines, write_screen
from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.findings import NORMAL, UNKNOWN_CLASS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from enhanced_deeplog.findings import AnomalyClass, Finding
    from enhanced_deeplog.simulator import Simulation

__all__ = ["demo"]

_NO_FAULT = "normal"


def demo(
    settings: Settings,
    *,
    output_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where log, truth, findings and summary are left.")
    ] = Path("demo-output"),
    n_records: Annotated[int, typer.Option("--records", metavar="N", min=1000, help="Length of the log.")] = 60_000,
    json: Json = False,
    workers: Workers = 0,
) -> None:
    """Run the whole method on a simulated service with faults of known kinds, and compare."""
    from enhanced_deeplog.cli.fitting import check_training_packages
    from enhanced_deeplog.cli.known import Known
    from enhanced_deeplog.cli.options import Reading
    from enhanced_deeplog.cli.reporting import check_page, reported_on, write_page
    from enhanced_deeplog.courses import KeptCourses
    from enhanced_deeplog.output import check_directory, write_findings

    began = time.monotonic()
    check_training_packages()
    check_directory(output_dir)
    page = output_dir / "report.html" if importlib.util.find_spec("plotly") is not None else None
    if page is not None:
        check_page(page)
    courses = KeptCourses()
    config = settings.read()
    with progress() as report:
        report("an order service writes its log", None)
        simulation = _simulate(n_records, config.seed, output_dir)
        message(f"{len(simulation.lines):,} records written to {output_dir / 'service.log'}.")

        from enhanced_deeplog.detector import EnhancedDeepLog
        from enhanced_deeplog.logs.records import read_records

        records = read_records(output_dir / "service.log", source_name="service.log")
        model = EnhancedDeepLog(config, progress=report).fit(records, workers=workers)
        report("judging", None)
        verdicts = model.classify(records, every_session=True, workers=workers, courses=courses)
    findings = [verdict for verdict in verdicts if verdict.is_anomaly]
    write_findings(findings, output_dir / "findings.jsonl")
    truth = {key: simulation.faults.get(key, "") for key in simulation.session_keys}
    if page is not None:
        nothing_said = Known.read(None, None, show_expected=True)
        nothing_said.open(model.classes)
        reported = reported_on(model, verdicts, courses, nothing_said, Reading(), ["service.log"])
        write_page(replace(reported, truth=truth), page)
    else:
        message("No report.html: plotly can't be found. Install it: pip install 'enhanced-deeplog[report]'.")
    found = _by_session(verdicts)
    summary = {
        **_agreement(simulation, found),
        "n_records": len(simulation.lines),
        "n_findings": len(findings),
        "seed": config.seed,
        "seconds": round(time.monotonic() - began, 1),
    }
    _write_summary(summary, output_dir)
    if json:
        write_lines([json_format.dumps(summary)])
        return
    write_screen(*_screen(simulation, found, findings, model.classes, summary))
    left = ["report.html"] * (page is not None) + ["service.log", "truth.json", "findings.jsonl", "summary.json"]
    message(f"Left in {output_dir}: {', '.join(left)}.")


def _simulate(n_records: int, seed: int, directory: Path) -> Simulation:
    from enhanced_deeplog.simulator import simulate, write_simulation

    simulation = simulate(n_records=n_records, seed=seed)
    try:
        write_simulation(simulation, directory)
    except OSError as error:
        raise UsageError(f"{directory}: expected to be able to write there, but: {error.strerror}.") from None
    return simulation


def _write_summary(summary: Mapping[str, Any], directory: Path) -> None:
    from enhanced_deeplog.output import write_text

    write_text(json_format.dumps(summary, indent=2) + "\n", directory / "summary.json")


def _by_session(verdicts: Sequence[Finding]) -> dict[str, Finding]:
    """The verdict on each session; of a session in several parts, that on the oddest one."""
    by_key: dict[str, Finding] = {}
    for verdict in verdicts:
        known = by_key.get(verdict.session_key)
        if known is None or verdict.score > known.score:
            by_key[verdict.session_key] = verdict
    return by_key


def _agreement(simulation: Simulation, found: Mapping[str, Finding]) -> dict[str, Any]:
    """How well what was found agrees with what was injected."""
    from enhanced_deeplog.learning.metrics import adjusted_rand_index, precision_recall_f1

    keys = simulation.session_keys
    kinds = [simulation.faults.get(key, _NO_FAULT) for key in keys]
    classes = [found[key].anomaly_class if key in found else NORMAL for key in keys]
    abnormal = [i for i, kind in enumerate(kinds) if kind != _NO_FAULT]
    quality = precision_recall_f1([kind != _NO_FAULT for kind in kinds], [one != NORMAL for one in classes])
    of_abnormal = [kinds[i] for i in abnormal], [classes[i] for i in abnormal]
    return {
        "ari": round(adjusted_rand_index(kinds, classes), 4),
        "ari_abnormal": round(adjusted_rand_index(*of_abnormal), 4) if abnormal else None,
        "kinds_injected": len(set(simulation.faults.values())),
        "kinds_found": len({one for one in classes if one > NORMAL}),
        "precision": round(quality.precision, 4),
        "recall": round(quality.recall, 4),
        "f1": round(quality.f1, 4),
        "n_sessions": len(keys),
        "n_abnormal_injected": len(abnormal),
    }


# --- The screen ---------------------------------------------------------------------------------------------


def _screen(
    simulation: Simulation,
    found: Mapping[str, Finding],
    findings: Sequence[Finding],
    classes: Sequence[AnomalyClass],
    summary: Mapping[str, Any],
) -> Iterator[RenderableType]:
    from rich.text import Text

    from enhanced_deeplog.cli.tables import share

    yield Text("Kinds found, without labels", "bold")
    yield from _kinds(findings, classes)
    yield Text("Against the truth: sessions by found kind and injected fault", "bold")
    yield _crosstab(simulation, found, classes)
    yield Text(
        f"Agreement of kinds (ARI): {summary['ari']:.3f} over all {summary['n_sessions']:,} sessions, "
        f"{summary['ari_abnormal'] or 0:.3f} over the {summary['n_abnormal_injected']:,} with a fault."
    )
    yield Text(f"Kinds: {summary['kinds_found']} found, {summary['kinds_injected']} injected.")
    yield Text(
        f"Detection: precision {share(summary['precision'])}, recall {share(summary['recall'])}, "
        f"F1 {summary['f1']:.3f}. {summary['seconds']:.0f} s in all."
    )


def _kinds(findings: Sequence[Finding], classes: Sequence[AnomalyClass]) -> Iterator[RenderableType]:
    """Count, mean confidence, telling templates and example lines of each kind."""
    from rich.text import Text

    from enhanced_deeplog.cli.tables import Entry, entry_list, share

    entries = []
    for one in classes:
        members = [finding for finding in findings if finding.anomaly_class == one.id]
        confidence = sum(finding.confidence for finding in members) / max(len(members), 1)
        cells = Text(str(one.id)), Text(f"{len(members):,}"), Text(share(confidence) if members else "")
        telling = [shown(f"{share(part):>5}  {template}", limit=300) for template, part in one.templates]
        examples = [shown(f"       {line}", "dim", limit=300) for line in one.examples]
        entries.append(Entry(cells, shown(one.name, "bold", limit=200), (*telling, *examples)))
    n_unknown = sum(finding.anomaly_class == UNKNOWN_CLASS for finding in findings)
    if n_unknown:
        entries.append(Entry((Text("-"), Text(f"{n_unknown:,}"), Text()), Text("unknown: like none of them", "bold")))
    return entry_list((">class", ">sessions", ">confidence"), "kind, what tells it, and lines of an example", entries)


def _crosstab(simulation: Simulation, found: Mapping[str, Finding], classes: Sequence[AnomalyClass]) -> RenderableType:
    from enhanced_deeplog.cli.tables import table

    counts = Counter(
        (found[key].anomaly_class if key in found else NORMAL, simulation.faults.get(key, _NO_FAULT))
        for key in simulation.session_keys
    )
    kinds = [_NO_FAULT, *sorted(set(simulation.faults.values()))]
    made = table("found", *(f">{kind.replace('_', chr(10))}" for kind in kinds))
    names = {NORMAL: "normal", **{one.id: f"{one.id}" for one in classes}, UNKNOWN_CLASS: "unknown"}
    for anomaly_class, name in names.items():
        row = [counts[anomaly_class, kind] for kind in kinds]
        if any(row) or anomaly_class != UNKNOWN_CLASS:
            made.add_row(name, *(f"{n:,}" if n else "." for n in row))
    return made
