"""Write the tables of figures in README.md, README.zh-CN.md and docs/evaluation.md from the rows that `evaluate` and
ablation.py left.

python benchmarks/figures.py
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enhanced_deeplog.evaluation.figures import OURS, Measured, measured, published

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "results" / "evaluation.jsonl"
ABLATION = ROOT / "benchmarks" / "results" / "ablation.jsonl"
Row = dict[str, Any]

WORDS = {
    "en": ("figure", "mean", "from ... to", "seeds", "aimed at"),
    "zh": ("指标", "平均", "范围", "种子数", "目标"),
}
ABLATION_COLUMNS = {
    "f1": "F1 of detection",
    "ari": "ARI",
    "ari_distinct": "ARI, distinct",
    "n_classes": "classes",
    "ece": "ECE",
    "same_at_half": "same kind half-way",
}
SYSTEM_COLUMNS = ("precision", "recall", "f1", "pr_auc", "oracle_f1", "false_alarms_per_10_000")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def goal(one: Measured) -> str:
    figure = one.figure
    if figure.within is not None:
        return f"{figure.within:g} ... {figure.bar:g}"
    return f"{'≤' if figure.smaller_is_better else '≥'} {figure.bar:g}"


def figures(rows: Sequence[Row], language: str) -> str:
    cells = [
        (
            one.figure.about,
            f"{one.mean:.3g}" if one.mean < 0.01 else f"{one.mean:.3f}",
            f"{min(one.values):.3g} ... {max(one.values):.3g}",
            str(len(one.values)),
            goal(one),
        )
        for one in measured(rows)
    ]
    return table(WORDS[language], cells)


def systems(rows: Sequence[Row]) -> str:
    """Of each protocol of detection, ours beside every peer: means over seeds."""
    parts = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows if "detection" in row):
        of_protocol = [row for row in rows if row["protocol"] == protocol and "detection" in row]
        if len({row["system"] for row in of_protocol}) == 1:  # transductive: nothing to compare with
            continue
        lines = []
        for system in dict.fromkeys(row["system"] for row in of_protocol):
            found = [row["detection"] for row in of_protocol if row["system"] == system]
            distinct = [row["detection_distinct"]["f1"] for row in of_protocol if row["system"] == system]
            means = [float(np.mean([one[column] for one in found])) for column in SYSTEM_COLUMNS]
            name = f"**{system}**" if system == OURS else system
            lines.append((name, *(f"{m:.3f}" for m in means[:-1]), f"{means[-1]:.1f}", f"{np.mean(distinct):.3f}"))
        heads = ("precision", "recall", "F1", "PR-AUC", "oracle F1", "alarms / 10,000", "F1, distinct")
        n_seeds = len({row["seed"] for row in of_protocol})
        parts.append(f"`{protocol}`, mean of {n_seeds} seeds:\n\n{table(('system', *heads), lines)}")
    return "\n\n".join(parts)


def ablation(rows: Sequence[Row]) -> str:
    """Of each protocol, each option beside the method as it is, on the same seeds: means over these."""
    parts = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        of_protocol = [row for row in rows if row["protocol"] == protocol]
        by_option = {option: {r["seed"]: r for r in of_protocol if r["option"] == option} for option in options(rows)}
        as_it_is = next(iter(by_option.values()))
        lines = []
        columns = {c: head for c, head in ABLATION_COLUMNS.items() if mean_of(of_protocol, c)}
        for option, by_seed in by_option.items():
            if not by_seed:
                continue
            change = [by_seed[seed]["ari"] - as_it_is[seed]["ari"] for seed in by_seed]
            spread = f"{min(change):+.3f} ... {max(change):+.3f}" if by_seed is not as_it_is else ""
            lines.append((option, *(mean_of(by_seed.values(), column) for column in columns), spread))
        head = ("option", *columns.values(), "change of ARI")
        parts.append(f"`{protocol}`, mean of {len(as_it_is)} seeds:\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def options(rows: Sequence[Row]) -> list[str]:
    """In the order in which they were measured, the method as it is first."""
    return list(dict.fromkeys(row["option"] for row in rows))


def mean_of(rows: Iterable[Row], column: str) -> str:
    values = [row[column] for row in rows if row.get(column) is not None]
    return f"{np.mean(values):.3g}" if values else ""


def put(path: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark:begin -->` and `<!-- mark:end -->`."""
    old = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(old):
        sys.exit(f"{path}: expected the marks {begin} and {end}.")
    path.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", old), encoding="utf-8")


def main() -> None:
    rows = published([json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()])
    if len(commits := {row["commit"] for row in rows}) > 1:
        print(f"Note: these rows are of several commits: {', '.join(sorted(commits))}.")
    put(ROOT / "README.md", "figures", figures(rows, "en"))
    put(ROOT / "README.zh-CN.md", "figures", figures(rows, "zh"))
    put(ROOT / "docs" / "evaluation.md", "figures", figures(rows, "en"))
    put(ROOT / "docs" / "evaluation.md", "systems", systems(rows))
    if ABLATION.exists():
        options_tried = [json.loads(line) for line in ABLATION.read_text(encoding="utf-8").splitlines()]
        put(ROOT / "docs" / "evaluation.md", "ablation", ablation(options_tried))


if __name__ == "__main__":
    main()
