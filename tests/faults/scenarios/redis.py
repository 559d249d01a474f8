"""Redis dies under load, or is away when a result is finished."""

import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from cli.stack.embedded import start_redis
from service.settings import ServiceSettings
from tests.contract.http.conftest import Stack as Api
from tests.contract.http.conftest import serving
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import scenario
from tests.faults.stack import running_stack, until

PATIENCE_S = 60.0


class Load:
    """Clients that submit over HTTP without a pause, and remember what they were promised."""

    def __init__(self, api: Api, clients: int) -> None:
        self.acknowledged: list[str] = []
        self.refused = 0
        self.broken: list[str] = []
        self._api = api
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        while not self._over.wait(0.05):
            try:
                answer = self._api.submit(prompt='{"steps": 1}')
            except httpx.HTTPError as error:
                self.broken.append(repr(error))
                continue
            if answer.status_code == 202:
                self.acknowledged.append(answer.json()["id"])
            elif answer.status_code == 503 and "Retry-After" in answer.headers:
                self.refused += 1
            else:
                self.broken.append(answer.text)

    def until_more(self, jobs: int) -> None:
        """Returns when this many have been accepted from now on."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + jobs, PATIENCE_S, f"{jobs} more jobs are accepted")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@scenario(
    fault="`kill -9` of Redis and a restart on its append-only file, while clients submit and a worker runs",
    short={"times": 2},
    full=[{"times": 20}],
)
def redis_killed_under_load(folder: Path, *, times: int) -> Figures:
    with ExitStack() as exits:
        server = exits.enter_context(start_redis(folder))
        stack = exits.enter_context(running_stack(server, folder, log=folder / "log", max_queued=1_000_000))
        api = exits.enter_context(serving(ServiceSettings(), stack.settings))
        stack.start_worker()
        back = []
        with Load(api, clients=2) as load:
            for _ in range(times):
                load.until_more(20)
                os.kill(server.pid, signal.SIGKILL)
                server.stop()
                time.sleep(0.5)
                restarted = time.monotonic()
                server = exits.enter_context(start_redis(folder))
                load.until_more(1)
                back.append(time.monotonic() - restarted)
        assert not load.broken, load.broken[:3]
        stack.until_all_end()
        stack.stop()
        figures = check_promise(stack, load.acknowledged)
        assert figures["failed"] == 0
        return {"times": times, "refused": load.refused, "accepting_again_max_s": round(max(back), 2), **figures}


@scenario(
    fault="Redis is away at the moment when a job finishes",
    short={"seconds": 4},
    full=[{"seconds": 30}],
)
def redis_away_at_the_finish(folder: Path, *, seconds: float) -> Figures:
    finish, runs = folder / "finish", folder / "runs"
    with ExitStack() as exits:
        server = exits.enter_context(start_redis(folder))
        stack = exits.enter_context(running_stack(server, folder, log=folder / "log"))
        stack.start_worker()
        job = stack.submit(steps=1, finish=str(finish), log=str(runs))
        until(lambda: stack.get(job).progress.step == 1, PATIENCE_S, "the last step is done")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        finish.touch()
        time.sleep(seconds)
        exits.enter_context(start_redis(folder))
        returned = time.monotonic()
        record = stack.until_end(job, 15)
        committed_s = round(time.monotonic() - returned, 2)
        assert record.attempt == len(runs.read_text().split()) == 1, "it was computed again"
        after = stack.until_end(stack.submit(), 30)
        stack.stop()
        return {"away_s": seconds, "committed_after_s": committed_s, **check_promise(stack, [job, after.id])}
