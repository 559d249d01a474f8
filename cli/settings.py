"""Settings from the environment, with one readable line when one of them is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from cli.errors import BadInput


@contextmanager
def explained() -> Iterator[None]:
    """Turns the refusal of a setting into BadInput that names its environment variable."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        problems = (f"PLUMAGE_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise BadInput("; ".join(problems), "bad_setting") from error
    except ValueError as error:
        raise BadInput(str(error), "bad_setting") from error
