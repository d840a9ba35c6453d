"""Enhanced DeepLog, the whole method on one page: `fit` and `classify`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from enhanced_deeplog.causes import CauseRules
from enhanced_deeplog.class_profiles import describe_classes
from enhanced_deeplog.config import Config
from enhanced_deeplog.courses import Course, KeptCourses, course_of
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.detection import GIVEN_AS_NORMAL, Detection, fit_detection
from enhanced_deeplog.differences import Differences, differences_between
from enhanced_deeplog.discovery import fit_kinds
from enhanced_deeplog.errors import SessionError, UsageError
from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.evidence import session_findings
from enhanced_deeplog.findings import NORMAL, AnomalyClass, Finding, SequenceVerdict
from enhanced_deeplog.logs.corpus import Corpus, event_ids_of, read_corpus
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.parsing import miner_of, parse_batches, parse_records, redactor_of
from enhanced_deeplog.logs.partitions import IN_MEMORY, PartitionedRecords, Place, places_of, read_partitions
from enhanced_deeplog.logs.pause_limits import PauseLimits
from enhanced_deeplog.logs.records import LogRecords
from enhanced_deeplog.logs.session_rules import choose_rules
from enhanced_deeplog.logs.sessions import Sessions, sessions_of, split_into_sessions, stream_pauses
from enhanced_deeplog.logs.severity import severe_events
from enhanced_deeplog.logs.shared_words import shared_words
from enhanced_deeplog.logs.template_cap import most_frequent
from enhanced_deeplog.logs.template_changes import TemplateChange, TemplateChanges, find_changes
from enhanced_deeplog.model_parts import ModelParts, parts_of, restore
from enhanced_deeplog.presumption import PRESUMED_NORMAL, presume_normal
from enhanced_deeplog.redaction import Redactor
from enhanced_deeplog.summary import summarise
from enhanced_deeplog.verdicts import Verdicts

__all__ = ["EnhancedDeepLog", "ModelParts", "parse_records"]


@dataclass
class EnhancedDeepLog:
    """Learns normal behaviour from logs, finds the kinds of anomaly in them, and judges new logs by both.

    Args:
        config: Settings; the defaults suit any log.
        progress: Told the stage and the share of it that is done.
        bundle_id: Of the bundle that this was loaded from.
        cause_rules: What is made of the lines that surprise.

    Example:
        >>> from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords
        >>> lines = [f"s{i},1 2 3 1 2 3" for i in range(200)] + ["odd,1 2 9 9 9 9"]
        >>> config = Config.of({"learning": {"hidden_size": 16, "epochs": 5}, "classifier": {"epochs": 1}})
        >>> model = EnhancedDeepLog(config).fit(normal=LogRecords.from_lines(lines[:200], format="sequences"))
        >>> [f.session_key for f in model.classify(LogRecords.from_lines(lines, format="sequences"))]
        ['odd']
    """

    config: Config = field(default_factory=Config)
    progress: Progress | None = None
    bundle_id: str = ""
    cause_rules: CauseRules = field(default_factory=CauseRules.shipped)
    differences: Differences | None = field(default=None, init=False)  # of `records` from `normal`, of the latest fit

    def fit(
        self, records: LogRecords | None = None, *, normal: LogRecords | None = None, workers: int = 0
    ) -> EnhancedDeepLog:
        """Run the four stages.

        Args:
            records: Logs of unknown content: where the kinds of anomaly are found. Without `normal`, normal behaviour
                is learnt from them too, what looks rare among them left out.
            normal: Logs of normal behaviour, if there are any: stage 1 and the threshold come from these alone.
            workers: Networks trained side by side, threads that score; the result is the same with any number.
                0: as many as there are cores.

        Returns:
            This model, fitted.

        Raises:
            InputError: If the logs can't be read, or make too few sessions.
            UsageError: If neither kind of log is given.
        """
        if records is None and normal is None:
            raise UsageError(
                "fit needs logs: `records` of unknown content, or `normal` ones, or both; none were given."
            )
        workers = workers or os.cpu_count() or 1
        given = [logs.with_redactor(self.redactor) for logs in (records, normal) if logs is not None]

        # Parse: bodies to templates to event ids, records to sessions.
        corpora = self._parse(given)
        learnt_from = self._sessions(corpora[-1], learn_pauses=True)
        mixed = learnt_from if normal is None else self._sessions(corpora[0]) if records is not None else None

        if normal is not None and mixed is not None:
            self.differences = differences_between(mixed, learnt_from, self.vocabulary)

        # Stage 1: normal behaviour, and how rare normal sessions look.
        if normal is not None:
            usual, trust = np.ones(len(learnt_from), dtype=np.bool_), GIVEN_AS_NORMAL
        else:
            severe = severe_events(learnt_from, self.vocabulary)
            usual = presume_normal(learnt_from, severe, self.config, workers=workers, progress=self._report)
            trust = PRESUMED_NORMAL
        self.detection = fit_detection(
            learnt_from,
            usual,
            self.config,
            len(self.vocabulary),
            trust=trust,
            workers=workers,
            progress=self._report,
        )
        self.detection = self.detection.with_threads(workers)

        # Stages 2 to 4: features of what deviates, its kinds, and a network that tells them apart.
        self.kinds = fit_kinds(mixed, self.detection, self.vocabulary, self.config, progress=self._report)
        self.kinds = replace(self.kinds, classes=describe_classes(self, mixed))
        self.summary = summarise(self, corpora, learnt_from, usual, mixed)
        return self

    def classify(
        self,
        records: LogRecords,
        *,
        every_session: bool = False,
        workers: int = 1,
        source_name: str = "",
        on_changes: Callable[[tuple[TemplateChange, ...]], None] = lambda _: None,
        courses: KeptCourses | None = None,
    ) -> list[Finding]:
        """Judge logs; changes nothing in the model.

        Args:
            records: The logs.
            every_session: Also return what is said about normal sessions.
            workers: Threads that judge, 0: as many as there are cores; the result is the same with any number.
            source_name: The logical source of the logs, for the ids of findings.
            on_changes: Told the templates that `fit` has not seen and that are taken as usual, see `read_sessions`.
            courses: Keeps how some of the sessions went.

        Returns:
            Findings in the order in which their sessions begin.

        Raises:
            InputError: If the logs can't be read, or have none of the session keys that `fit` used.
        """
        parts = self.classify_parts(
            records,
            every_session=every_session,
            workers=workers,
            source_name=source_name,
            on_changes=on_changes,
            courses=courses,
        )
        return [finding for _, finding in sorted(chain.from_iterable(parts), key=lambda one: one[0])]

    def classify_parts(
        self,
        records: LogRecords,
        *,
        every_session: bool = False,
        workers: int = 1,
        source_name: str = "",
        on_changes: Callable[[tuple[TemplateChange, ...]], None] = lambda _: None,
        courses: KeptCourses | None = None,
    ) -> Iterator[list[tuple[Place, Finding]]]:
        """The findings of `classify` some sessions at a time, for more of them than memory should hold.

        Yields:
            Findings, each with its place in the order in which all sessions begin.
        """
        self.check_fitted()
        workers = workers or os.cpu_count() or 1
        detection = self.detection.with_threads(workers).remembering()
        detection.load()
        with self._read(records) as read:
            changes = self._changes(read, detection)
            on_changes(tuple(changes.told.values()))

            def judged(part: pl.DataFrame) -> list[tuple[Place, Finding]]:
                sessions = changes.sessions(part)
                verdicts = self._judge(sessions, detection)
                wanted = np.arange(len(sessions)) if every_session else np.flatnonzero(verdicts.classes != NORMAL)
                findings = session_findings(self, detection, sessions, verdicts, wanted, source_name=source_name)
                if courses is not None:
                    courses.offer(self, sessions, wanted.tolist(), findings)
                return list(zip(places_of(sessions, wanted), findings, strict=True))

            yield from in_order(judged, read, workers=workers)

    def explain(
        self,
        records: LogRecords,
        session_key: str,
        *,
        source_name: str = "",
        on_changes: Callable[[tuple[TemplateChange, ...]], None] = lambda _: None,
    ) -> list[Course]:
        """How one session went, and what is said about it, normal or not; see `classify`. Of a long one, each part.

        Raises:
            SessionError: If no session has that key.
        """
        self.check_fitted()
        detection = self.detection.remembering()
        found: list[Course] = []
        others: list[str] = []
        with self._read(records) as read:
            changes = self._changes(read, detection)
            on_changes(tuple(changes.told.values()))
            names = [session_key, str(self.redactor.redact_keys(pl.Series([session_key]))[0])]
            for sessions in map(changes.sessions, read):
                wanted = np.flatnonzero(sessions.table["session_key"].is_in(names).to_numpy())
                if len(wanted):
                    verdicts = self._judge(sessions, detection)
                    findings = session_findings(
                        self, detection, sessions, verdicts, wanted, source_name=source_name, always_evidence=True
                    )
                    found += map(partial(course_of, self, sessions), wanted.tolist(), findings)
                keys = sessions.table["session_key"]
                others.extend(keys.filter(keys != "").unique(maintain_order=True).head(3))
        if found:
            return found
        there = f"Some that there are: {', '.join(others[:3])}" if others else "None has a key; '' shows them all"
        raise SessionError(f"No session has the key {session_key!r} in this input. {there}.")

    def classify_sequence(self, event_ids: Sequence[int]) -> SequenceVerdict:
        """Judge one complete session, given as event ids of this fit (END is added).

        Raises:
            SessionError: If the sequence is empty or has an event id that this fit doesn't have.
        """
        self.check_fitted()
        ids = np.asarray(event_ids, dtype=np.int64)
        if not len(ids) or ids.min() < 1 or ids.max() >= len(self.vocabulary):
            raise SessionError(
                f"Expected event ids from 1 to {len(self.vocabulary) - 1}, at least one; got {list(event_ids)[:10]}."
            )
        frame = _bare_sequence(ids, keyed=True in self.detection.calibration.scores)
        sessions = split_into_sessions(frame, replace(self.session_rules, by="key"), {})
        verdicts = self.judge(sessions)
        worst = int((verdicts.scores - verdicts.thresholds).argmax())  # of the parts of a long one
        chosen = int(verdicts.classes[worst])
        return SequenceVerdict(
            chosen,
            self.kinds.name(chosen),
            float(verdicts.confidence[worst]),
            verdicts.class_probabilities(worst),
            float(verdicts.scores[worst]),
            float(verdicts.thresholds[worst]),
        )

    def parse(self, records: LogRecords) -> Iterator[pl.DataFrame]:
        """Every record as a row: where it stands, its event id, its template and its parameters."""
        self.check_fitted()
        return parse_batches(self._with_key(records), self.miner, self.vocabulary)

    def read_sessions(self, records: LogRecords) -> Sessions:
        """The sessions that logs make, all of them in memory, as columns; what fits no template has event id 1.

        But what a deploy has reworded in the midst of these logs has the event id that it had before, and the steps
        that it added are left out: see `logs.template_changes`.

        Raises:
            InputError: If the logs can't be read, or have none of the session keys that `fit` used.
        """
        self.check_fitted()
        with self._read(records, in_memory=sys.maxsize) as read:
            (sessions,) = map(self._changes(read, self.detection).sessions, read)
            return sessions

    def judge(self, sessions: Sessions, *, workers: int = 1) -> Verdicts:
        """What is decided about each session, as columns: what `classify` makes findings of."""
        self.check_fitted()
        return self._judge(sessions, self.detection.with_threads(workers))

    @cached_property
    def redactor(self) -> Redactor:
        """What keeps secrets out of all that is learnt, stored and said."""
        return redactor_of(self.config.redaction)

    @property
    def classes(self) -> tuple[AnomalyClass, ...]:
        """The kinds of anomaly that `fit` found."""
        self.check_fitted()
        return self.kinds.classes

    def to_parts(self) -> ModelParts:
        """The fitted model as plain data, for a bundle."""
        self.check_fitted()
        return parts_of(self)

    @classmethod
    def from_parts(cls, parts: ModelParts, *, bundle_id: str) -> EnhancedDeepLog:
        """The inverse of `to_parts`.

        Raises:
            BundleError: If a part doesn't fit the others.
        """
        model = cls(bundle_id=bundle_id)
        restore(model, parts)
        return model

    def save_stages(self, directory: Path | str) -> None:
        """Leave the output of each stage: `base_model.safetensors`, `features.npy`, `final_labels.npy`,
        `multiclass_model.safetensors`.

        Raises:
            OutputError: If the directory can't be written.
        """
        from enhanced_deeplog.stage_files import save_stage_files  # only few fits leave these files

        self.check_fitted()
        save_stage_files(self, Path(directory))

    # --- the steps -----------------------------------------------------------------------------------------------

    def _parse(self, given: list[LogRecords]) -> list[Corpus]:
        """Read all logs, learn their templates and decide how records become sessions."""
        settings = self.config.sessions
        self.session_rules, self.key_choice = choose_rules(given[0], settings)
        self.miner = miner_of(self.config.templates)
        self._report("reading", 0.0)
        most = self.config.learning.most_records
        by_key = self.session_rules.by == "key"
        numbers = self.config.detection.values
        corpora = [
            read_corpus(self._with_key(logs), self.miner, most_records=most, by_key=by_key, numbers=numbers)
            for logs in given
        ]
        for corpus, logs in zip(corpora, given, strict=True):
            self._check_keys(logs, any_key=corpus.frame["session_key"].null_count() < corpus.frame.height)
        self._report("reading", 0.9)
        self.miner.learn({body for corpus in corpora for body in corpus.bodies if body not in corpus.given})
        given_templates = self._choose_templates(corpora)
        self.vocabulary = EventVocabulary.of({t.text for t in self.miner.templates} | given_templates)
        self.pause_limits: dict[str, PauseLimits] = {}
        self._report("reading", 1.0)
        return corpora

    def _choose_templates(self, corpora: list[Corpus]) -> frozenset[str]:
        """Keep out of the templates what is too many to learn from, and the words that too few sessions share.

        Returns:
            The templates that the source itself gives, as far as they are kept.
        """
        given = frozenset[str]().union(*(corpus.given for corpus in corpora))
        mined = [body for corpus in corpora for body in corpus.bodies if body not in corpus.given]
        template_of = {body: template or body for body, template in zip(mined, self.miner.match(mined), strict=True)}
        template_of |= {body: body for body in given}
        kept, self.service_templates = most_frequent(corpora, template_of, most=self.config.templates.most_per_service)
        self.miner.keep(kept)
        if self.config.redaction.min_sessions > 1:
            settings = self.config.redaction.min_sessions, self.session_rules.n_records
            self.miner.hide(shared_words(corpora, template_of, min_sessions=settings[0], n_records=settings[1]))
        return given & kept

    @contextmanager
    def _read(self, records: LogRecords, *, in_memory: int = IN_MEMORY) -> Iterator[PartitionedRecords]:
        self.check_fitted()
        keyed, by_key = self._with_key(records), self.session_rules.by == "key"
        numbers = self.config.detection.values
        with read_partitions(
            keyed, self.miner, self.vocabulary, by_key=by_key, in_memory=in_memory, numbers=numbers
        ) as read:
            self._check_keys(records, any_key=read.clock.any_key)
            yield read

    def _judge(self, sessions: Sessions, detection: Detection) -> Verdicts:
        return self.kinds.judge(detection.look_at(sessions), detection, self.config)

    def _changes(self, read: PartitionedRecords, detection: Detection) -> TemplateChanges:
        """What a deploy has changed in the midst of these logs, and how sessions are made all the same."""
        comparable = read.clock.unit == "ns" or len(read.begins) == 1  # numbers of records of several sources are not
        return find_changes(
            read,
            read.unmatched if comparable else {},
            self.vocabulary,
            miner_of(self.config.templates),
            usual=self.detection.scorer.known,
            split=lambda part: sessions_of(part, read.clock, self.session_rules, self.pause_limits),
            is_abnormal=lambda sessions: self._judge(sessions, detection).classes != NORMAL,
        )

    def _sessions(self, corpus: Corpus, *, learn_pauses: bool = False) -> Sessions:
        ids = event_ids_of(corpus.bodies, corpus.given, self.miner, self.vocabulary)
        frame = corpus.with_event_ids(ids)
        if learn_pauses:
            uncut = split_into_sessions(frame, self.session_rules, {})
            self.pause_limits = stream_pauses(uncut, len(self.vocabulary))
        return split_into_sessions(frame, self.session_rules, self.pause_limits)

    def _with_key(self, records: LogRecords) -> LogRecords:
        records = records.with_redactor(self.redactor)
        if records.session_key is not None or self.session_rules.key is None:
            return records
        return records.with_session_key(self.session_rules.key)

    def _check_keys(self, records: LogRecords, *, any_key: bool) -> None:
        key = records.session_key.name if records.session_key is not None else self.session_rules.key
        if self.session_rules.by == "key" and key is not None and not any_key:
            n_records = sum(source.n_records for source in records.sources)
            first = self.redactor.redact_text(str(records.head(1)["text"][0]))
            hint = "Give --session-key a pattern that occurs in the lines, or leave it out."
            if key == "field":
                hint = "It is a field of the format: name it as for 'fit', --field session_key=NAME (or --format)."
            found = f"matches none of {n_records:,} records; the first one is {first[:200]!r}"
            raise SessionError(f"The session key {key!r} {found}. {hint}")

    def _report(self, stage: str, share: float) -> None:
        if self.progress is not None:
            self.progress(stage, share)

    def check_fitted(self) -> None:
        """Refuse to go on where nothing has been learnt.

        Raises:
            UsageError: If so.
        """
        if not hasattr(self, "kinds"):
            raise UsageError("This model has learnt nothing yet: call fit(), or load a bundle.")


def _bare_sequence(event_ids: npt.NDArray[np.int64], *, keyed: bool) -> pl.DataFrame:
    """One complete session as records that come from nowhere, with a key if the model knows such sessions."""
    last = np.arange(len(event_ids)) == len(event_ids) - 1
    return pl.DataFrame(
        {
            "source": "",
            "service": "",
            "line": np.arange(1, len(event_ids) + 1),
            "timestamp": pl.Series([None] * len(event_ids), dtype=pl.Datetime("ns")),
            "host": pl.Series([None] * len(event_ids), dtype=pl.String),
            "process": pl.Series([None] * len(event_ids), dtype=pl.String),
            "session_key": pl.Series(["sequence" if keyed else None] * len(event_ids), dtype=pl.String),
            "ends_session": last,
            "event_id": event_ids,
        }
    )
