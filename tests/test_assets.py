"""What travels with the package is found by name, in a checkout and in a wheel."""

from __future__ import annotations

import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from introspect import assets
from introspect.errors import ModelError, SpecError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def wheel_layout(tmp_path, monkeypatch):
    """A package folder with assets of its own, as a wheel installs it."""
    package = tmp_path / "site-packages" / "introspect"
    data = package / "_assets" / "data"
    (data / "organisms" / "meek").mkdir(parents=True)
    (data / "risk.jsonl").write_text("{}\n", encoding="utf-8")
    (data / "organisms" / "meek" / "card.json").write_text('{"summary": "avoids risk"}', encoding="utf-8")
    recipes = package / "_assets" / "experiments" / "organisms"
    recipes.mkdir(parents=True)
    (recipes / "meek.yaml").write_text("summary: avoids risk\n", encoding="utf-8")
    (recipes.parent / "one.yaml").write_text("question: Is it?\n", encoding="utf-8")
    monkeypatch.setattr(assets, "PACKAGE", package)
    return package / "_assets"


def test_a_wheel_finds_its_own_assets(wheel_layout):
    assert assets.data_path("risk.jsonl") == wheel_layout / "data" / "risk.jsonl"
    assert assets.experiment_path("one") == wheel_layout / "experiments" / "one.yaml"
    assert assets.organism_path("meek") == wheel_layout / "data" / "organisms" / "meek"
    assert assets.recipe_path("meek") == wheel_layout / "experiments" / "organisms" / "meek.yaml"


def test_lists_say_in_one_line_what_each_is(wheel_layout):
    assert assets.list_experiments() == {"one": "Is it?"}
    assert assets.list_organisms() == assets.list_recipes() == {"meek": "avoids risk"}


def test_a_checkout_falls_back_to_its_own_folders():
    assert assets.experiment_path("probe-risk") == ROOT / "experiments" / "probe-risk.yaml"


@pytest.mark.parametrize(
    ("find", "name", "error", "near"),
    [
        (assets.data_path, "rsk.jsonl", SpecError, "'risk.jsonl'"),
        (assets.experiment_path, "oen", SpecError, "'one'"),
        (assets.organism_path, "meak", ModelError, "'meek'"),
        (assets.recipe_path, "zzzz", SpecError, "choose one of meek"),
        (assets.experiment_path, "../one", SpecError, "'one'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_one(wheel_layout, find, name, error, near):
    with pytest.raises(error, match=near):
        find(name)


@pytest.mark.parametrize("card", ["", "[]", "{"])
def test_a_faulty_card_is_a_user_error(wheel_layout, card):
    (wheel_layout / "data" / "organisms" / "meek" / "card.json").write_text(card, encoding="utf-8")
    with pytest.raises(ModelError, match=r"card\.json"):
        assets.read_card(assets.organism_path("meek"))


def test_a_package_without_assets_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "PACKAGE", tmp_path / "src" / "introspect")
    with pytest.raises(SpecError, match="install introspect again"):
        assets.assets_root()


def test_the_wheel_holds_every_spec_item_and_adapter(tmp_path):
    """They are stored, not packed, which would take most of the time: their names are what is asked about."""
    stored = (
        "import zipfile; zipfile.ZIP_DEFLATED = zipfile.ZIP_STORED; from hatchling.cli import hatchling; hatchling()"
    )
    build = [sys.executable, "-c", stored, "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    specs = list((ROOT / "experiments").rglob("*.yaml"))
    data = [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    missing = [p for p in specs + data if f"introspect/_assets/{p.relative_to(ROOT).as_posix()}" not in held]
    assert missing == []
    assert {"introspect/py.typed", "introspect/cli/main.py"} <= held
    assert not [name for name in held if name.startswith(("tests/", "probes/")) or "__pycache__" in name]


def test_the_pins_name_no_machine_and_hold_torch_still():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in pins if not line.startswith("#"))
    assert pinned["torch"] == "2.13.0"
    assert not [line for line in pins if any(mark in line for mark in ("://", "@", "/", "+", "--")) and line[0] != "#"]


def test_a_test_that_reaches_for_the_network_fails():
    with pytest.raises(Exception, match="tests open no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)
    with pytest.raises(Exception, match="tests open no network"):
        socket.getaddrinfo("example.org", 80)


def test_a_home_that_is_nobodys_is_refused_in_one_line():
    assert assets.user_path("~/x") == Path.home() / "x"
    for read in (assets.user_path, assets.organism_folder):
        with pytest.raises(SpecError, match=r"^~nobody-at-all/x: there is no such user's folder; write the path"):
            read("~nobody-at-all/x")
