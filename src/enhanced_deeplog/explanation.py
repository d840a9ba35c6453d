"""Names of classes, patterns, reasons, severity and advice. Text is passed in, never fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.events import END_TEXT
from enhanced_deeplog.findings import SEVERITIES, OddValue, Pattern, Pause, Severity

__all__ = [
    "advice_for",
    "aligned",
    "class_key",
    "class_name",
    "pattern_of",
    "pause_in_words",
    "reasons_of",
    "severity_of",
    "shares_of",
    "telling_events",
    "value_in_words",
    "worst_of",
]

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PATTERN_NAMES: dict[Pattern, str] = {
    "rare_event": "unseen or rare event",
    "repetition": "repetition",
    "severe_break": "break with the usual course",
    "slight_deviation": "deviation",
    "early_end": "ends too early",
    "volume": "unusual counts",
    "slow_step": "a step takes too long",
    "odd_value": "an odd number",
}

_ADVICE: dict[Pattern, str] = {
    "rare_event": "Read the marked lines first: events that normal sessions don't have. Look for what changed or "
    "failed just before the first of them.",
    "repetition": "Something is tried again and again. Look at what the repeated step waits for, and at its limit of "
    "retries.",
    "severe_break": "From the first marked line on the session leaves its usual course. The cause is at or before that "
    "line.",
    "slight_deviation": "Steps are out of their usual order or place. Compare the marked lines with what was expected "
    "there.",
    "early_end": "The session stops before its usual end. Look for a crash, a kill, a time-out or a lost connection "
    "right after its last line.",
    "volume": "Usual events, unusual numbers of them. Compare the counts with those of a normal session: steps are "
    "missing or done too often.",
    "slow_step": "The marked records came late. Look at what the session waited for just before them: a call, a lock, "
    "a full queue.",
    "odd_value": "A number in the marked records is out of the usual: a size, a count, a duration, a code. Look at "
    "what it says, and at where it comes from.",
}


def pattern_of(
    event_ids: Int64s,
    surprise: Float64s,
    unseen: Bools,
    *,
    ended_early: bool,
    drift: float,
    counts_share: float,
    timing_share: float = 0.0,
    values_share: float = 0.0,
) -> Pattern:
    """How one session deviates.

    Args:
        event_ids: Its events, int64 (T,).
        surprise: nats, float64 (T,).
        unseen: Whether the base model never saw the event, bool (T,).
        ended_early: Whether its end carries most of its surprise.
        drift: Surprise that an event of a normal session may have, nats.
        counts_share: Share of the score that its counts carry, [0, 1].
        timing_share: Share of the score that its pauses carry, [0, 1].
        values_share: Share of the score that the numbers of its records carry, [0, 1].
    """
    if timing_share > 0.5:
        return "slow_step"
    if values_share > 0.5:
        return "odd_value"
    surprising = surprise > drift
    n_surprising = int(surprising.sum())
    if ended_early:
        return "early_end"
    if n_surprising and _repeated_share(event_ids, surprising) >= 0.5:
        return "repetition"
    if n_surprising >= 3 and n_surprising >= 0.25 * len(event_ids):
        return "severe_break"
    if unseen.any():
        return "rare_event"
    return "volume" if counts_share > 0.6 else "slight_deviation"


def _repeated_share(event_ids: Int64s, surprising: Bools) -> float:
    """Share of the surprising events that repeat one event at least four times."""
    kinds, counts = np.unique(event_ids[surprising], return_counts=True)
    return float(counts.max() / counts.sum()) if len(kinds) and counts.max() >= 4 else 0.0


def shares_of(rarities: Float64s) -> tuple[float, float, float, float]:
    """Which share of the score counts, sequence, timing and values carry.

    Args:
        rarities: Of each kind of evidence, counts and balance first, timing (where pauses are judged) sixth, values
            (where numbers are judged) seventh, nats, float64 (5,), (6,) or (7,).

    Returns:
        Shares that sum to 1, or to 0 where nothing is rare.

    Example:
        >>> shares_of(np.array([1.0, 0.5, 3.0, 2.0, 0.0]))
        (0.25, 0.75, 0.0, 0.0)
    """
    by_counts, by_sequence = float(rarities[:2].max()), float(rarities[2:5].max())
    by_timing, by_values = float(rarities[5:6].sum()), float(rarities[6:].sum())
    total = max(by_counts + by_sequence + by_timing + by_values, 1e-12)
    return by_counts / total, by_sequence / total, by_timing / total, by_values / total


def reasons_of(
    rarities: Float64s,
    surprise: Float64s,
    unseen: Bools,
    is_end: Bools,
    excess: Float64s,
    unseen_events: Bools,
    *,
    drift: float,
) -> dict[str, float]:
    """Which share of the score each reason carries.

    Args:
        rarities: As in `shares_of`.
        surprise: Of each event, nats, float64 (T,).
        unseen: Whether the base model never saw it, bool (T,).
        is_end: Whether it is END, bool (T,).
        excess: What the session has too much or too little of, by event, float64 (V,).
        unseen_events: Which events of the vocabulary the base model never saw, bool (V,).
        drift: Surprise that an event of a normal session may have, nats.

    Returns:
        Shares that sum to 1. `timing` is 0 where pauses are not judged; `values` is there only where numbers are.
    """
    counts_share, _, timing_share, values_share = shares_of(rarities)
    weight = np.maximum(surprise - drift, 0.0)
    weight = weight / weight.sum() if weight.sum() > 0 else np.zeros_like(weight)
    new_sequence, early_end = float(weight[unseen].sum()), float(weight[is_end].sum())
    size = np.abs(excess)
    new_counts = float(size[unseen_events].sum() / max(size.sum(), 1e-12))
    sequence_share = 1.0 - counts_share - timing_share - values_share
    shares = {
        "new_template": sequence_share * new_sequence + counts_share * new_counts,
        "sequence": max(sequence_share * (1.0 - new_sequence - early_end), 0.0),
        "counts": counts_share * (1.0 - new_counts),
        "early_end": sequence_share * early_end,
        "timing": timing_share,
    }
    if len(rarities) > 6:
        shares["values"] = values_share
    return {reason: round(value, 6) + 0.0 for reason, value in shares.items()}  # + 0.0: no share is -0.0


def severity_of(log_severities: Iterable[str | None], score: float, threshold: float) -> Severity:
    """How bad a finding looks: by the worst level among its evidence, else by how rare it is.

    Example:
        >>> severity_of(["INFO", "ERROR"], 9.0, 7.6), severity_of([None], 9.0, 7.6)
        ('high', 'low')
    """
    levels = {level.upper() for level in log_severities if level}
    if levels & {"FATAL", "CRITICAL", "EMERG", "ALERT", "PANIC"}:
        return "critical"
    if levels & {"ERROR", "ERR", "SEVERE"}:
        return "high"
    if levels & {"WARN", "WARNING"} or score > 2.0 * threshold:
        return "medium"
    return "low"


def worst_of(severity: Severity, other: Severity | None) -> Severity:
    """The worse of two.

    Example:
        >>> worst_of("low", "high"), worst_of("low", None)
        ('high', 'low')
    """
    return severity if other is None else max(severity, other, key=SEVERITIES.index)


def telling_events(profiles: Float64s) -> list[list[tuple[int, float]]]:
    """The events that tell each class: surprising in it and in few others.

    Args:
        profiles: Mean surprise profile of each class, rows sum to 1, float64 (C, V).

    Returns:
        For each class up to three events with their share of its surprise, most telling first.
    """
    n_classes = len(profiles)
    spread = (profiles > 0.05).sum(axis=0)
    telling = profiles * np.log((n_classes + 1.0) / np.maximum(spread, 1))
    return [
        [(int(event), float(profile[event])) for event in np.argsort(-row, kind="stable")[:3] if row[event] > 0.02]
        for profile, row in zip(profiles, telling, strict=True)
    ]


def class_name(
    pattern: Pattern, templates: Sequence[str], title: str = "", *, after: str = "", without: str = ""
) -> str:
    """A name for people: what happened, as far as a rule knows it, else how it deviates; and the telling templates.

    Args:
        pattern: How it deviates.
        templates: That tell it, the most telling first.
        title: What happened, if a rule knows it.
        after: Of sessions that end too early: template of the step after which they do.
        without: Template of a step that they lack; told where neither an unseen event nor a repetition does.

    Example:
        >>> class_name("early_end", ["<END>", "paid"], after="order <*> stored")
        'ends too early: after order ... stored'
        >>> class_name("volume", ["paid"], without="order <*> checked")
        'unusual counts: without order ... checked; paid'
        >>> class_name("repetition", ["retry <*> of <*>", "timed out"])
        'repetition: retry ... of ...; timed out'
        >>> class_name("severe_break", ["[<*>] write to <*>: No space left on device"], "The disk is full")
        'The disk is full: write to ... No space left on device'
    """
    if pattern == "early_end":  # says it already
        templates = [text for text in templates if text != END_TEXT]
    texts = [_shorten(template) for template in templates[:2]]
    if pattern == "early_end" and not title:
        texts = [f"after {_shorten(after)}"] if after else []
    elif without and not title and pattern in ("volume", "slight_deviation", "severe_break"):
        texts = [f"without {_shorten(without)}", *texts[:1]]
    what = title or _PATTERN_NAMES[pattern]
    return f"{what}: {'; '.join(texts)}" if texts else what


def _shorten(template: str) -> str:
    if template == END_TEXT:
        return "end of the session"
    # Ids before all else say nothing, and neither does what stands in brackets there.
    begun = re.sub(r"^(?:\[[^\]]{0,80}\]\s*)+(?=\w)|^[^A-Za-z]*<\*>[^A-Za-z]*(?=[A-Za-z])", "", template)
    text = re.sub(r"(?:<\*>[\s,:;]*)+", "... ", begun).strip()
    return text if len(text) <= 60 else text[:57] + "..."


def class_key(template_shares: Mapping[str, float]) -> str:
    """A stable name for programs: a hash of what tells the class.

    Example:
        >>> class_key({"<END>": 0.9}) == class_key({"<END>": 0.8})
        True
    """
    joined = "\x1f".join(sorted(template_shares))
    return "class-" + hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def advice_for(pattern: Pattern) -> str:
    """What to look at first."""
    return _ADVICE[pattern]


def aligned(here: Sequence[str], there: Sequence[str]) -> list[tuple[Literal["", "only here", "only there"], str]]:
    """Two sequences side by side, in order: what both have, what only the first has, what only the second has.

    Example:
        >>> aligned(["open", "retry", "close"], ["open", "read", "close"])
        [('', 'open'), ('only there', 'read'), ('only here', 'retry'), ('', 'close')]
    """
    rows: list[tuple[Literal["", "only here", "only there"], str]] = []
    for what, i, j, k, m in SequenceMatcher(None, here, there, autojunk=False).get_opcodes():
        if what == "equal":
            rows += (("", text) for text in here[i:j])
        else:
            rows += (("only there", text) for text in there[k:m])
            rows += (("only here", text) for text in here[i:j])
    return rows


def pause_in_words(pause: Pause) -> str:
    """How late a record came, and what is usual.

    Example:
        >>> pause_in_words(Pause(4.2, "order <*> stored", 0.3, 0.999))
        'came 4.2 s after "order <*> stored"; usually .3 s at most (99.9 % of normal ones)'
    """
    usual = f"{_seconds(pause.usual_s)} at most ({100 * pause.usual_share:.3g} % of normal ones)"
    return f'came {_seconds(pause.pause_s)} after "{pause.after}"; usually {usual}'


def _seconds(seconds: float) -> str:
    digits = f"{seconds:,.0f}" if seconds >= 99.5 else f"{seconds:.2g}"
    return f"{digits.removeprefix('0') if 0 < seconds < 1 else digits} s"


_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def value_in_words(value: OddValue) -> str:
    """Which number of a record is odd, and what is usual.

    Example:
        >>> value_in_words(OddValue(2, 4200.0, (0.5, 40.0), True, 0.998))
        'its 2nd number is 4,200; usually .5 to 40 (99.8 % of normal ones)'
        >>> value_in_words(OddValue(1, 503.0, (200.0, 404.0), False, 1.0))
        'its 1st number is 503; usually 200 or 404 (100 % of normal ones)'
    """
    place = f"{value.place}{_ORDINALS.get(value.place, 'th')}"
    usual = (" to " if value.is_range else " or ").join(map(_figure, value.usual))
    share = f"{100 * value.usual_share:.3g} % of normal ones"
    return f"its {place} number is {_figure(value.value)}; usually {usual} ({share})"


def _figure(value: float) -> str:
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if value == round(value) or abs(value) >= 999.5:  # what rounds to 1,000 with three digits
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"
