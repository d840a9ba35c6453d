"""`evaluate`: the published protocols, with everything ours is compared with."""

from __future__ import annotations

import csv
import json as json_format
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enhanced_deeplog.cli.measured_screens import in_short, measured_screen
from enhanced_deeplog.cli.options import Json, Settings
from enhanced_deeplog.cli.reporting import check_report, earlier_rows, write_report
from enhanced_deeplog.cli.terminal import Progress, message, progress, write_lines, write_screen
from enhanced_deeplog.errors import InputError, UsageError

if TYPE_CHECKING:
    from enhanced_deeplog.config import Config
    from enhanced_deeplog.evaluation.datasets import Dataset
    from enhanced_deeplog.evaluation.protocol import Protocol

__all__ = ["evaluate"]

Row = dict[str, Any]


def evaluate(
    settings: Settings,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROTOCOL",
            help="hdfs, hdfs-sequences, openstack-nova, synthetic, service, parsing, all; or one of a data set's "
            "protocols, such as hdfs/time.",
        ),
    ] = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds the data sets.")] = Path("data"),
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="So many splits and initialisations.")] = 5,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Append the rows to this .jsonl file.")
    ] = None,
    export_splits: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the session keys of each split there instead, and measure nothing."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score another system instead: CSV with session_key, is_anomaly and, if there is one, score, for one "
            "protocol and the split of --seed.",
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch files that are missing, where they can be.")] = (
        False
    ),
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write tables and plots as one page, which needs no network."),
    ] = None,
    rows_file: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="FILE.jsonl",
            help="Measure nothing: take the rows that --output left, of the protocols that are named or of all.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure by the published protocols, beside baselines and peers, over several seeds.

    Nothing that is judged takes part in learning, but where a row says so (transductive).
    """
    from enhanced_deeplog.cli.fitting import check_training_packages
    from enhanced_deeplog.evaluation.datasets import DATASETS

    if report is not None:
        check_report(report, export_splits=export_splits, rows_file=rows_file)
    protocols = _named(names, needed=rows_file is None)
    if rows_file is not None:
        others = {"--output": output, "--export-splits": export_splits, "--predictions": predictions}
        _refuse({**others, "--download": download or None})
        _tell(earlier_rows(rows_file, [protocol.name for protocol in protocols]), report, json=json)
        return
    config = settings.read()
    sets = dict.fromkeys(protocol.dataset for protocol in protocols)
    differ = [path for name in sets for path in _make_sure_of(DATASETS[name], data, download=download)]
    first = config.seed
    if export_splits is not None:
        _export(protocols, data, range(first, first + seeds), export_splits)
        return
    _check_rows_file(output)
    if predictions is not None:
        rows = [_score(predictions, protocols, data, first)]
        _append(rows, output)
    else:
        check_training_packages()
        rows = _measure(protocols, data, config, seeds, output, {**_circumstances(config), "data_differs": differ})
    _tell(rows, report, json=json)


def _named(names: Sequence[str] | None, *, needed: bool) -> list[Protocol]:
    from enhanced_deeplog.evaluation.datasets import DATASETS
    from enhanced_deeplog.evaluation.protocol import PROTOCOLS, protocols_of

    valid = [*DATASETS, *(name for name in PROTOCOLS if name not in DATASETS), "all"]
    if unknown := [name for name in names or () if name not in valid]:
        raise UsageError(f"No protocol is called {unknown[0]!r}. There are: {', '.join(valid)}.")
    if needed and not names:
        raise UsageError(
            f"evaluate needs to know what to measure: {', '.join(valid)}; or --rows FILE, to measure nothing."
        )
    return protocols_of(names or ())


def _refuse(others: Mapping[str, object]) -> None:
    if given := [option for option, value in others.items() if value is not None]:
        raise UsageError(f"--rows measures nothing, so {given[0]} has nothing to do. Leave one of them out.")


def _tell(rows: Sequence[Row], report: Path | None, *, json: bool) -> None:
    """What was measured, in each form that was asked for."""
    if report is not None:
        write_report(rows, report)
    if json:
        write_lines(json_format.dumps(row, allow_nan=False) for row in rows)
    else:
        write_screen(*measured_screen(rows))


def _measure(
    protocols: Sequence[Protocol], data: Path, config: Config, seeds: int, output: Path | None, circumstances: Row
) -> list[Row]:
    rows: list[Row] = []
    with progress() as report:
        for protocol in protocols:
            for seed in range(config.seed, config.seed + (seeds if protocol.split is not None else 1)):
                where = f"{protocol.name}, seed {seed}"
                found = protocol.run(data, seed, config, _in(where, report))
                found = [{**row, **circumstances} for row in found]
                _append(found, output)
                rows += found
                message(f"{where}: {in_short(found)}")
    return rows


def _in(where: str, report: Progress) -> Progress:
    return lambda stage, share: report(f"{where}: {stage}", share)


def _make_sure_of(dataset: Dataset, folder: Path, *, download: bool) -> list[str]:
    """Paths of files that differ from those of published figures."""
    if download:
        with progress() as report:
            dataset.download(folder, on_file=lambda path: report(f"fetching {path}", None))
    differ = dataset.check(folder)
    for path in differ:
        message(f"Note: {folder / path} is not the file that published figures were measured on (its SHA-256 differs).")
    return differ


def _circumstances(config: Any) -> Row:
    """What a row must say to be measured again: settings that are no defaults, versions, and which run it is of."""
    import platform
    from datetime import UTC, datetime
    from importlib.metadata import version

    from enhanced_deeplog import __version__

    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(exclude_defaults=True, exclude={"seed"}, mode="json"),
        "version": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "polars", "scikit-learn", "numpy")},
    }


def _commit() -> str:
    """The commit of the checkout that this package is developed in; "" for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        return ""
    return _git(root, "describe", "--always", "--dirty")


def _git(root: Path, *words: str) -> str:
    import subprocess

    try:
        told = subprocess.run(  # noqa: S603  # a fixed command line
            ["git", "-C", str(root), *words],  # noqa: S607  # whichever git there is
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git
        return ""
    return told.stdout.strip()


def _check_rows_file(output: Path | None) -> None:
    if output is not None:
        if output.suffix != ".jsonl":
            raise UsageError(f"--output {output}: expected a name that ends in .jsonl; rows are appended to it.")
        _append([], output)


def _append(rows: Sequence[Row], output: Path | None) -> None:
    """At once: what took minutes to measure isn't lost with what comes after it."""
    if output is None:
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a", encoding="utf-8") as file:
            file.writelines(json_format.dumps(row, allow_nan=False) + "\n" for row in rows)
    except OSError as error:
        raise UsageError(f"--output {output}: expected to be able to write there, but: {error.strerror}.") from None


# --- Splits and other systems -----------------------------------------------------------------------------------


def _export(protocols: Sequence[Protocol], data: Path, seeds: range, directory: Path) -> None:
    """One CSV a protocol and seed: what each session is for. Its type is told for those that are judged."""
    from enhanced_deeplog.output import check_directory

    check_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for protocol in protocols:
        if protocol.split is None:
            message(f"{protocol.name} has no split.")
            continue
        for seed in seeds:
            split = protocol.split(data, seed)
            path = directory / f"{protocol.name.replace('/', '-')}-{seed}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["session_key", "role", "type"])
                for role, records in (("normal", split.normal), ("mixed", split.mixed)):
                    if records is not None:
                        writer.writerows([key, role, ""] for key in _keys(records))
                judged = set(_keys(split.judged))
                writer.writerows([key, "judged", of_type] for key, of_type in split.truth.items() if key in judged)
            until = f" What is learnt from ends with {split.learnt_until}." if split.learnt_until else ""
            message(f"{path} written.{until}")


def _keys(records: Any) -> list[str]:
    """Session keys in the order of their first record."""
    keys: dict[str, None] = {}
    for batch in records:
        keys |= dict.fromkeys(batch["session_key"].drop_nulls().unique(maintain_order=True))
    return list(keys)


def _score(path: Path, protocols: Sequence[Protocol], data: Path, seed: int) -> Row:
    """What another system says, by the protocol's own measures."""
    import numpy as np

    from enhanced_deeplog.evaluation.measures import detection_measures

    if len(protocols) != 1 or protocols[0].split is None:
        found = ", ".join(protocol.name for protocol in protocols)
        raise UsageError(f"--predictions needs one protocol with a split; these were named: {found}.")
    split = protocols[0].split(data, seed)
    judged = [key for key in _keys(split.judged) if key in split.truth]
    told = _read_predictions(path, with_keys=judged)
    truth = np.array([split.truth[key] != "" for key in judged])
    is_anomaly, scores = np.array([told[key] for key in judged], dtype=np.float64).T
    return {
        "protocol": protocols[0].name,
        "seed": seed,
        "system": f"predictions {path.name}",
        "detection": detection_measures(truth, is_anomaly > 0, scores),
    }


_YES, _NO = {"1", "true", "yes"}, {"0", "false", "no"}


def _read_predictions(path: Path, *, with_keys: Sequence[str]) -> dict[str, tuple[bool, float]]:
    told: dict[str, tuple[bool, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if not {"session_key", "is_anomaly"} <= set(columns):
                raise InputError(
                    f"{path}: expected the columns session_key and is_anomaly (and score, if there is one); "
                    f"got {', '.join(columns) or 'none'}."
                )
            for row in reader:
                is_anomaly = (row["is_anomaly"] or "").strip().lower()
                score = _number(row.get("score") or ("1" if is_anomaly in _YES else "0"))
                if is_anomaly not in _YES | _NO or score is None:
                    raise InputError(
                        f"{path}, line {reader.line_num}: expected is_anomaly to be true or false and score a number; "
                        f"got {row['is_anomaly']!r} and {row.get('score')!r}."
                    )
                told[row["session_key"]] = (is_anomaly in _YES, score)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file of predictions; it can't be read: {error}.") from None
    if missing := [key for key in with_keys if key not in told]:
        raise InputError(
            f"{path}: expected a prediction for each of {len(with_keys):,} judged sessions; {len(missing):,} have "
            f"none, such as {missing[0]!r}. --export-splits writes which sessions are judged."
        )
    return told


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
