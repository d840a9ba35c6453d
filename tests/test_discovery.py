"""Stages 2 to 4: how the kinds that are found get their keys."""

from __future__ import annotations

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
