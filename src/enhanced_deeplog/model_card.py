"""The model card of a bundle: what it learnt from, what it can tell, what it can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enhanced_deeplog.detector import EnhancedDeepLog

__all__ = ["model_card"]


def model_card(model: EnhancedDeepLog) -> str:
    """Describe a fitted model for people, as Markdown. It holds no raw line."""
    facts = model.summary
    low, high = facts["alarm_rate_interval"]
    classes = [
        f"| {c.id} | {_cell(c.name)} | {c.n_findings} | {c.pattern} | {c.mean_confidence:.2f} |" for c in model.classes
    ]
    table = ["| id | name | findings in fit | pattern | mean confidence |", "|---|---|---|---|---|", *classes]
    return "\n".join(
        [
            "# Model card",
            "",
            "An Enhanced DeepLog bundle: it tells abnormal sessions of a log from normal ones, and names their kind.",
            "",
            "## Learnt from",
            "",
            f"- {facts['n_records']:,} records, {facts['n_templates']:,} templates, {facts['n_sessions']:,} sessions.",
            f"- Normal behaviour: {facts['n_normal_sessions']:,} sessions, {facts['normal_from']}.",
            f"- Sessions: {_cell(facts['session_key_reason'])}.",
            "",
            "## Detection",
            "",
            f"- Threshold {facts['threshold']:.2f}, set for a share of false alarms of {facts['alarm_rate']:g};",
            f"  the share to expect lies between {low:.2g} and {high:.2g} (95 %).",
            "",
            "## Kinds of anomaly",
            "",
            *(
                table
                if classes
                else ["None: no session of the logs given was abnormal. Every anomaly will be `unknown`."]
            ),
            "",
            "## Limits",
            "",
            "- New normal behaviour is flagged until it is learnt.",
            "- Time between events and the values of parameters are not modelled.",
            "- Confidence is calibrated on sessions like those of `fit`; on other data it may be off.",
            "",
        ]
    )


def _cell(text: str) -> str:
    """Text from logs, inert in a table of Markdown."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    for mark in "\\`*_[]<>|":
        printable = printable.replace(mark, "\\" + mark)
    return printable
