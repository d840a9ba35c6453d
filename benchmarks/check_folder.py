"""How much of a folder of mixed logs is read right, by detection alone: compared with the truth of `mixed_folder`.

What is a matter of taste counts as right:

- A service may be named by the path or by the program in the syslog, in any case.
- A time is the innermost one or that of the container runtime, to a millisecond.
- NOTICE is INFO, and nginx' `crit` is ERROR or FATAL; an access line has the severity of its status.
- Of an access line, the body is method, path and class of the status, as docs/formats.md says.
- The body of a record over several lines is its first line that says something, and the exceptions and top frames of a
  stack trace behind it; then its text must have all lines of the record, but for empty ones.
- Secrets are replaced.

A row says, per service and in all, which share of the records is right in what, and how many templates `parse` finds.
Those of a service are those of its records; what several services share counts once in all.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl
from mixed_folder import SESSION_KEY, Truth, make_folder, truth_of

from enhanced_deeplog import read_records
from enhanced_deeplog.config import Config
from enhanced_deeplog.logs.parsing import parse_records
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.session_rules import choose_rules
from enhanced_deeplog.redaction import Redactor

__all__ = ["ASPECTS", "Outcome", "check_folder"]

ASPECTS = ("service", "time", "severity", "body")
_RESULTS = Path(__file__).parent / "results" / "mixed_folder.jsonl"
_TOLERANCE_US = 1_000
_N_EXAMPLES = 3
_REQUEST = re.compile(r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) ')
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_IN_SHORT = re.compile(r"(?: [\w.$]+(?:Error|Exception|Throwable))*(?: at [^ ]+)*")


@dataclass
class Outcome:
    """What was right.

    Attributes:
        n: Records, by service.
        right: Of them, by service and aspect; `all` is right in every aspect.
        templates: By service: how many the programs have, and how many were found; "" stands for the whole folder.
        key: Name of the session key that detection chooses.
        key_share: Of the records that show their request, the share that has it as session key.
        examples: Some records that are wrong, by service and aspect: what is true, and what was read.
    """

    n: Counter[str] = field(default_factory=Counter)
    right: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    templates: dict[str, tuple[int, int]] = field(default_factory=dict)
    key: str | None = None
    key_share: float = 0.0
    examples: dict[tuple[str, str], list[tuple[object, object]]] = field(default_factory=lambda: defaultdict(list))

    def share(self, aspect: str, service: str = "") -> float:
        """The share of the records, of a service or of all, that is right in an aspect."""
        services = [service] if service else list(self.n)
        return sum(self.right[name][aspect] for name in services) / sum(self.n[name] for name in services)


def check_folder(folder: Path, *, parse: bool = True) -> Outcome:
    """Read a folder that `make_folder` wrote, and compare.

    Args:
        folder: The folder; the truth lies beside it.
        parse: Whether to look at templates and the session key, too.
    """
    outcome = Outcome()
    true_templates: dict[str, set[str]] = defaultdict(set)
    found_templates: dict[str, set[str]] = defaultdict(set)
    records = read_records(folder, evidence="full")
    parsed: dict[str, dict[int, str | None]] = {}
    if parse:
        outcome.key = choose_rules(records, Config().sessions)[0].key
        records = records.with_session_key(outcome.key)
        parsed = _templates(read_records(folder))
    n_requests = n_keys = 0
    for (path, truths), rows in zip(_by_file(folder), _read(records, parsed), strict=True):
        lines = (folder / path).read_bytes().decode("utf-8", "replace").split("\n")  # a runtime cuts within characters
        bodies = _redacted([_first_line(truth["body"]) for truth in truths])
        for truth, true_body in zip(truths, bodies, strict=True):
            row, service = rows.get(truth["first"]), truth["service"]
            outcome.n[service] += 1
            true_templates[service].add(truth["template"])
            wrong = _wrong(truth, true_body, row, lines)
            for aspect in ASPECTS:
                if aspect not in wrong:
                    outcome.right[service][aspect] += 1
                elif len(outcome.examples[service, aspect]) < _N_EXAMPLES:
                    outcome.examples[service, aspect].append((truth, row))
            outcome.right[service]["all"] += not wrong
            if row is not None:
                found_templates[service].add(row["template"])
                if truth["request"]:
                    n_requests += 1
                    n_keys += row["session_key"] is not None and truth["request"] in row["session_key"]
    outcome.key_share = n_keys / max(n_requests, 1)
    every = {service: (len(true_templates[service]), len(found_templates[service])) for service in outcome.n}
    found = set.union(*found_templates.values())
    outcome.templates = {**every, "": (sum(true for true, _ in every.values()), len(found))}
    return outcome


def _by_file(folder: Path) -> Iterator[tuple[str, list[Truth]]]:
    files = {path: list(truths) for path, truths in groupby(truth_of(folder), itemgetter("file"))}
    for path in sorted(files, key=lambda path: str(folder / path)):  # as the sources come
        yield path, files[path]


def _templates(records: LogRecords) -> dict[str, dict[int, str | None]]:
    """The template of each record, by its source and line."""
    templates: dict[str, dict[int, str | None]] = defaultdict(dict)
    for batch in parse_records(records, Config()):
        for source, line, template in batch.select("source", "line", "template").iter_rows():
            templates[source][line] = template
    return templates


def _read(records: LogRecords, templates: dict[str, dict[int, str | None]]) -> Iterator[dict[int, dict[str, Any]]]:
    """The records of each file, by the numbers of their lines, with their templates."""
    for of_file in records.apart():
        frame = pl.concat(list(of_file)).with_columns(
            time=pl.col("timestamp").dt.epoch("us")
        ).select("line", "service", "component", "time", "severity", "body", "text", "session_key")  # fmt: skip
        of_source = templates.get(of_file.sources[0].name, {})
        yield {row["line"]: {**row, "template": of_source.get(row["line"])} for row in frame.iter_rows(named=True)}


def _redacted(texts: list[str]) -> list[str]:
    return Redactor().redact(pl.Series(texts, dtype=pl.String)).to_list()


def _first_line(body: str) -> str:
    return next((line.strip() for line in body.split("\n") if line.strip()), "")


def _wrong(truth: Truth, true_body: str, row: dict[str, Any] | None, lines: list[str]) -> set[str]:
    """The aspects in which a record is wrong; all of them if it isn't there."""
    if row is None:
        return set(ASPECTS)
    request = _REQUEST.match(truth["body"]) if truth["service"] in ("storefront", "nginx") else None
    right = {
        "service": truth["service"] in (row["service"], (row["component"] or "").lower()),
        "time": row["time"] is not None
        and any(t is not None and abs(row["time"] - t) <= _TOLERANCE_US for t in (truth["time"], truth["written"])),
        "severity": _same_severity(truth, row, request),
        "body": _same_body(true_body, row["body"], request) and _same_text(_text(truth, lines), row["text"]),
    }
    return {aspect for aspect, is_right in right.items() if not is_right}


def _text(truth: Truth, lines: list[str]) -> str:
    return "\n".join(line for line in lines[truth["first"] - 1 : truth["last"]] if line.strip(" \t"))


def _same_text(true_text: str, text: str) -> bool:
    if "\ufffd" not in true_text:
        return text == true_text
    return _FOREIGN.sub("", text) == _FOREIGN.sub("", true_text)  # characters that were cut are whole in what is read


def _same_severity(truth: Truth, row: dict[str, Any], request: re.Match[str] | None) -> bool:
    read = "INFO" if row["severity"] == "NOTICE" else row["severity"]
    if request:
        return bool(read == {"5": "ERROR", "4": "WARN"}.get(request["status"][0], "INFO"))
    if read == "FATAL" and "[crit]" in row["text"]:
        read = "ERROR"
    return bool(read == truth["severity"])


def _same_body(true_body: str, body: str, request: re.Match[str] | None) -> bool:
    if request:
        asked = re.sub(r" HTTP/[0-9.]+$", "", request["request"]).split("?")[0]
        return body == f"{asked} {request['status'][0]}xx"
    body = body.strip()
    return body.startswith(true_body) and _IN_SHORT.fullmatch(body[len(true_body) :]) is not None


# ---------------------------------------------------------------------------------------------------------------------


def _row(outcome: Outcome, seed: int, records: int) -> dict[str, Any]:
    def shares(service: str) -> dict[str, Any]:
        true, found = outcome.templates[service]
        n = outcome.n[service] if service else outcome.n.total()
        aspects = {aspect: round(outcome.share(aspect, service), 6) for aspect in (*ASPECTS, "all")}
        return {"n": n, **aspects, "true_templates": true, "templates": found}

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "seed": seed,
        "records": records,
        "session_key": outcome.key,
        "session_key_share": round(outcome.key_share, 6),
        "known_key": SESSION_KEY,
        "overall": shares(""),
        "services": {service: shares(service) for service in sorted(outcome.n)},
    }


def main() -> None:
    """Make the folder if it isn't there, check it, and print the row; keep it, if asked to."""
    parser = argparse.ArgumentParser(
        description="Read a folder of mixed logs by detection alone, compare with the truth."
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/mixed-folder"))  # noqa: S108 - of a benchmark
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help=f"append the row to {_RESULTS.name}")
    parser.add_argument("--examples", action="store_true", help="show some records that are wrong")
    options = parser.parse_args()
    folder = options.folder / f"{options.records}-{options.seed}"
    if not folder.exists():
        make_folder(folder, options.records, options.seed)
    outcome = check_folder(folder)
    row = _row(outcome, options.seed, options.records)
    for name, of in [*row["services"].items(), ("in all", row["overall"])]:
        aspects = "  ".join(f"{aspect} {of[aspect]:8.3%}" for aspect in (*ASPECTS, "all"))
        sys.stdout.write(
            f"{name:22} {of['n']:>8}  {aspects}  templates {of['templates']:>4} of {of['true_templates']}\n"
        )
    sys.stdout.write(f"session key {row['session_key']}, right in {row['session_key_share']:.2%}\n")
    if options.examples:
        for (service, aspect), cases in outcome.examples.items():
            for truth, found in cases:
                sys.stdout.write(f"--- {service} {aspect}\n  true {truth!r:.700}\n  read {found!r:.900}\n")
    if options.keep:
        with _RESULTS.open("a", encoding="utf-8") as results:
            results.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
