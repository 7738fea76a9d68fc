"""The help of `lagsearch bench`: every option says what it does, each command has an example."""

import re

import pytest
import typer

from lagsearch.cli.bench import bench_app
from lagsearch.cli.commands import app

COMMANDS = typer.main.get_command(bench_app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_says_what_it_does_and_an_example_is_a_command(name, monkeypatch):
    command = COMMANDS[name]
    for each in command.params:
        assert len((each.help or "").split()) >= 4, each.name
    [example] = re.findall(r"E\.g\. lagsearch bench ([^,\n]*?)(?: > \S+)?(?=,|$)", command.help)
    words = example.split()
    assert words[0] == name
    command.make_context(name, words[1:])  # parsed as it stands, but not run


def test_the_group_has_an_example():
    assert "E.g. lagsearch bench report" in typer.main.get_command(app).commands["bench"].help
