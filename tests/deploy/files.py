"""The deployment files, parsed as far as the tests need it."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One `FROM … AS name` of the Dockerfile, with its instructions in order."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return [argument for name, argument in self.instructions if name == instruction][-1]

    def command(self, instruction: str) -> list[str]:
        """The words of an instruction in exec form."""
        return [str(word) for word in json.loads(self.last(instruction))]

    def health_command(self) -> list[str]:
        return [str(word) for word in json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])]

    def copies(self) -> list[tuple[list[str], str]]:
        """(sources, destination) of what is copied from the repository."""
        found = []
        for name, argument in self.instructions:
            if name == "COPY" and not argument.startswith("--from="):
                *sources, destination = shlex.split(argument)
                found.append((sources, destination))
        return found

    def environment(self) -> dict[str, str]:
        words = [word for name, text in self.instructions if name == "ENV" for word in shlex.split(text)]
        return dict(word.split("=", 1) for word in words)


def read_stages() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for line in text.replace("\\\n", " ").splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            base, _, stage = argument.partition(" AS ")
            current = stages[stage] = Stage(stage, base)
        elif current is not None and name:
            current.instructions.append((name, " ".join(argument.split())))
    return stages


def read_compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found
