"""What several test files share: small benchmarks, and models fitted to them once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings

from enhanced_deeplog import Config, EnhancedDeepLog, LogRecords
from enhanced_deeplog.evaluation.synthetic import SyntheticBenchmark, make_benchmark

# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

SMALL_CONFIG = {
    "learning": {
        "hidden_size": 16,
        "embedding_size": 8,
        "num_layers": 1,
        "dropout": 0.0,
        "learning_rate": 0.02,
        "epochs": 8,
        "compare_window_sizes": [],
    },
    "detection": {"n_folds": 2, "alarm_rate": 0.01},
    "classifier": {"epochs": 8},
}


def small_config(**sections: dict[str, object]) -> Config:
    """Settings with which a fit takes a second or two."""
    names = {*SMALL_CONFIG, *sections}
    return Config.of({name: {**SMALL_CONFIG.get(name, {}), **sections.get(name, {})} for name in names})


def sequence_lines(prefix: str, sessions: Sequence[np.ndarray]) -> list[str]:
    return [f"{prefix}{i},{' '.join(map(str, session))}" for i, session in enumerate(sessions)]


def sequences_of(lines: Sequence[str], **options: object) -> LogRecords:
    return LogRecords.from_lines(lines, format="sequences", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def benchmark() -> SyntheticBenchmark:
    return make_benchmark(n_normal=300, n_abnormal=60)


@pytest.fixture(scope="session")
def mixed_lines(benchmark: SyntheticBenchmark) -> list[str]:
    return sequence_lines("m", benchmark.mixed)


@pytest.fixture(scope="session")
def normal_lines(benchmark: SyntheticBenchmark) -> list[str]:
    return sequence_lines("n", benchmark.normal)


@pytest.fixture(scope="session")
def fitted(mixed_lines: list[str], normal_lines: list[str]) -> EnhancedDeepLog:
    """All four stages, normal sessions given. Never changed by a test."""
    model = EnhancedDeepLog(small_config())
    return model.fit(sequences_of(mixed_lines), normal=sequences_of(normal_lines), workers=1)
