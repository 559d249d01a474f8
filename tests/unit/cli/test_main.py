"""The group of the commands: listed without being imported, imported when run."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import commands
from cli.main import COMMANDS, load_command, main

EVERYTHING = 10_000


def test_every_file_of_commands_is_a_command() -> None:
    files = {path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py")}
    assert {module.rpartition(".")[2].partition(":")[0] for module, _ in COMMANDS.values()} == files


@pytest.mark.parametrize("name", COMMANDS)
def test_the_group_lists_a_command_by_its_first_sentence(name: str) -> None:
    command = load_command(name)
    assert command.name == name
    assert main.commands[name].get_short_help_str() == command.get_short_help_str(EVERYTHING)


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    refused = CliRunner().invoke(main, ["transfre"])
    assert refused.exit_code == 2
    assert "transfer" in refused.stderr


def test_a_package_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "serve", ("no_such_package.serve:serve", ""))
    refused = CliRunner().invoke(main, ["serve"])
    assert refused.exit_code == 1
    assert refused.stderr == "plumage: `plumage serve` needs no_such_package, which is not installed here\n"


def test_no_command_loads_torch_before_it_computes() -> None:
    """Help and refusals of arguments take no half a minute."""
    script = (
        "import sys; from cli.main import COMMANDS, load_command; list(map(load_command, COMMANDS));"
        "print(*sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_options_of_a_command_are_completed() -> None:
    completed = CliRunner().invoke(
        main,
        [],
        prog_name="plumage",
        env={"_PLUMAGE_COMPLETE": "bash_complete", "COMP_WORDS": "plumage up --po", "COMP_CWORD": "2"},
    )
    assert "--port" in completed.stdout
