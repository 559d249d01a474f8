"""The Python client against the running service: matches, assets, batches, and a webhook that it believes."""

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
from plumage_client import ApiError, AsyncPlumage, Batch, Gone, NotFound, Plumage, Retries, StillRunning, Webhook

from tests.live import Live

Pictures = tuple[Path, Path]
LONG = json.dumps({"steps": 600, "pause_s": 0.05})


def open_client(live: Live, tenant: str) -> Plumage:
    return Plumage(live.url, key=live.key(tenant), retries=Retries(first_s=0.01))


def test_matches(live: Live, pictures: Pictures) -> None:
    with open_client(live, "matcher") as plumage:
        job = plumage.matches.wait(plumage.matches.submit(*pictures, seed=3))
        assert job.result is not None
        found = plumage.matches.result(job.id)
        assert hashlib.sha256(found).hexdigest() == job.result.sha256
        assert set(np.load(io.BytesIO(found))) == {"positions", "similarity", "confidence", "inside", "region"}
        assert plumage.matches.picture(job.id).startswith(b"\x89PNG")
        assert [each.id for each in plumage.matches.list()] == [job.id]


def test_assets(live: Live, pictures: Pictures) -> None:
    with open_client(live, "keeper") as plumage:
        target, reference = (plumage.assets.upload(picture) for picture in pictures)
        assert target.id == hashlib.sha256(pictures[0].read_bytes()).hexdigest()
        assert plumage.assets.get(target.id) == target
        job = plumage.run(target, reference, output={"format": "webp", "quality": 80}, priority=1)
        assert job.result is not None
        assert (job.result.content_type, job.priority) == ("image/webp", 1)
        assert plumage.transfers.matches(job.id).startswith(b"PK")
        with pytest.raises(ValueError, match="either all"):
            plumage.transfers.submit(target, pictures[1])
        plumage.assets.delete(target.id)
        with pytest.raises(NotFound):
            plumage.transfers.submit(target, reference)


REGIONS = {"masks": {"regions": [{"target_mask": "left"}, {"reference": "leaf"}]}}


def test_regions(live: Live, pictures: Pictures) -> None:
    target, reference = pictures
    with open_client(live, "regional") as plumage:
        besides: dict[str, Any] = {"pictures": {"leaf": reference}, "masks": {"left": target}}
        job = plumage.transfers.submit(target, reference, params=REGIONS, **besides)
        assert job.params["masks"]["regions"][1]["reference"] == "leaf"
        kept = [plumage.assets.upload(picture) for picture in pictures]
        named: dict[str, Any] = {"pictures": {"leaf": kept[1]}, "masks": {"left": kept[0]}}
        assert plumage.matches.submit(*kept, params=REGIONS, **named).params == job.params
        item = {"custom_id": "a", "target": kept[0], "masks": named["masks"]}
        batch = plumage.batches.submit([item], reference=kept[1], pictures=named["pictures"], params=REGIONS)
        assert plumage.batches.wait(batch.id).counts["succeeded"] == 1
        with pytest.raises(ApiError) as refused:
            plumage.transfers.submit(*kept, params=REGIONS, pictures=named["pictures"])
        assert [error.pointer for error in refused.value.errors] == ["/masks/left"]
        with pytest.raises(ValueError, match="either all"):
            plumage.transfers.submit(*kept, params=REGIONS, **besides)


def test_several_seeds(live: Live, pictures: Pictures) -> None:
    with open_client(live, "varied") as plumage:
        job = plumage.run(*pictures, seeds=(4, 2))
        assert job.result is not None
        assert (job.seed, job.seeds) == (4, [4, 2])
        assert [variant.seed for variant in job.result.variants] == [4, 2]
        for variant in job.result.variants:
            picture, found = (
                read(job.id, seed=variant.seed) for read in (plumage.transfers.result, plumage.transfers.matches)
            )
            assert hashlib.sha256(picture).hexdigest() == variant.sha256
            assert hashlib.sha256(found).hexdigest() == variant.matches.sha256
        with pytest.raises(NotFound):
            plumage.transfers.result(job.id, seed=3)
        kept = [plumage.assets.upload(picture) for picture in pictures]
        item = {"custom_id": "a", "target": kept[0], "seeds": [1, 2]}
        batch = plumage.batches.wait(plumage.batches.submit([item], reference=kept[1]).id)
        (line,) = plumage.batches.results(batch.id)
        assert line.transfer is not None
        assert line.transfer.seeds == [1, 2]


def test_a_batch(live: Live, pictures: Pictures) -> None:
    with open_client(live, "batcher") as plumage:
        target, reference = (plumage.assets.upload(picture) for picture in pictures)
        items = [{"custom_id": name, "target": target} for name in ("a", "b")]
        seen: list[Batch] = []
        batch = plumage.batches.submit(items, reference=reference, seed=1)
        batch = plumage.batches.wait(batch.id, on_change=seen.append)
        assert seen[-1] == batch
        assert list(plumage.batches.follow(batch.id)) == [batch]
        assert (batch.total, batch.counts["succeeded"]) == (2, 2)
        assert [(each.custom_id, each.status) for each in plumage.batches.items(batch.id)] == [
            ("a", "succeeded"),
            ("b", "succeeded"),
        ]
        results = list(plumage.batches.results(batch.id))
        assert [each.custom_id for each in results] == ["a", "b"]
        digests = {each.transfer.result.sha256 for each in results if each.transfer and each.transfer.result}
        assert len(digests) == 1
        plumage.batches.delete(batch.id)
        with pytest.raises(Gone):
            plumage.batches.get(batch.id)


def test_a_batch_is_canceled_with_await(live: Live, pictures: Pictures) -> None:
    async def canceled() -> Batch:
        async with AsyncPlumage(live.url, key=live.key("canceler")) as plumage:
            target = await plumage.assets.upload(pictures[0])
            items = [{"custom_id": str(number), "target": target, "reference": target} for number in range(3)]
            batch = await plumage.batches.submit(items, prompt=LONG)
            with pytest.raises(StillRunning):
                await plumage.batches.wait(batch.id, timeout_s=0.01)
            await plumage.batches.cancel(batch.id)
            return await plumage.batches.wait(batch.id, timeout_s=60)

    assert asyncio.run(canceled()).counts["canceled"] == 3


@pytest.fixture
def receiver() -> Iterator[tuple[str, "Queue[tuple[dict[str, str], bytes]]"]]:
    got: Queue[tuple[dict[str, str], bytes]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_of_the_service_is_believed(
    live: Live, pictures: Pictures, receiver: tuple[str, "Queue[tuple[dict[str, str], bytes]]"]
) -> None:
    secret = live.webhook_secret("listener")
    url, got = receiver
    with open_client(live, "listener") as plumage:
        job = plumage.run(*pictures, webhook={"url": url, "events": ["succeeded"]})
    headers, body = got.get(timeout=60)
    event = Webhook(secret).verify(body, headers)
    assert (event["type"], event["data"]["id"]) == ("transfer.succeeded", job.id)
