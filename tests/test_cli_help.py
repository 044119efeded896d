"""The help pages: complete, with examples that would be accepted."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from introspect.cli import main
from introspect.cli.cluster import with_address
from introspect.cli.main import app

GROUP = typer.main.get_command(app)
VERBS = sorted(GROUP.commands)


def help_page(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main([*args, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_the_verbs_are_those_of_the_design():
    assert [
        *("bench", "compare", "doctor", "explore", "export", "inject", "items", "link", "list", "probe", "pull"),
        *("push", "record"),
        *("report", "run", "score", "shift", "show", "steer", "train", "transfer", "verify"),
    ] == VERBS


def test_the_front_page_names_every_verb_and_says_what_it_does(capsys):
    page = help_page(capsys).partition("Commands:")[2]
    described = dict(line.split(maxsplit=1) for line in page.strip().splitlines())
    assert sorted(described) == VERBS
    assert not [line for line in described.values() if line.endswith("...")]


def test_no_arguments_at_all_show_the_front_page(capsys):
    front = help_page(capsys)
    with pytest.raises(SystemExit) as stop:
        main([])
    assert (stop.value.code, capsys.readouterr().out) == (0, front)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_on_the_page_with_a_text(capsys, verb):
    page = " ".join(help_page(capsys, verb).split())
    for parameter in GROUP.commands[verb].params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()[:3]) in page
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option in page


@pytest.mark.parametrize("verb", VERBS)
def test_every_page_has_examples_that_parse(capsys, verb):
    lines = re.findall(rf"^  (introspect {verb}\b.*)$", help_page(capsys, verb), flags=re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" > ")[0])[2:]
        GROUP.commands[verb].make_context(verb, with_address(words))
