"""Look for bytes that the readers read wrongly, by hypothesis and by atheris, for so long each.

python benchmarks/fuzz_readers.py --seconds 600

What is found goes to tests/seeds, and from then on the tests read it. What must hold is in tests/reader_check.py.
atheris (pip install atheris) steers by which branches of the readers its bytes have taken; without it, only hypothesis
looks.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "tests" / "seeds"
sys.path.insert(0, str(ROOT / "tests"))  # where reader_check stands, beside the test that reads the seeds

_TOO_LONG_S = 60  # for two thousand bytes at most, beside other work


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--seconds", type=float, default=600.0, help="for each of the two")
    given.add_argument("--by", choices=["hypothesis", "atheris"], help="only this one, in this process")
    options = given.parse_args()
    if options.by == "hypothesis":
        by_hypothesis(options.seconds)
    elif options.by == "atheris":
        by_atheris(options.seconds)
    else:
        have = [name for name in ("hypothesis", "atheris") if importlib.util.find_spec(name)]
        runs = [
            subprocess.run([sys.executable, __file__, "--by", name, "--seconds", str(options.seconds)], check=False)
            for name in have
        ]
        print("; ".join(f"{name}: exit {run.returncode}" for name, run in zip(have, runs, strict=True)))
        sys.exit(any(run.returncode for run in runs))


def by_hypothesis(seconds: float) -> None:
    """Pieces of real formats, cut and mixed, with what is special in bytes between them."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from reader_check import examples

    pieces = [line + b"\n" for text in examples() for line in text.splitlines()]
    special = [
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xe2\x80\xa8",
        b"\x1b[31m",
        b"{",
        b'"',
        b"\\",
        b"\t",
        b" ",
        b"\xef\xbb\xbf",
    ]
    piece = st.one_of(
        st.sampled_from(pieces),
        st.sampled_from(special),
        st.tuples(st.sampled_from(pieces), st.integers(0, 200)).map(lambda cut: cut[0][: cut[1]]),
        st.binary(max_size=20),
    )
    until, n_read = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.log"

        def check(raw: bytes) -> None:
            nonlocal n_read
            n_read += 1
            keep_what_fails(raw, path)

        rounds = 0
        while time.monotonic() < until:
            rounds += 1
            run = given(st.lists(piece, max_size=30).map(b"".join))(check)
            quiet = settings(
                max_examples=500,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                derandomize=False,
            )
            quiet(run)()
    print(f"hypothesis: {n_read:,} logs read in {seconds:.0f} s, {rounds} rounds; nothing wrong.")


def by_atheris(seconds: float) -> None:
    """Bytes that take new branches of the readers, beginning with the examples of the formats and the seeds."""
    import atheris

    with atheris.instrument_imports(include=["enhanced_deeplog.logs", "json"]):
        from reader_check import examples  # imports the readers

    SEEDS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus, path = Path(folder) / "corpus", Path(folder) / "fuzz.log"
        corpus.mkdir()
        for i, text in enumerate([*examples(), *(seed.read_bytes() for seed in sorted(SEEDS.iterdir()))]):
            (corpus / f"{i:03}").write_bytes(text)
        atheris.Setup(
            [
                sys.argv[0],
                str(corpus),
                f"-max_total_time={seconds:.0f}",
                "-max_len=2000",
                "-print_final_stats=1",
                f"-timeout={_TOO_LONG_S}",
                f"-artifact_prefix={SEEDS}/",
                f"-seed={random.SystemRandom().randrange(2**31)}",
            ],
            lambda raw: keep_what_fails(raw, path),
        )
        atheris.Fuzz()


def keep_what_fails(raw: bytes, path: Path) -> None:
    """Check the readers; bytes that they read wrongly become a seed."""
    from reader_check import check_reader

    try:
        check_reader(raw, path)
    except BaseException:
        SEEDS.mkdir(exist_ok=True)
        (SEEDS / f"{hashlib.sha256(raw).hexdigest()[:12]}.log").write_bytes(raw)
        raise


if __name__ == "__main__":
    main()
