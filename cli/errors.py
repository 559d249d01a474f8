"""What stops a command: one line on stderr and an exit code, no traceback.

ClickException
└── Failed                  exit code 1: the arguments were fine, the work did not succeed
    ├── BadInput            exit code 2: the arguments, files or settings cannot be used
    └── EmbeddedRedisError  there is no Redis server to start, or it did not start
"""

from typing import IO, Any

import click


class Failed(click.ClickException):
    """Base class. `code` is stable and machine-readable; `plumage demo --once` reports it."""

    exit_code = 1

    def __init__(self, message: str, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"plumage: {self.message}", file=file, err=True)


class BadInput(Failed):
    exit_code = 2

    def __init__(self, message: str, code: str = "bad_input") -> None:
        super().__init__(message, code)


class EmbeddedRedisError(Failed):
    def __init__(self, message: str) -> None:
        super().__init__(message, "no_redis")
