"""What the OpenAPI document says about bodies, results and problems, with examples. A test runs each of them."""

from typing import Any

from adadsr.serving.answers import ProblemAnswer

BINARY = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "required": False,
    "description": "An image file, raw or as the field `image` of a form; none if `image` names an uploaded one.",
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "properties": {"image": BINARY}, "required": ["image"]}},
        "application/octet-stream": {"schema": BINARY},
    },
}
ADDRESS = "http://127.0.0.1:8080"
PHOTO = "photo.jpg"


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
        504: "The request took too long",
        507: "The disk is full",
    }.items()
}
IMAGE_CONTENT: dict[str, Any] = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
    for kind in ("png", "jpeg", "webp", "tiff", "avif")
}
IMAGE_RESULT: dict[int | str, dict[str, Any]] = {200: {"description": "The image", "content": IMAGE_CONTENT}}


def with_curl(body: dict[str, Any], path: str, rest: str) -> dict[str, Any]:
    """Members of an operation: its body, and the line of curl that calls it. rest: of that line."""
    line = f"curl -sSf -F image=@{PHOTO} '{ADDRESS}{path}' {rest}".strip()
    return {"requestBody": body, "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": line}]}
