"""The published protocols: what each is, and how it is run.

A protocol is run for several seeds, each another split and another initialisation. What is judged never takes part in
`fit`, but for the figures that say so (`transductive`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from enhanced_deeplog.config import Config
from enhanced_deeplog.cross_fit import Progress
from enhanced_deeplog.evaluation import splits
from enhanced_deeplog.evaluation.deploy import measure_deploy
from enhanced_deeplog.evaluation.expected import measure_expected
from enhanced_deeplog.evaluation.measuring import (
    Row,
    measure_detection,
    measure_kinds,
    measure_parsing,
    measure_unseen,
)
from enhanced_deeplog.evaluation.splits import Split

__all__ = ["PROTOCOLS", "Protocol", "protocols_of"]

_Measure = Callable[[Split, Config, Progress], list[Row]]


@dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Attributes:
        name: What it is called in rows and tables.
        dataset: What it reads.
        about: In a sentence.
        split: From data folder and seed; None where nothing is split.
        measure: From split, settings and progress to rows; None where nothing is split.
    """

    name: str
    dataset: str
    about: str
    split: Callable[[Path, int], Split] | None
    measure: _Measure | None

    def run(self, folder: Path, seed: int, config: Config, progress: Progress) -> list[Row]:
        """Measure once: rows of all systems."""
        config = config.model_copy(update={"seed": seed})
        if self.split is None or self.measure is None:
            rows = measure_parsing(folder, config)
        else:
            rows = self.measure(self.split(folder, seed), config, progress)
        return [{"protocol": self.name, "seed": seed, **row} for row in rows]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "hdfs/random",
            "hdfs",
            "detection, learnt from the normal blocks of a random half, judged on the other half",
            partial(splits.hdfs_halves, labelled=True),
            measure_detection,
        ),
        Protocol(
            "hdfs/time",
            "hdfs",
            "detection, learnt from the normal blocks of the first half in time, judged on the second half",
            splits.hdfs_by_time,
            measure_detection,
        ),
        Protocol(
            "hdfs/expected",
            "hdfs",
            "the same, after one class of what was found there has been marked as expected",
            splits.hdfs_by_time,
            measure_expected,
        ),
        Protocol(
            "hdfs/unlabelled",
            "hdfs",
            "detection, learnt from a random half as it is, judged on the other half",
            partial(splits.hdfs_halves, labelled=False),
            measure_detection,
        ),
        Protocol(
            "hdfs-sequences/detection",
            "hdfs-sequences",
            "detection, learnt from 80 % of the normal blocks, judged on the others and all abnormal ones",
            splits.hdfs_sequences,
            measure_detection,
        ),
        Protocol(
            "hdfs-sequences/types",
            "hdfs-sequences",
            "kinds of all abnormal blocks against their types",
            splits.hdfs_types,
            measure_kinds,
        ),
        Protocol(
            "hdfs-sequences/unseen",
            "hdfs-sequences",
            "kinds learnt from half of the abnormal blocks, judged on the other half; each type left out in turn",
            splits.hdfs_types_unseen,
            measure_unseen,
        ),
        Protocol(
            "openstack-nova",
            "openstack-nova",
            "kinds, learnt without labels from half of the instances, judged on the others; the fault is the file",
            splits.nova_halves,
            measure_kinds,
        ),
        Protocol(
            "synthetic/kinds",
            "synthetic",
            "normal and three kinds among sessions that were clustered, normal ones to learn from given",
            splits.synthetic,
            measure_kinds,
        ),
        Protocol(
            "synthetic/unseen",
            "synthetic",
            "the same kinds in sessions made later; each kind left out in turn",
            splits.synthetic_unseen,
            measure_unseen,
        ),
        Protocol(
            "service/kinds",
            "service",
            "kinds of fault of a simulated service, without labels, among the sessions that were learnt from",
            splits.service,
            measure_kinds,
        ),
        Protocol(
            "service/unseen",
            "service",
            "detection and kinds in another log of that service",
            splits.service_unseen,
            measure_detection,
        ),
        Protocol(
            "service/deploy",
            "service",
            "detection in another log of that service, in the midst of which a deploy changes templates",
            splits.service_deploy,
            measure_deploy,
        ),
        Protocol("parsing", "parsing", "grouping of messages by template, one setting for all systems", None, None),
    )
}


def protocols_of(names: Sequence[str]) -> list[Protocol]:
    """The protocols of some data sets, or single ones by name; `all` of them.

    Example:
        >>> [protocol.name for protocol in protocols_of(["synthetic", "parsing"])]
        ['synthetic/kinds', 'synthetic/unseen', 'parsing']
    """
    wanted = set(names)
    return [one for one in PROTOCOLS.values() if {"all", one.name, one.dataset} & wanted]
