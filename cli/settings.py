"""Settings from the environment: one that is refused is named by its variable, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from cli.errors import BadInput


@contextmanager
def setting_errors() -> Iterator[None]:
    """Turns a ValidationError of a setting, or a ValueError, into BadInput with the name of the variable."""
    try:
        yield
    except ValidationError as error:
        problems = (f"PLUMAGE_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise BadInput("; ".join(problems), "bad_setting") from error
    except ValueError as error:
        raise BadInput(str(error), "bad_setting") from error
