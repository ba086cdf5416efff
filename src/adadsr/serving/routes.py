"""The HTTP API: images in, images, plans and depth maps out. `image_routes` has those of uploaded images."""

import json
from dataclasses import asdict
from pathlib import PurePath
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from adadsr import depthview, images
from adadsr.graph.depth import expand_tiles
from adadsr.serving import image_routes
from adadsr.serving.answers import PlanAnswer
from adadsr.serving.asked import Wanted, WantedPlan, WantedResult
from adadsr.serving.calls import answered
from adadsr.serving.examples import BODY, IMAGE_RESULT, PROBLEMS, with_curl
from adadsr.serving.results import respond
from adadsr.serving.service import Served, Service
from adadsr.serving.uploads import Upload
from adadsr.serving.work import Cancel
from adadsr.upscaler import Plan


def router(service: Service) -> APIRouter:
    """The routes of a service."""
    routes = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_upscale(routes, service)
    _add_plans(routes, service)
    image_routes.add(routes, service)
    return routes


def _add_upscale(routes: APIRouter, service: Service) -> None:
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
        served = await answered(service, request, lambda upload, cancel: service.upscale(asked, upload, cancel), cancel)
        return await respond(served.encoded.content, _headers(served), _media_type(served.format))


def _add_plans(routes: APIRouter, service: Service) -> None:
    """What a run would do: as JSON, and as a picture."""

    @routes.post("/plan", openapi_extra=with_curl(BODY, "/v1/plan?budget=0.5", ""))
    async def plan(request: Request, asked: WantedPlan) -> PlanAnswer:
        """What a run would do and cost. No block of the network runs."""
        return await answered(
            service,
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
            return await service.in_thread(lambda: _drawn(plan.first), cancel)

        return Response(await answered(service, request, work, Cancel()), media_type="image/png")


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
        "AdaDSR-Model": quote(report.model),
        "AdaDSR-Backend": report.backend,
        "AdaDSR-Requested-Budget": f"{served.requested:.4f}",
        "AdaDSR-Served-Budget": f"{report.achieved_budget:.4f}",
        "AdaDSR-Executed-Share": f"{report.executed_gmacs / report.dense_gmacs:.4f}",
        "AdaDSR-Mean-Depth": f"{report.mean_depth:.3f}",
        "AdaDSR-Milliseconds": f"{served.seconds * 1e3:.1f}",
        "Server-Timing": f"wait;dur={served.waited * 1e3:.1f}, run;dur={report.seconds * 1e3:.1f}",
    }
    headers["AdaDSR-Report"] = json.dumps(asdict(report), separators=(",", ":"))
    if report.predicted_loss is not None:
        headers["AdaDSR-Predicted-Loss"] = f"{report.predicted_loss:.3f}"
    if served.encoded.warnings:
        headers["AdaDSR-Warnings"] = quote("; ".join(served.encoded.warnings), safe=" ;:,()='")
    stem, width = PurePath(served.name or "image").stem or "image", report.scale
    name = f"{stem}_{width:.3g}x.{served.format}"
    headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return headers
