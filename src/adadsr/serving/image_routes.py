"""The HTTP API of uploaded images: kept to be planned and run often."""

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from adadsr import images
from adadsr.formats import find_format
from adadsr.images import Picture
from adadsr.serving.answers import ImageAnswer, ProgressAnswer
from adadsr.serving.asked import DEFAULT_FORMAT
from adadsr.serving.calls import answered
from adadsr.serving.examples import BODY, IMAGE_RESULT, with_curl
from adadsr.serving.kept import Kept
from adadsr.serving.problems import INVALID, UNKNOWN_IMAGE, Problem
from adadsr.serving.results import respond
from adadsr.serving.service import Service
from adadsr.serving.uploads import Upload
from adadsr.serving.work import Cancel


def add(routes: APIRouter, service: Service) -> None:
    """Add the routes of a service."""
    _add_upload(routes, service)
    _add_state(routes, service)
    _add_pictures(routes, service)


def _add_upload(routes: APIRouter, service: Service) -> None:
    @routes.post("/images", status_code=201, openapi_extra=with_curl(BODY, "/v1/images", ""))
    async def keep(request: Request, name: str = "") -> ImageAnswer:
        """Upload an image once, to plan and run it often. The server forgets it when it was not used for long."""

        async def work(upload: Upload | None, cancel: Cancel) -> ImageAnswer:
            if upload is None:
                raise Problem(INVALID, "the body is empty; send an image")
            return _described(await service.keep(upload, cancel), service.settings.kept_for)

        return await answered(service, request, work, Cancel())


def _described(kept: Kept, kept_for: float) -> ImageAnswer:
    suffix = kept.given.suffixes[0]
    if suffix not in images.SUPPORTED_SUFFIXES:
        suffix = find_format(DEFAULT_FORMAT).suffixes[0]
    return ImageAnswer(
        id=kept.id,
        name=kept.name,
        format=kept.given.name,
        result_format=suffix[1:],
        width=kept.picture.width,
        height=kept.picture.height,
        expires_in=kept_for,
        warnings=list(kept.picture.notes),
    )


def _add_state(routes: APIRouter, service: Service) -> None:
    @routes.get("/images/{image}")
    async def progress(image: str) -> ProgressAnswer:
        """How far the latest run of an uploaded image is."""
        kept = service.kept.get(image)
        return ProgressAnswer(state=kept.state, progress=kept.progress, wait=round(service.queue.wait(), 3))

    @routes.delete("/images/{image}", status_code=204)
    async def forget(image: str) -> Response:
        """Forget an uploaded image."""
        service.kept.get(image)
        service.kept.remove(image)
        return Response(status_code=204)


def _add_pictures(routes: APIRouter, service: Service) -> None:
    async def shown(request: Request, read: Callable[[], Picture], size: int) -> Response:
        async def work(_: Upload | None, cancel: Cancel) -> bytes:
            return await service.as_png(read, size, cancel)

        return await respond(await answered(service, request, work, Cancel()), {}, "image/png")

    @routes.get("/images/{image}/picture", response_class=Response, responses=IMAGE_RESULT)
    async def picture(request: Request, image: str) -> Response:
        """An uploaded image as PNG, for browsers that cannot show its format."""
        kept = service.kept.get(image)
        return await shown(request, lambda: kept.picture, kept.picture.pixels.nbytes)

    @routes.get("/images/{image}/result", response_class=Response, responses=IMAGE_RESULT)
    async def result(request: Request, image: str) -> Response:
        """The latest result of an uploaded image as PNG, for browsers that cannot show its format."""
        found = service.kept.get(image).result
        if found is None:
            raise Problem(UNKNOWN_IMAGE, f"image={image}: has no result; post to /v1/upscale")

        def read() -> Picture:
            return images.read_image(found.content(), max_pixels=found.pixels)  # the service's limit is for inputs

        return await shown(request, read, found.bytes + found.decoded_bytes)
