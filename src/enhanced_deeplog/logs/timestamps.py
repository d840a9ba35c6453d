"""How points in time are written in a log, and which way one source writes them.

Known are thirteen styles of text, with or without a fraction and a zone, three of them without a year, and
numbers since 1970 in s, ms, us or ns. Both are decided once for a source, from its first lines, and don't
change from line to line.
"""

from __future__ import annotations

import difflib
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from enhanced_deeplog.errors import InputError, UsageError
from enhanced_deeplog.logs.foreign_text import extract_groups, printable

__all__ = ["TIMESTAMP_UNITS", "UTC", "TimestampReader", "TimestampStyle", "check_time_zone", "check_timestamp_unit"]

_NS_PER = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
TIMESTAMP_UNITS = tuple(_NS_PER)
_UTC_NS = pl.Datetime("ns")
UTC = "UTC"


@dataclass(frozen=True)
class TimestampStyle:
    """One way of writing a point in time: a part of fixed width, then perhaps a fraction and a zone.

    Attributes:
        strptime: The part of fixed width.
        width: So many characters.
        rewrite: A Rust regex and what it is replaced by, before all else: what makes the width fixed.
    """

    strptime: str
    width: int
    rewrite: tuple[str, str] | None = None

    def read(self, texts: pl.Series, latest: datetime, zone: str = UTC) -> pl.Series:
        """Texts -> Datetime("ns") in UTC; null where written otherwise.

        Args:
            texts: Timestamps as written, String (N,).
            latest: Where the year is missing, it is the last one that gives no time more than two days after this.
            zone: Of texts that name none.
        """
        if self.rewrite is not None:
            texts = texts.str.replace(*self.rewrite)
        base, rest = texts.str.slice(0, self.width), texts.str.slice(self.width)
        if "%b" not in self.strptime:  # names of days and months have a T of their own
            base = base.str.replace("T", " ", literal=True)
        times = self._times(base) if "%y" in self.strptime.lower() else self._times_of_last_year(base, latest)
        if (rest.str.len_bytes().max() or 0) == 0:
            return _in_utc(times, zone)
        return _with_fraction_and_zone(times, rest, zone)

    def _times(self, texts: pl.Series, year: str = "") -> pl.Series:
        # Parsed in microseconds first: year 9999 would overflow nanoseconds, and becomes null instead.
        style = f"%Y {self.strptime}" if year else self.strptime
        return (year + texts).str.to_datetime(style, time_unit="us", strict=False).cast(_UTC_NS, strict=False)

    def _times_of_last_year(self, texts: pl.Series, latest: datetime) -> pl.Series:
        last = pl.lit(latest + timedelta(days=2), _UTC_NS)
        years = [self._times(texts, f"{latest.year + n:04} ").rename(str(n)) for n in (1, 0, -1, -2, -3, -4)]
        known = pl.DataFrame(years)  # 29 February is not in every year
        return known.select(pl.coalesce(pl.when(pl.col(year) <= last).then(year) for year in known.columns)).to_series()


def _in_utc(times: pl.Series, zone: str) -> pl.Series:
    """Times on the clocks of a zone -> UTC; of an hour that comes twice the first, null for one that never came."""
    if zone == UTC:
        return times
    there = times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return there.dt.convert_time_zone(UTC).dt.replace_time_zone(None)


_FRACTION_AND_ZONE = (
    r"^(?P<whole>(?:[.,](?P<fraction>[0-9]{1,9})[0-9]*)?"
    r" ?(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?)$"
)


def _with_fraction_and_zone(times: pl.Series, rest: pl.Series, zone: str) -> pl.Series:
    """Add what stands behind the seconds; null where that is neither a fraction nor a zone."""

    def number(part: str) -> pl.Expr:
        return pl.col(part).cast(pl.Int64, strict=False).fill_null(0)

    fraction_ns = pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0)
    offset_ns = (number("hours") * 60 + number("minutes")) * 60 * _NS_PER["s"]
    east = pl.when(pl.col("sign") == "-").then(-offset_ns).otherwise(offset_ns)
    begin = pl.lit(times.cast(pl.Int64))
    if zone != UTC:
        begin = pl.when(pl.col("zone").is_null()).then(pl.lit(_in_utc(times, zone).cast(pl.Int64))).otherwise(begin)
    total = begin + fraction_ns - east
    parts = extract_groups(rest, _FRACTION_AND_ZONE)
    time = pl.when(pl.col("whole").is_not_null()).then(total).cast(_UTC_NS)
    return parts.select(time.alias("time"))["time"]


_STYLES = (
    TimestampStyle("%Y-%m-%d %H:%M:%S", 19),
    TimestampStyle("%y%m%d %H%M%S", 13),  # HDFS
    TimestampStyle("%y/%m/%d %H:%M:%S", 17),  # Spark
    TimestampStyle("%Y/%m/%d %H:%M:%S", 19),
    TimestampStyle("%y-%m-%d %H:%M:%S", 17),
    TimestampStyle("%Y-%m-%d-%H.%M.%S", 19),  # Blue Gene/L
    TimestampStyle(  # Apache error log; its fraction stands before the year
        "%a %b %d %H:%M:%S %Y", 24, (r"^(.{16}[0-9:]{3})(\.[0-9]+) ([0-9]{4})$", "${1} ${3}${2}")
    ),
    TimestampStyle("%d/%b/%Y:%H:%M:%S", 20),  # Apache access log
    TimestampStyle("%d %b %Y %H:%M:%S", 20),  # Redis
    TimestampStyle("%d-%b-%Y %H:%M:%S", 20),  # Tomcat
    TimestampStyle("%b %d %H:%M:%S", 15, (r"^([A-Z][a-z]{2}) +([0-9]) ", "${1} 0${2} ")),  # syslog
    TimestampStyle("%m%d %H:%M:%S", 13),  # klog
    TimestampStyle("%m-%d %H:%M:%S", 14),  # logcat
)

# From 1973 on the magnitudes of the units don't overlap. Smaller numbers are no date that a log would have.
_SMALLEST = {"s": 10**8, "ms": 10**11, "us": 10**14, "ns": 10**17}
_NUMBER = r"^(?P<whole>[0-9]{1,19})(?:\.(?P<fraction>[0-9]{1,9})[0-9]*)?$"


def _magnitude() -> pl.Expr:
    """The unit that each number of column `whole` would have if it were a time since 1970 near ours."""
    by_size = [pl.when(pl.col("whole") >= _SMALLEST[unit]).then(pl.lit(unit)) for unit in ("ns", "us", "ms", "s")]
    return pl.coalesce(by_size)


def _numbers(texts: pl.Series) -> pl.DataFrame:
    """Columns `whole` and `nano` (billionths of the unit), Int64; null where the text is no plain number."""
    return extract_groups(texts, _NUMBER).select(
        pl.col("whole").cast(pl.Int64, strict=False),
        nano=pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0),
    )


def _epoch_times(texts: pl.Series, stated: pl.Series, decided: str | None) -> pl.Series:
    """Numbers since 1970 -> Datetime("ns"); `stated` is the unit each one carries, null where none does.

    A number without a stated unit is read in the `decided` one, and only if its magnitude agrees: the unit of
    a source is never guessed value by value. Zero means "not known" (OpenTelemetry) and gives null.
    """
    frame = _numbers(texts).with_columns(unit=stated)
    fits = pl.col("unit").is_not_null() | (_magnitude() == pl.lit(decided, pl.String))
    ns_per = pl.col("unit").fill_null(pl.lit(decided, pl.String)).replace_strict(_NS_PER, default=None)
    in_range = (pl.col("whole") > 0) & (pl.col("whole") < (2**63 - 1) // ns_per)
    total = pl.col("whole") * ns_per + pl.col("nano") * ns_per // _NS_PER["s"]
    return frame.select(pl.when(fits & in_range).then(total).cast(_UTC_NS).alias("time"))["time"]


@dataclass(frozen=True)
class TimestampReader:
    """How one source writes its timestamps, decided once from its first lines.

    Attributes:
        style: How texts are written; None if none of the known ways was seen.
        unit: Unit of numbers that don't state one: s, ms, us or ns; None if there were none.
        latest: When the source was written last, UTC: what tells the year where it is not written.
        zone: Of timestamps that name none.
    """

    style: TimestampStyle | None
    unit: str | None
    latest: datetime
    zone: str = UTC

    @classmethod
    def for_sample(
        cls, texts: pl.Series, stated: pl.Series, source: str, latest: datetime, zone: str = UTC
    ) -> TimestampReader:
        """Decide from a sample: the style that reads the most texts, the unit that all numbers agree on.

        Args:
            texts: Timestamps as written, String (N,), null where a line has none.
            stated: Unit that each one carries, String (N,), null where it carries none.
            source: Name of the source, for the error.
            latest: When it was written last, UTC.
            zone: Of texts that name none.

        Raises:
            InputError: If numbers without a unit have magnitudes of more than one unit.
        """
        texts = texts.str.strip_chars()
        n_texts, most, best = len(texts) - texts.null_count(), 0, None
        for style in _STYLES:
            if most == n_texts:
                break  # no other one reads more
            n_read = int(style.read(texts, latest).is_not_null().sum())
            if n_read > most:
                most, best = n_read, style
        return cls(best, _agreed_unit(texts, stated, source), latest, zone)

    def read(self, texts: pl.Series, stated: pl.Series) -> pl.Series:
        """Timestamps as written -> Datetime("ns") in UTC (N,); null where one can't be read."""
        texts = texts.str.strip_chars()
        if self.style is None and self.unit is None and stated.null_count() == len(stated):
            return pl.Series("timestamp", [None], _UTC_NS).new_from_index(0, len(texts))
        if self.style is None:
            times = texts.clear(len(texts)).cast(_UTC_NS)
        else:
            times = self.style.read(texts, self.latest, self.zone)
        if self.unit is not None or stated.null_count() < len(stated):
            numbers = _epoch_times(texts, stated, self.unit)
            times = times.to_frame("t").select(pl.coalesce("t", numbers))["t"]
        return times.rename("timestamp")


def _agreed_unit(texts: pl.Series, stated: pl.Series, source: str) -> str | None:
    """The unit that all numbers without a stated one look like; None if there are no such numbers."""
    bare = texts.filter(stated.is_null())
    units = _numbers(bare).with_columns(unit=_magnitude(), text=bare).drop_nulls("unit")
    seen = units.unique("unit", keep="first", maintain_order=True)
    if len(seen) > 1:
        (_, _, unit, text), (_, _, other_unit, other_text) = seen.rows()[:2]
        raise InputError(
            f"{printable(source)}: expected timestamps of one unit; {text} looks like {unit}, {other_text} "
            f"like {other_unit}. State the unit: --field timestamp:{unit}=NAME, or <Timestamp:{unit}> in a "
            f"format string."
        )
    return None if seen.is_empty() else str(seen["unit"][0])


def check_time_zone(zone: str) -> str:
    """The name of a time zone, as it is.

    Raises:
        UsageError: If there is no such zone.
    """
    if zone == UTC:
        return zone
    try:
        zoneinfo.ZoneInfo(zone)
        pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(zone)
    except (pl.exceptions.PolarsError, ValueError, zoneinfo.ZoneInfoNotFoundError, OSError):
        near = difflib.get_close_matches(zone, sorted(zoneinfo.available_timezones()), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"time zone '{printable(zone)}': expected a name such as Europe/Berlin, America/New_York or UTC.{hint}"
        ) from None
    return zone


def check_timestamp_unit(written: str, name: str, unit: str) -> None:
    """Refuse a unit that is none of ours, or stands behind another field than the timestamp.

    Args:
        written: The field as the caller wrote it, for the error.
        name: The field that it means.
        unit: What stands behind the colon.

    Raises:
        UsageError: If the unit can't stand there.
    """
    if name != "timestamp" or unit not in _NS_PER:
        raise UsageError(
            f"{printable(written)}: expected a unit only behind the timestamp, one of {', '.join(_NS_PER)}; "
            f"for example timestamp:ms."
        )
