"""Sleeping, for both kinds of client."""

import asyncio
import time


async def asleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    time.sleep(seconds)
