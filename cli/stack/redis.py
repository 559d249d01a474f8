"""The Redis that commands of the operator work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import Failed
from cli.settings import explained

if TYPE_CHECKING:
    from redis import Redis

    from jobs.settings import JobSettings
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of `plumage up`, whose Redis is used unless PLUMAGE_REDIS_URL names another.",
)


@contextmanager
def opened_redis(data_dir: Path) -> Iterator[tuple["Redis", "JobSettings"]]:
    """The given Redis, that of the running stack, or one that runs just for this. Raises Failed when it fails."""
    from cli.stack.embedded import EmbeddedRedisError, running_redis, start_redis
    from jobs.errors import JobsError
    from jobs.settings import JobSettings
    from jobs.stores.connection import connect_redis

    with explained():
        settings = JobSettings(data_dir=data_dir)
    try:
        url = settings.redis_url or running_redis(data_dir)
        if url is not None:
            yield connect_redis(url), settings
            return
        with start_redis(data_dir) as server:
            yield connect_redis(server.url), settings
    except (JobsError, EmbeddedRedisError) as error:
        raise Failed(str(error), error.code) from error
