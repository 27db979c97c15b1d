"""Commands: where each is written, and that its help is for people who know none of the code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from zoo.cli import main

FOLDER = Path(main.__file__).parent


def commands(command: Any, name: str = "zoo") -> Iterator[tuple[str, Any]]:
    """Every command below this one, without groups, by what is typed."""
    for word, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(commands(get_command(main.app)))
OPTIONS = [
    pytest.param(parameter, id=f"{name} {parameter.name}")
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.name != "help"
]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_one_function_in_a_file_of_the_command_line(name):
    # Typer wraps the function; its file is that of the code.
    function = COMMANDS[name].callback.__wrapped__
    file = Path(function.__code__.co_filename)
    assert file.parent == FOLDER
    assert file.name not in ("main.py", "parameters.py")


def test_no_class_repeats_the_options_of_a_command():
    options = {name: {p.name for p in command.params} for name, command in COMMANDS.items()}
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = {f.target.id for f in node.body if isinstance(f, ast.AnnAssign)}
                assert node.name != "Request", file.name
                assert not any(len(fields & each) > 2 for each in options.values()), node.name


def test_modules_of_commands_import_nothing_heavy_at_the_top():
    light = {"typer", "pathlib", "zoo.errors", "zoo.files", "zoo.text", "zoo._version", "zoo.cli"}
    light |= sys.stdlib_module_names  # whose time is measured elsewhere
    for file in FOLDER.glob("*.py"):
        if file.name == "probe.py":  # a program of its own
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            else:
                found = {node.module} if isinstance(node, ast.ImportFrom) else set()
            for module in found:
                ours = ".".join(module.split(".")[:2])
                assert {module, ours, module.split(".")[0]} & light, (file, module)


@pytest.mark.parametrize("parameter", OPTIONS)
def test_the_help_of_an_option_is_a_phrase(parameter):
    # What stands in brackets behind the phrase is the default, or a variable that sets it.
    phrase, _, bracket = (parameter.help or "").partition(" [")
    assert len(phrase.split()) > 2
    assert phrase[0].isupper()
    assert phrase[-1] == "."
    assert not phrase.startswith(("Of ", "As "))
    assert not bracket or re.fullmatch(r"(default: |or )[^\[\]]+\]", bracket)


@pytest.mark.parametrize("name", ["zoo fit", "zoo bench"])
def test_words_of_a_training_are_explained_where_they_are_typed(name):
    help_of = {parameter.name: parameter.help for parameter in COMMANDS[name].params}
    assert "a FLOP is a floating-point operation, the same on every mach" in help_of["budget"]
    assert "a TFLOP 10^12 of them" in help_of["budget"]
    assert help_of["crop_scale"].startswith("Cut random squares out of each training image: ")
    assert "shrunk to --size. [default: " in help_of["stored_size"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_what_it_does_and_gives_an_example(name):
    first, *others = COMMANDS[name].help.split("\n\n")
    assert re.match(r"[A-Z][a-z]+ ", first)
    assert first.endswith(".")
    example = others[-1]
    assert example.startswith(f"Example: {name}")
    # Its options exist.
    offered = {option for p in COMMANDS[name].params for option in p.opts + p.secondary_opts}
    assert {word for word in example.split() if word.startswith("-")} <= offered


@pytest.mark.parametrize("arguments", [("--help",), ("weights", "--help")], ids=" ".join)
def test_the_list_of_commands_cuts_no_line(zoo, arguments):
    answer = zoo(*arguments)
    assert answer.code == 0
    assert "..." not in answer.stdout.partition("Commands:")[2]
