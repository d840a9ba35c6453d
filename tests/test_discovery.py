"""Stages 2 to 4: how the kinds that are found get their keys and names."""

from __future__ import annotations

import random

from conftest import sequences_of, small_config
from enhanced_deeplog import EnhancedDeepLog
from enhanced_deeplog.discovery import _key_of


def test_classes_with_the_same_telling_templates_and_pattern_have_keys_of_their_own() -> None:
    templates = (("retry <*>", 0.7),)
    first = _key_of(templates, "repetition", set())
    second = _key_of(templates, "repetition", {first})
    third = _key_of(templates, "repetition", {first, second})
    assert first.endswith("-repetition")
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_a_key_does_not_follow_how_much_each_template_tells() -> None:
    assert _key_of((("a", 0.7), ("b", 0.2)), "volume", set()) == _key_of((("b", 0.5), ("a", 0.4)), "volume", set())


def test_a_kind_is_named_after_the_step_that_it_lacks_or_after_which_it_ends() -> None:
    order = random.Random(0)

    def session(*, checked: bool = True, whole: bool = True) -> str:
        reads, writes = ("2 " * order.randint(0, 9) for _ in range(2))
        return f"1 {reads}{writes.replace('2', '3')}{'4 ' if checked else ''}{'5 6' if whole else ''}".strip()

    normal = [f"n{i},{session()}" for i in range(300)]
    unchecked = [f"u{i},{session(checked=False)}" for i in range(20)]
    cut = [f"c{i},{session(whole=False)}" for i in range(20)]
    mixed = sequences_of(normal[:100] + unchecked + cut)
    model = EnhancedDeepLog(small_config()).fit(mixed, normal=sequences_of(normal))
    names = [one.name.split(";")[0] for one in model.classes]
    assert names == ["unusual counts: without 4", "ends too early: after 4"]
