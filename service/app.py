"""The ASGI application: routes, the shape of errors, and the layer around every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI

from jobs.objects import ObjectStore
from jobs.stores.redis_stores import RedisStores
from service import errors
from service.middleware.auth import Gate, Guard
from service.middleware.request_log import Access
from service.openapi.document import describe
from service.outbound import Outbound
from service.routes import assets, batches, events, files, health, matches, pages, pictures, transfers, trials, webhooks
from service.settings import ServiceSettings
from service.signed_urls import links_of
from service.submissions.inputs import FETCHES_AT_ONCE
from service.webhooks.payload import webhook_outbound
from uploads.decoder_pool import DecoderPool

API_VERSION = "0.2.0"
DESCRIPTION = """\
Two pictures in, one out: the structure of `target`, painted with the appearance of `reference`, part by part.

Submit with `POST /v1/transfers`; the answer comes at once and holds the job's record with its `urls`. Poll
`urls.self`, or follow `urls.events`, until `status` is `succeeded`, `failed`, `canceled` or `expired`; then fetch
`urls.result`. Errors are RFC 9457 problem details with a stable `code`.
"""


def bare_app() -> FastAPI:
    """Routes and error handlers without anything behind them: enough for the OpenAPI document."""
    app = FastAPI(
        title="Plumage",
        version=API_VERSION,
        summary="Repaint one image with the appearance of another, part by part.",
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_decoding,
    )
    app.openapi = cache(partial(describe, app))  # type: ignore[method-assign]
    errors.install(app)
    routers = (
        transfers.router,
        events.router,
        pictures.router,
        matches.router,
        trials.router,
        assets.router,
        batches.router,
        files.router,
        webhooks.router,
        health.router,
        pages.router,
    )
    for router in routers:
        app.include_router(router)
    app.state.endpoints = [route for router in routers for route in router.routes]
    return app


@asynccontextmanager
async def _decoding(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        decoders: DecoderPool = app.state.decoders
        await run_sync(decoders.close)


def create_app(settings: ServiceSettings, stores: RedisStores, objects: ObjectStore, guard: Guard) -> FastAPI:
    """The app in front of these stores. Nothing is sent to them before the first request.

    The guard decides who comes in.
    """
    app = bare_app()
    app.state.settings, app.state.stores, app.state.objects = settings, stores, objects
    app.state.links = links_of(settings, stores.shared_secrets, objects)
    app.state.webhook_outbound = webhook_outbound(settings.webhooks_private)
    app.state.picture_outbound = Outbound(settings.url_networks, settings.url_ports) if settings.url_inputs else None
    app.state.fetch_limiter = anyio.CapacityLimiter(FETCHES_AT_ONCE)
    app.state.stopping = False
    app.state.decoders = DecoderPool(settings.picture_limits, at_once=settings.decodes_at_once)
    app.state.decode_limiter = anyio.CapacityLimiter(settings.decodes_at_once)
    app.add_middleware(Gate, guard=guard)
    app.add_middleware(Access, max_body_bytes=settings.max_body_bytes, pace=settings.pace)
    return app
