"""What the command line says when something is wrong: one line, no traceback.

ClickException
├── BadInput   exit code 2: the arguments or files cannot be used
└── Failed     exit code 1: the arguments were fine, the work did not succeed
"""

from typing import IO, Any

import click


class Failed(click.ClickException):
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
