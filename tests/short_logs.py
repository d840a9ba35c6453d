"""Short logs of anything: keys or none, times or none, clocks that are set back, bodies that fit no template."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import strategies as st

from enhanced_deeplog.events import EventVocabulary
from enhanced_deeplog.logs.templates import TemplateMiner

START = datetime(2026, 1, 1)
FORMAT = "<Timestamp>|<SessionKey>|<Content>"
MINER = TemplateMiner()
MINER.learn(["opened", "closed", "moved"])
VOCABULARY = EventVocabulary.of(template.text for template in MINER.templates)

# (key or none, seconds since the line before or no time at all, what happened)
lines_of_a_file = st.lists(
    st.tuples(
        st.sampled_from(["req-1", "req-2", "req-3", "req-4", "req-5", ""]),
        st.one_of(st.integers(-3, 90), st.none()),
        st.sampled_from(["opened", "closed", "moved", "lost"]),
    ),
    min_size=1,
    max_size=40,
)


def text_of(lines: list[tuple[str, int | None, str]]) -> str:
    time, written = START, []
    for key, seconds, body in lines:
        time += timedelta(seconds=seconds or 0)
        stamp = f"{time:%Y-%m-%d %H:%M:%S}" if seconds is not None else ""
        written.append(f"{stamp}|{key}|{body}\n")
    return "".join(written)
