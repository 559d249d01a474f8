"""What generators of the two kinds of client are called: they can be closed."""

from collections.abc import AsyncGenerator, Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
AsyncStream: TypeAlias = AsyncGenerator[T, None]
SyncStream: TypeAlias = Generator[T, None, None]
