"""The Redis that commands of the operator work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from cli.errors import Failed
from cli.options import data_dir_option
from cli.settings import setting_errors
from cli.stack.embedded import running_redis, start_redis
from jobs.errors import JobsError
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis

redis_folder_option = data_dir_option(
    "Folder of `plumage up`, whose Redis is used unless PLUMAGE_REDIS_URL names another."
)


@contextmanager
def open_redis(data_dir: Path) -> Iterator[tuple[Redis, JobSettings]]:
    """The given Redis, that of the running stack, or one that runs just for this. Raises Failed when it fails."""
    with setting_errors():
        settings = JobSettings(data_dir=data_dir)
    try:
        url = settings.redis_url or running_redis(data_dir)
        if url is not None:
            yield connect_redis(url), settings
            return
        with start_redis(data_dir) as server:
            yield connect_redis(server.url), settings
    except JobsError as error:
        raise Failed(str(error), error.code) from error
