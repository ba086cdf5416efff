"""The ASGI application: routes, guard, page, and what happens when it starts and ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import Response

from adadsr import __version__
from adadsr.checkpoints import DEFAULT_FAMILY
from adadsr.serving import metrics, page, problems, routes
from adadsr.serving.answers import ModelAnswer, ModelsAnswer, StateAnswer
from adadsr.serving.examples import PROBLEMS
from adadsr.serving.guard import Guard
from adadsr.serving.problems import SHUTTING_DOWN, Problem
from adadsr.serving.service import Service
from adadsr.serving.settings import Settings

DESCRIPTION = "Upscale images with a network that works only as hard as each region needs."


def create_app(settings: Settings) -> FastAPI:
    """The application. Its `state.service` is the service. Raises AdaDSRError for a bad model file."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        tidying = asyncio.create_task(service.tidy())
        yield
        tidying.cancel()
        service.queue.close()
        service.close()

    app = FastAPI(
        title="adadsr", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    problems.install(app)
    app.include_router(routes.router(service))
    _add_state(app, service)
    app.include_router(page.router())
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    """What the service offers, and how it is."""

    @app.get("/v1/models", responses={401: PROBLEMS[401], 403: PROBLEMS[403]})
    async def models() -> ModelsAnswer:
        """The networks that requests can name."""
        offers = [ModelAnswer(**offer.as_json()) for offer in service.models.offers.values()]
        return ModelsAnswer(default=DEFAULT_FAMILY, models=offers)

    @app.get("/healthz")
    async def health() -> StateAnswer:
        """Whether the process answers."""
        return StateAnswer(status="ok", wait=round(service.queue.wait(), 3))

    @app.get("/readyz", responses={503: PROBLEMS[503]})
    async def ready() -> StateAnswer:
        """Whether requests are welcome: the default model is loaded, and the service is not shutting down."""
        if service.queue.is_closed:
            raise Problem(SHUTTING_DOWN, "the service is shutting down; try again later", retry_after=5.0)
        return StateAnswer(status="ready", wait=round(service.queue.wait(), 3))

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposition(request: Request) -> Response:
        """Metrics for Prometheus."""
        service.observe()
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)
