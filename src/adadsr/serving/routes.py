"""The HTTP API: images in, images, plans and depth maps out."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from adadsr import depthview, images
from adadsr.errors import AdaDSRError
from adadsr.formats import find_format
from adadsr.graph.depth import expand_tiles
from adadsr.serving.answers import ImageAnswer, PlanAnswer, ProblemAnswer, ProgressAnswer
from adadsr.serving.asked import DEFAULT_FORMAT, Wanted, WantedPlan, WantedResult
from adadsr.serving.calls import while_wanted
from adadsr.serving.examples import BODY, with_curl
from adadsr.serving.problems import INVALID, UNKNOWN_IMAGE, Problem
from adadsr.serving.results import respond
from adadsr.serving.service import Served, Service
from adadsr.serving.uploads import Upload, receive
from adadsr.serving.work import Cancel
from adadsr.upscaler import Plan

T = TypeVar("T")
PROBLEM: dict[str, Any] = {"model": ProblemAnswer, "content": {"application/problem+json": {}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {**PROBLEM, "description": description}
    for status, description in {
        400: "A broken form",
        401: "An API key is needed",
        403: "The origin may not call",
        404: "No such model or image",
        408: "The request did not arrive in time",
        413: "Too many bytes or pixels",
        422: "Not allowed, or not an image",
        503: "Busy; Retry-After says when to try again",
        507: "The disk is full",
    }.items()
}
IMAGE_CONTENT: dict[str, Any] = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
    for kind in ("png", "jpeg", "webp", "tiff", "avif")
}
IMAGE_RESULT: dict[int | str, dict[str, Any]] = {200: {"description": "The image", "content": IMAGE_CONTENT}}


def router(service: Service) -> APIRouter:
    """The routes of a service."""
    routes = APIRouter(prefix="/v1", responses=PROBLEMS)

    async def call(request: Request, work: Callable[[Upload | None, Cancel], Awaitable[T]], cancel: Cancel) -> T:
        """Receive the upload, and work until the client leaves or the time is up."""
        start = time.perf_counter()
        async with receive(request) as upload:
            service.metrics.stages.labels("receive").observe(time.perf_counter() - start)

            async def run() -> T:
                return await work(upload, cancel)

            try:
                return await while_wanted(request, service.settings.time_limit, run())
            except AdaDSRError as error:
                raise Problem.of(error, name="" if upload is None else upload.name) from error

    @routes.post(
        "/upscale",
        response_class=Response,
        responses=IMAGE_RESULT,
        openapi_extra=with_curl(BODY, "/v1/upscale?budget=0.5", "-o large.png"),
    )
    async def upscale(request: Request, asked: WantedResult) -> Response:
        """Upscale an image. Headers say what ran and what it cost."""
        kept = None if asked.image is None else service.kept.find(asked.image)

        def progress(share: float) -> None:
            if kept is not None:
                kept.progress = share

        cancel = Cancel(progress)
        served = await call(request, lambda upload, cancel: service.upscale(asked, upload, cancel), cancel)
        return await respond(served.encoded.content, _headers(served), _media_type(served.format))

    @routes.post("/plan", openapi_extra=with_curl(BODY, "/v1/plan?budget=0.5", ""))
    async def plan(request: Request, asked: WantedPlan) -> PlanAnswer:
        """What a run would do and cost. No block of the network runs."""
        return await call(
            request,
            lambda upload, cancel: service.plan(asked, upload, cancel, depth_map=asked.depth_map),
            Cancel(),
        )

    @routes.post(
        "/depth-map",
        response_class=Response,
        responses={200: {"description": "A picture of the depth map", "content": {"image/png": {}}}},
        openapi_extra=with_curl(BODY, "/v1/depth-map?budget=0.5", "-o depth.png"),
    )
    async def depth_map(request: Request, asked: Wanted) -> Response:
        """A picture of how many blocks would run where, with a scale."""

        async def work(upload: Upload | None, cancel: Cancel) -> bytes:
            plan, _ = await service.planned(asked, upload, cancel)
            return await service.in_thread(lambda: _drawn(plan), cancel)

        return Response(await call(request, work, Cancel()), media_type="image/png")

    @routes.post("/images", status_code=201, openapi_extra=with_curl(BODY, "/v1/images", ""))
    async def keep(request: Request, name: str = "") -> ImageAnswer:
        """Upload an image once, to plan and run it often. The server forgets it when it was not used for long."""

        async def work(upload: Upload | None, cancel: Cancel) -> ImageAnswer:
            if upload is None:
                raise Problem(INVALID, "the body is empty; send an image")
            kept = await service.keep(upload, cancel)
            suffix = find_format(DEFAULT_FORMAT).suffixes[0]
            if kept.given.suffixes[0] in images.SUPPORTED_SUFFIXES:
                suffix = kept.given.suffixes[0]
            return ImageAnswer(
                id=kept.id,
                name=kept.name,
                format=kept.given.name,
                result_format=suffix[1:],
                width=kept.picture.width,
                height=kept.picture.height,
                expires_in=service.settings.kept_for,
                warnings=list(kept.picture.notes),
            )

        return await call(request, work, Cancel())

    @routes.get("/images/{image}")
    async def progress(image: str) -> ProgressAnswer:
        """How far the latest run of an uploaded image is."""
        kept = service.kept.get(image)
        return ProgressAnswer(state=kept.state, progress=kept.progress, wait=round(service.queue.wait(), 3))

    @routes.get("/images/{image}/picture", response_class=Response, responses=IMAGE_RESULT)
    async def picture(image: str) -> Response:
        """An uploaded image as PNG, for browsers that cannot show its format."""
        kept = service.kept.get(image)
        content = await service.in_thread(lambda: images.encode(kept.picture, ".png"), Cancel())
        return await respond(content, {}, "image/png")

    @routes.get("/images/{image}/result", response_class=Response, responses=IMAGE_RESULT)
    async def result(image: str) -> Response:
        """The latest result of an uploaded image as PNG, for browsers that cannot show its format."""
        kept = service.kept.get(image)
        if kept.result is None:
            raise Problem(UNKNOWN_IMAGE, f"image={image}: has no result yet; post to /v1/upscale")
        kept.result.seek(0)
        content = kept.result.read()
        shown = await service.in_thread(lambda: images.encode(images.read_image(content), ".png"), Cancel())
        return await respond(shown, {}, "image/png")

    @routes.delete("/images/{image}", status_code=204)
    async def forget(image: str) -> Response:
        """Forget an uploaded image."""
        service.kept.get(image)
        service.kept.remove(image)
        return Response(status_code=204)

    return routes


def _drawn(plan: Plan) -> bytes:
    network, frame = plan.network, plan.layout.frame
    depths = plan.depth_map
    if depths is None:
        depths = np.full(network.map_shape(frame.height, frame.width), network.n_blocks, np.float32)
    whole = expand_tiles(depths, network.depth_tile, frame.height, frame.width).clip(0, network.n_blocks)
    return images.encode(depthview.draw(np.ascontiguousarray(whole, np.float32), network.n_blocks), ".png")


def _media_type(suffix: str) -> str:
    return f"image/{ {'jpg': 'jpeg', 'tif': 'tiff'}.get(suffix, suffix) }"


def _headers(served: Served) -> dict[str, str]:
    """What ran and what it cost."""
    report = served.encoded.upscaled.report
    headers = {
        "AdaDSR-Model": report.model,
        "AdaDSR-Backend": report.backend,
        "AdaDSR-Requested-Budget": f"{served.requested:.4f}",
        "AdaDSR-Served-Budget": f"{report.achieved_budget:.4f}",
        "AdaDSR-Executed-Share": f"{report.executed_gmacs / report.dense_gmacs:.4f}",
        "AdaDSR-Mean-Depth": f"{report.mean_depth:.3f}",
        "AdaDSR-Milliseconds": f"{served.seconds * 1e3:.1f}",
        "Server-Timing": f"wait;dur={served.waited * 1e3:.1f}, run;dur={report.seconds * 1e3:.1f}",
    }
    headers["AdaDSR-Report"] = json.dumps(asdict(report), separators=(",", ":"))
    loss = getattr(report, "predicted_loss", None)
    if loss is not None:
        headers["AdaDSR-Predicted-Loss"] = f"{loss:.3f}"
    if served.encoded.warnings:
        headers["AdaDSR-Warnings"] = quote("; ".join(served.encoded.warnings), safe=" ;:,()='")
    stem, width = PurePath(served.name or "image").stem or "image", report.scale
    name = f"{stem}_{width:.3g}x.{served.format}"
    headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return headers
