"""Detection: how odd each session is, and above which score it is abnormal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from enhanced_deeplog.base_scorer import BaseScorer, fit_usual_pauses, fit_usual_values
from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress, Trained, Training, fold_trainings, folds, score_held_out, train_all
from enhanced_deeplog.errors import TooFewSessionsError
from enhanced_deeplog.events import END
from enhanced_deeplog.learning.anomaly_score import EVERY_EVIDENCE, EVIDENCE, TIMING, VALUES, SessionScore
from enhanced_deeplog.learning.balance import BalancedPairs
from enhanced_deeplog.learning.calibration import CleanPart
from enhanced_deeplog.learning.features import ScoredSessions
from enhanced_deeplog.learning.known_counts import KnownCounts, SeenCounts
from enhanced_deeplog.learning.surprise import UsualSurprise, accumulate
from enhanced_deeplog.learning.upper_tail import UsualMost
from enhanced_deeplog.learning.usual_sequences import UsualSequences
from enhanced_deeplog.logs.sessions import Sessions
from enhanced_deeplog.scorecard import DamageFound, scorecard

__all__ = [
    "GIVEN_AS_NORMAL",
    "LEAST_SESSIONS",
    "Calibration",
    "Detection",
    "Trust",
    "calibrate",
    "detect",
    "end_surprise",
    "fit_detection",
]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_ARE_LATE = 0.95  # nineteen in twenty normal sessions
_MOST_ARE_ODD = 0.99  # of the many numbers of a session, some are odd by chance
_ALIKE_SHARE = 1e-4  # what no more than one normal session in ten thousand is like is not known, only near to what is
LEAST_SESSIONS = 20  # normal sessions without which no rate of false alarms can be told


@dataclass(frozen=True)
class Trust:
    """How far the sessions that normal behaviour is learnt from are trusted to be normal.

    Attributes:
        least_alike: So many of them must be near for a session to count as known, at least: one where all are known to
            be normal, more where a few may not be.
        clean: Which values of their evidence to trust; None: all.
        evidence: The kinds of evidence that count.
        agreement: How much more a session that is odd in content and in order is than one that is odd in either.
    """

    least_alike: int
    clean: CleanPart | None
    evidence: tuple[str, ...]
    agreement: float

    def n_alike(self, n_sessions: int) -> int:
        """How many of so many sessions must be near for a session to count as known.

        The longer the log, the more often what is abnormal is among what was taken for normal.
        """
        return max(self.least_alike, int(n_sessions * _ALIKE_SHARE) + 1)


# Where all are known to be normal, nothing is called rarer than what five of them have reached; a session that reaches
# that in one view stands out by the other.
GIVEN_AS_NORMAL = Trust(least_alike=1, clean=None, evidence=EVIDENCE, agreement=0.5)


@dataclass(frozen=True)
class Calibration:
    """What normal sessions are like, and how odd some of them look.

    Attributes:
        known: Their event counts.
        balanced: Which events come equally often in them.
        usual: The surprise that their events have.
        scores: From evidence to score; apart for sessions made by a key (True) and sessions without (False), where
            there are enough of them.
        lateness: How late their events are; None: pauses are not judged.
        oddness: How odd their numbers are; None: numbers are not judged.
        seen: Novelty of the counts seen before; None: it is not remembered.
    """

    known: KnownCounts
    balanced: BalancedPairs
    usual: UsualSurprise
    scores: Mapping[bool, SessionScore]
    lateness: UsualMost | None = None
    oddness: UsualMost | None = None
    seen: SeenCounts | None = None

    def evidence(self, scored: ScoredSessions) -> dict[str, Float64s]:
        """Each kind of evidence of each session, float64 (S,)."""
        judge = self.known.novelty if self.seen is None else self.seen.novelty
        imbalance = np.zeros(len(scored))  # where normal is presumed, it counts for nothing
        if any("balance" in score.tails for score in self.scores.values()):
            imbalance = self.balanced.imbalance(scored.counts, _has_end(scored))
        novelty = judge(scored.counts, scored.is_open)
        return _evidence(scored, novelty, imbalance, self.usual, self.lateness, self.oddness)

    def judge(self, scored: ScoredSessions, alarm_rate: float) -> tuple[Float64s, Float64s, Float64s]:
        """How odd each session is.

        A kind of session of which `fit` saw too few normal ones can't be judged: it scores 0.

        Returns:
            rarities: Of each kind of evidence, 0 of one that doesn't count, float64 (S, 5; with timing 6,
                with values 7), nats.
            scores: One normal session in exp(score) is at least this odd, float64 (S,).
            thresholds: A higher score is abnormal, float64 (S,).
        """
        evidence = self.evidence(scored)
        n_kinds = max(map(EVERY_EVIDENCE.index, evidence)) + 1
        rarities, scores = np.zeros((len(scored), n_kinds)), np.zeros(len(scored))
        thresholds = np.full(len(scored), -np.log(alarm_rate))
        for keyed, score in self.scores.items():
            rows = np.flatnonzero(scored.keyed == keyed)
            of_kind = {kind: evidence[kind][rows] for kind in score.tails}
            for kind, rarity in score.rarities(of_kind).items():
                rarities[rows, EVERY_EVIDENCE.index(kind)] = rarity
            scores[rows] = score.score(of_kind)
            thresholds[rows] = score.threshold(alarm_rate)
        return rarities, scores, thresholds

    def raised_to(self, own: ScoredSessions, alarm_rate: float) -> Calibration:
        """The same for a network that gives these scores to the sessions that it learnt from."""
        _, scores, _ = self.judge(own, alarm_rate)
        of_kind = {keyed: score.raised_to(scores[own.keyed == keyed]) for keyed, score in self.scores.items()}
        return replace(self, scores=of_kind)


def calibrate(held_out: ScoredSessions, trust: Trust, *, seed: int) -> Calibration:
    """Learn what normal sessions are like from sessions that nothing which scored them has seen.

    Args:
        held_out: Each scored by a network that never saw it.
        trust: How far these sessions are trusted to be normal.
        seed: Chooses which counts to keep where there are too many.
    """
    n_alike = trust.n_alike(len(held_out))
    known, novelty = KnownCounts.fit(held_out.counts, held_out.is_open, n_alike=n_alike, seed=seed)
    balanced, imbalance = BalancedPairs.fit(held_out.counts, _has_end(held_out))
    usual = UsualSurprise.fit(held_out.surprise, held_out.event_ids, held_out.n_events)
    late = None if held_out.lateness is None else UsualMost.fit(held_out.lateness, held_out.starts, _MOST_ARE_LATE)
    odd = None if held_out.oddness is None else UsualMost.fit(held_out.oddness, held_out.starts, _MOST_ARE_ODD)
    evidence = _evidence(held_out, novelty, imbalance, usual, late, odd)
    scores = {}
    for keyed in (True, False):
        rows = np.flatnonzero(held_out.keyed == keyed)
        if len(rows) >= LEAST_SESSIONS:
            kinds = [kind for kind in (*trust.evidence, TIMING, VALUES) if kind in evidence]
            of_kind = {kind: evidence[kind][rows] for kind in kinds}
            scores[keyed] = SessionScore.fit(of_kind, agreement=trust.agreement, clean=trust.clean)
    return Calibration(known, balanced, usual, scores, late, odd)


def _evidence(
    scored: ScoredSessions,
    novelty: Float64s,
    imbalance: Float64s,
    usual: UsualSurprise,
    late: UsualMost | None,
    odd: UsualMost | None,
) -> dict[str, Float64s]:
    misplacement = usual.misplacement(scored.surprise, scored.event_ids)
    evidence = {
        "counts": novelty,
        "balance": imbalance,
        "surprise": accumulate(scored.surprise, scored.starts, usual.drift),
        "misplacement": accumulate(misplacement, scored.starts, usual.misplacement_drift),
        "end": end_surprise(scored),
    }
    if late is not None and scored.lateness is not None:
        evidence[TIMING] = accumulate(scored.lateness, scored.starts, late.drift)
    if odd is not None and scored.oddness is not None:
        evidence[VALUES] = accumulate(scored.oddness, scored.starts, odd.drift)
    return evidence


def detect(
    scored: ScoredSessions, calibration: Calibration, config: Config
) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    """How odd each session is, see `Calibration.judge`, and the share of normal sessions at least as odd, (S,)."""
    rarities, scores, thresholds = calibration.judge(scored, config.detection.alarm_rate)
    chance = np.exp(-np.maximum(scores, 0.0))
    if config.detection.mode == "top_k":
        scores = np.maximum.reduceat(scored.rank, scored.starts[:-1]).astype(np.float64)
        thresholds = np.full(len(scores), float(config.detection.top_k))
    return rarities, scores, thresholds, chance


def _has_end(scored: ScoredSessions) -> Bools:
    """Which sessions have their END: of the others more may follow, or they are parts of a long one, bool (S,)."""
    return np.asarray(scored.event_ids[scored.starts[1:] - 1] == END)


def end_surprise(scored: ScoredSessions) -> Float64s:
    """Surprise of the end of each session, 0 where it has not ended, nats, float64 (S,)."""
    return np.where(_has_end(scored), scored.surprise[scored.starts[1:] - 1], 0.0)


@dataclass(frozen=True)
class Detection:
    """All that decides whether a session is abnormal.

    Attributes:
        scorer: The base model, trained on all normal sessions.
        by_size: Base models of further window sizes, for features alone.
        calibration: What normal sessions look like to a base model that never saw them.
        state: Weights of the base model, for the bundle.
        reports: Loss of each epoch of the final training.
        normal_state: Mean hidden state of normal windows, float64 (H,).
        usual_sequences: How whole normal sessions mostly go.
        scorecard: What share of damaged normal sessions is found; empty in a loaded model, whose summary has it.
        loss_by_window: Held-out loss of the base model and of those with other window sizes, nats; empty likewise.
    """

    scorer: BaseScorer
    by_size: Mapping[int, BaseScorer]
    calibration: Calibration
    state: Mapping[str, npt.NDArray[Any]]
    reports: list[Any]
    normal_state: Float64s
    usual_sequences: UsualSequences
    scorecard: tuple[DamageFound, ...] = ()
    loss_by_window: Mapping[int, float] = field(default_factory=dict)

    @property
    def drift(self) -> float:
        """Surprise that an event of a normal session may have, nats."""
        return self.calibration.usual.drift

    def look_at(self, sessions: Sessions) -> ScoredSessions:
        """What the base models say of every event."""
        others = {size: scorer.score(sessions).surprise for size, scorer in self.by_size.items()}
        return replace(self.scorer.score(sessions), by_size=others)

    def remembering(self) -> Detection:
        """The same for many sessions a part at a time: windows and counts that come again are not judged again."""
        by_size = {size: scorer.remembering() for size, scorer in self.by_size.items()}
        calibration = replace(self.calibration, seen=SeenCounts(self.calibration.known))
        return replace(self, scorer=self.scorer.remembering(), by_size=by_size, calibration=calibration)

    def load(self) -> None:
        """Load the networks now: threads that come to them first at the same time would each load them."""
        for scorer in (self.scorer, *self.by_size.values()):
            scorer.network.load()

    def with_threads(self, threads: int) -> Detection:
        """The same, scoring on so many threads."""
        by_size = {size: scorer.with_threads(threads) for size, scorer in self.by_size.items()}
        return replace(self, scorer=self.scorer.with_threads(threads), by_size=by_size)


def fit_detection(
    sessions: Sessions,
    normal: Bools,
    config: Config,
    n_events: int,
    *,
    trust: Trust,
    workers: int,
    progress: Progress,
) -> Detection:
    """Learn normal behaviour, and how odd normal sessions look to a network that never saw them.

    Args:
        sessions: Sessions to learn from.
        normal: Which of them to learn from, bool (S,).
        config: Settings.
        n_events: Size of the vocabulary (V).
        trust: How far these are trusted to be normal.
        workers: Networks trained side by side; the result is the same with any number.
        progress: Told the stage and the share done.

    Raises:
        TooFewSessionsError: If there are too few normal sessions to calibrate on.
    """
    n_normal = int(normal.sum())
    if n_normal < LEAST_SESSIONS:
        raise TooFewSessionsError(_too_few(n_normal))
    fold = folds(normal, config)
    fold_scorers, of_size = _train(sessions, normal, fold, config, n_events, workers=workers, progress=progress)
    size = config.learning.window_size
    final = of_size[size]
    scored = score_held_out(sessions, fold, fold_scorers)
    scored = scored.take(np.flatnonzero(normal))
    calibration = calibrate(scored, trust, seed=config.seed)
    if not calibration.scores:
        raise TooFewSessionsError(_too_few(n_normal))
    by_size = {other: of_size[other].scorer for other in config.features.window_sizes if other != size}
    loss_by_window = {other: min(r.validation_loss for r in one.reports) for other, one in of_size.items()}
    own = final.scorer.score(sessions).take(np.flatnonzero(normal))
    calibration = calibration.raised_to(own, config.detection.alarm_rate)
    normal_state = own.hidden_state[own.pair].astype(np.float64).mean(axis=0)

    judges = [
        partial(_is_abnormal, scorer, _without(calibration, scored, fold[normal] == k, trust, config.seed), config)
        for k, scorer in enumerate(fold_scorers)
    ]
    found = scorecard(sessions, fold, judges, seed=config.seed, usual_pauses=final.scorer.usual_pauses)
    whole = np.flatnonzero(normal & sessions.table["ended"].to_numpy() & (sessions.table["context"] == 0).to_numpy())
    seen_whole = sessions.take(whole)
    return Detection(
        final.scorer,
        by_size,
        calibration,
        final.state,
        final.reports,
        normal_state,
        UsualSequences.fit(seen_whole.event_ids, seen_whole.starts),
        found,
        loss_by_window,
    )


def _train(
    sessions: Sessions,
    normal: Bools,
    fold: Int64s,
    config: Config,
    n_events: int,
    *,
    workers: int,
    progress: Progress,
) -> tuple[list[BaseScorer], dict[int, Trained]]:
    """The networks of the folds, and by window size those that learn from all normal sessions."""
    size = config.learning.window_size
    sizes = list(dict.fromkeys((size, *config.features.window_sizes, *config.learning.compare_window_sizes)))
    of_folds = fold_trainings(normal, fold, config)
    jobs = [*of_folds, *(Training(normal, config.seed, window_size) for window_size in sizes)]
    trained = train_all(
        sessions, jobs, config, n_events, workers=workers, progress=progress, stage="learning normal behaviour"
    )
    n_judging = len(of_folds) + 1  # the final network follows those of the folds; other sizes judge nothing
    if config.detection.timing:  # each learns its pauses from the sessions that its network learnt from
        for i, job in enumerate(jobs[:n_judging]):
            pauses = fit_usual_pauses(sessions, job.chosen)
            trained[i] = replace(trained[i], scorer=replace(trained[i].scorer, usual_pauses=pauses))
    if config.detection.values:  # and what numbers there usually are
        for i, job in enumerate(jobs[:n_judging]):
            values = fit_usual_values(sessions, job.chosen, min_sessions=config.redaction.min_sessions)
            trained[i] = replace(trained[i], scorer=replace(trained[i].scorer, usual_values=values))
    fold_scorers = [one.scorer for one in trained[: len(of_folds)]]
    return fold_scorers, dict(zip(sizes, trained[len(of_folds) :], strict=True))


def _without(calibration: Calibration, normal: ScoredSessions, left_out: Bools, trust: Trust, seed: int) -> Calibration:
    """The same, not knowing the counts of some of the normal sessions."""
    others = normal.take(np.flatnonzero(~left_out))
    known = KnownCounts.of(others.counts, others.is_open, n_alike=trust.n_alike(len(others)), seed=seed)
    if "balance" not in trust.evidence:
        return replace(calibration, known=known)
    return replace(calibration, known=known, balanced=BalancedPairs.of(others.counts, _has_end(others)))


def _is_abnormal(scorer: BaseScorer, calibration: Calibration, config: Config, sessions: Sessions) -> Bools:
    _, scores, thresholds, _ = detect(scorer.score(sessions), calibration, config)
    return np.asarray(scores > thresholds)


def _too_few(n_normal: int) -> str:
    return (
        f"Learning normal behaviour needs at least {LEAST_SESSIONS} normal sessions; {n_normal} came. Give a longer "
        "log, or check the session key: 'enhanced-deeplog inspect' shows how the log is cut into sessions."
    )
