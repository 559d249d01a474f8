"""A content check of the operator's own: a function that sees every picture and may refuse it.

    ContentCheckUnusable    the configured function cannot be loaded; the worker does not start
    ContentRefused          the check has refused a picture; the job fails with the code `content_refused`

See docs/content-check.md.
"""

from collections.abc import Callable
from importlib import import_module

from PIL import Image

ContentCheck = Callable[[Image.Image, str], str | None]
"""Gets a picture, RGB or RGBA in sRGB, and its role: the part of the form that it came as, `target`, `reference` or
`picture_NAME`, or `result`. Returns None, or the reason of a refusal in words for the client."""
LONGEST_REASON = 300


class ContentCheckUnusable(Exception):
    """The message tells the operator why."""


class ContentRefused(Exception):
    """The message is for clients."""

    code = "content_refused"

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def load_content_check(path: str | None) -> ContentCheck | None:
    """The function at `package.module:function`; None: there is none. Raises ContentCheckUnusable."""
    if path is None:
        return None
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever the operator's module raises on import
        raise ContentCheckUnusable(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ContentCheckUnusable(f"{path} is no function")
    check: ContentCheck = found
    return check


def require_accepted(check: ContentCheck | None, image: Image.Image, role: str) -> None:
    """Raises ContentRefused when there is a check and it refuses, and what the check raises."""
    if check is None:
        return
    reason = check(image.copy(), role)
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"the content check returned {type(reason).__name__} and neither a reason nor None")
    raise ContentRefused(reason.strip()[:LONGEST_REASON] or "The content of a picture is refused here.", role)
