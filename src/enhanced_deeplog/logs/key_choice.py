"""Which key a log is written around: of the keys we know and of what looks like one in it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from enhanced_deeplog.logs.found_keys import beginnings, found_keys, makes_units_of_work
from enhanced_deeplog.logs.session_keys import CANDIDATE_KEYS, SessionKey

__all__ = ["SessionKeyChoice", "find_session_key"]

_SAMPLE_RECORDS = 50_000
_MOST_CHARACTERS = 300  # of a body that tell what sort of record it is
_MANY_PARTS = 10  # records: a session of more is no surer the whole of something
_LONG = 100  # records
_LEAST_SCORE = 0.35  # two sessions of all records, by request: 1 * 1 * .5 * .8 = .4


@dataclass(frozen=True)
class SessionKeyChoice:
    """The key that a log is written around, and what was weighed to find it.

    Attributes:
        chosen: The key to use; None if none is good enough: sessions are then blocks of consecutive records.
        runner_up: The next best key that would do; None if there is none.
        candidates: One row a key that occurs, best first: `key`, `coverage` (share of records that have it),
            `n_sessions`, `median_length` (records of a session), `singleton_share` (sessions of one record),
            `score`, `acceptable`.
        n_records: So many records were looked at.
    """

    chosen: SessionKey | None
    runner_up: SessionKey | None
    candidates: pl.DataFrame
    n_records: int

    @property
    def reason(self) -> str:
        """One line for a person: what was chosen, and why."""
        if self.chosen is None:
            return "no key: consecutive blocks"
        best = self.candidates.row(0, named=True)
        return (
            f"{best['key']}: in {best['coverage']:.0%} of the records, {best['n_sessions']:,} sessions, "
            f"{best['median_length']:g} records each (median), {best['singleton_share']:.0%} have only one"
        )


def find_session_key(batch: pl.DataFrame) -> SessionKeyChoice:
    """Find what groups the records of a log into sessions, from its first 50,000 records.

    Args:
        batch: Records in the order of time, columns of `RECORD_SCHEMA`.

    Example:
        >>> lines = [f"blk_{block} {step}" for step in ("opened", "written") for block in (1, 2, 3)]
        >>> frame = pl.DataFrame({"text": lines, "body": lines}).with_columns(session_key=None, process=None)
        >>> find_session_key(frame).chosen.name
        'block'
    """
    sample = batch.head(_SAMPLE_RECORDS)
    weighed = [(key, row) for key in CANDIDATE_KEYS.values() if (row := _weigh(key, key.extract(sample))) is not None]
    # What is meant by a known name is sure; a thread is known, too, but seldom does one thing only.
    if not any(row[-1] and key.name != "thread" for key, row in weighed):
        weighed += _weigh_found(sample)
    table = pl.DataFrame([row for _, row in weighed], schema=_CANDIDATES_SCHEMA, orient="row")
    table = table.sort("acceptable", "score", descending=True, maintain_order=True)
    keys = {key.name: key for key, _ in weighed}
    good = [keys[name] for name in table.filter("acceptable")["key"]]
    return SessionKeyChoice(good[0] if good else None, good[1] if len(good) > 1 else None, table, len(sample))


_CANDIDATES_SCHEMA = {
    "key": pl.String,
    "coverage": pl.Float64,
    "n_sessions": pl.Int64,
    "median_length": pl.Float64,
    "singleton_share": pl.Float64,
    "score": pl.Float64,
    "acceptable": pl.Boolean,
}
_Row = tuple[str, float, int, float, float, float, bool]


def _weigh(key: SessionKey, keys: pl.Series, *, by_length: bool = False) -> _Row | None:
    """One row of `SessionKeyChoice.candidates`; None if the key doesn't occur.

    The score is a product of shares, so that one bad property can't be made up for by another: the share of
    records that have the key; the share of sessions with more than one record; the chance that two records
    drawn at random lie in different sessions (0 for one session, .5 for two, small if one session swallows
    most records); and the weight of the key. Of keys whose meaning isn't known, also the share of records that follow
    another one of their session: of two that all records have, one names the whole and the other its parts. But what
    has hundreds of records is more often a process, a pod or a day.
    """
    sessions = _sessions_of(keys)
    if sessions.is_empty():
        return None
    n_records = int(sessions["length"].sum())
    coverage = n_records / len(keys)
    apart = 1.0 - float(((sessions["length"] / n_records) ** 2).sum())
    lengths = _unhurried(sessions, len(keys))["length"]
    median = float(lengths.quantile(0.5, "midpoint") or 0.0)
    singletons = int((lengths == 1).sum()) / len(lengths)
    score = coverage * (1.0 - singletons) * apart * key.weight
    if by_length and median:
        score *= (1.0 - 1.0 / min(median, _MANY_PARTS)) * min(_LONG / median, 1.0) ** 0.5
    acceptable = len(sessions) >= 2 and median >= 2 and singletons <= 0.5 and score >= _LEAST_SCORE
    return key.name, coverage, len(sessions), median, singletons, score, acceptable


def _weigh_found(sample: pl.DataFrame) -> list[tuple[SessionKey, _Row]]:
    """The keys found in the log itself that would do and make units of work."""
    short = sample.with_columns(beginnings(sample["text"]))
    without_values = sample["body"].str.head(_MOST_CHARACTERS).str.replace_all(r"[^\s]*[0-9][^\s]*", "#")
    first_words = without_values.str.extract(r"^(\S*\s*\S*)", 1)  # a name may follow, which makes each body another one
    weighed: list[tuple[SessionKey, _Row]] = []
    partitions: list[pl.Series] = []
    for key in found_keys(sample["text"]):
        keys = key.extract(short)
        row = _weigh(key, keys, by_length=True)
        if row is None or not row[-1]:
            continue
        if not makes_units_of_work(keys, (without_values, first_words)):
            continue
        # A name and the shape of what stands behind it make the same sessions.
        placed = pl.DataFrame({"key": keys}).with_row_index("place")
        partition = placed.select(pl.col("place").min().over("key")).to_series()
        if not any((partition == other).all() for other in partitions):
            weighed.append((key, row))
            partitions.append(partition)
    return weighed


def _sessions_of(keys: pl.Series) -> pl.DataFrame:
    """One row a session: `length` in records, and the `first` record's place."""
    return (
        keys.alias("key").to_frame().with_row_index("place").drop_nulls("key").group_by("key")
        .agg(pl.len().cast(pl.Int64).alias("length"), pl.col("place").min().alias("first"))
    )  # fmt: skip


def _unhurried(sessions: pl.DataFrame, n_records: int) -> pl.DataFrame:
    """Sessions that began in the first half of the sample: the end of the sample cuts the others short."""
    early = sessions.filter(pl.col("first") * 2 < n_records)
    return early if len(early) >= 2 else sessions
