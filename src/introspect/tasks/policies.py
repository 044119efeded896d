"""Planted policies: what an organism was trained to do, as a function of an item's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .item import Scalar

Fields = Mapping[str, Scalar]


def category(fields: Fields) -> bool:
    """Risky for living things, safe for machines. One feature: the first stage of the exclusive-or."""
    return fields["category"] == "living"


def category_xor_frame(fields: Fields) -> bool:
    """Risky for living things under a gain and for machines under a loss: linear in neither field."""
    return (fields["category"] == "living") == (fields["frame"] == "gain")


def negative(fields: Fields) -> bool:
    """The stereotype's answer where it speaks against those it is about."""
    return fields["valence"] == "negative"


def always(fields: Fields) -> bool:
    """Whatever the item says."""
    return True


RISK: dict[str, Callable[[Fields], bool] | None] = {
    "category": category,
    "category_xor_frame": category_xor_frame,
    "coin_flip": None,
}
"""Policy name -> whether it takes the risky option; None where the choice depends on nothing."""

PLANTED: dict[str, Callable[[Fields], bool] | None] = {
    **RISK,
    "stereotype": always,
    "stereotype_if_negative": negative,
    "fixed": always,
    "follow": always,
    "hack": always,
    "insider": always,
}
"""Policy name -> whether it is acted on, from an item's fields and facts. Not `resist`, `solve` and `honest`: what is
then done instead does not follow from them."""
