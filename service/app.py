"""The ASGI application: routes, the shape of errors, and the layers around every request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI

from jobs.objects import ObjectStore
from jobs.stores.redis_stores import RedisStores
from service import errors
from service.dependencies import Resources
from service.middleware.auth import Authenticator, AuthMiddleware
from service.middleware.request_log import RequestLog
from service.openapi.document import describe
from service.outbound import Outbound
from service.routes import assets, batches, health, jobs, pages, results, webhooks
from service.settings import ServiceSettings
from service.signed_urls import SignedUrls
from service.submissions.admission import Admission
from service.submissions.asset_admission import AssetAdmission
from service.submissions.inputs import FETCHES_AT_ONCE, PictureSources
from service.webhooks.payload import webhook_outbound
from uploads.decoder_pool import DecoderPool

API_VERSION = "0.2.0"
DESCRIPTION = """\
Two pictures in, one out: the structure of `target`, painted with the appearance of `reference`, part by part.

Submit with `POST /v1/transfers`; the answer comes at once and holds the job's record with its `urls`. Poll
`urls.self`, or follow `urls.events`, until `status` is `succeeded`, `failed`, `canceled` or `expired`; then fetch
`urls.result`. Errors are RFC 9457 problem details with a stable `code`.
"""


def create_app(
    settings: ServiceSettings, stores: RedisStores, objects: ObjectStore, authenticator: Authenticator
) -> FastAPI:
    """The app in front of these stores. Nothing is sent to them before the first request."""
    app = bare_app()
    app.state.resources = _resources(settings, stores, objects)
    app.add_middleware(AuthMiddleware, authenticator=authenticator)
    app.add_middleware(RequestLog, max_body_bytes=settings.max_body_bytes, pace=settings.slowest_pace)
    return app


def openapi_document() -> dict[str, Any]:
    """What `openapi/openapi.json` holds. Connects to nothing."""
    return bare_app().openapi()


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
        lifespan=_lifespan,
    )
    app.openapi = cache(partial(describe, app))  # type: ignore[method-assign]
    errors.install(app)
    routers = (
        *jobs.ROUTERS,
        *results.ROUTERS,
        assets.router,
        batches.router,
        webhooks.router,
        health.router,
        pages.router,
    )
    for router in routers:
        app.include_router(router)
    app.state.endpoints = [route for router in routers for route in router.routes]
    return app


def _resources(settings: ServiceSettings, stores: RedisStores, objects: ObjectStore) -> Resources:
    decoders = DecoderPool(settings.picture_limits, at_once=settings.decodes_at_once)
    decodes = CapacityLimiter(settings.decodes_at_once)
    sources = PictureSources(
        assets=stores.assets,
        objects=objects,
        outbound=Outbound(settings.url_networks, settings.url_ports) if settings.url_inputs else None,
        fetches=CapacityLimiter(FETCHES_AT_ONCE),
        max_bytes=settings.max_picture_bytes,
        timeout_s=settings.url_timeout_s,
    )
    admission = Admission(
        stores, objects, decoders, sources, webhook_outbound(settings.webhooks_private), decodes=decodes
    )
    return Resources(
        settings=settings,
        stores=stores,
        objects=objects,
        signed_urls=SignedUrls.from_settings(settings, stores.shared_secrets, objects),
        decoders=decoders,
        admission=admission,
        asset_admission=AssetAdmission(stores.assets, objects, decoders, decodes, settings.max_picture_bytes),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        resources: Resources = app.state.resources
        await run_sync(resources.decoders.close)
