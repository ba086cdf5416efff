"""Examples in the OpenAPI document. A test runs each of them."""

from typing import Any

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


def with_curl(body: dict[str, Any], path: str, rest: str) -> dict[str, Any]:
    """Members of an operation: its body, and the line of curl that calls it. rest: of that line."""
    line = f"curl -sSf -F image=@{PHOTO} '{ADDRESS}{path}' {rest}".strip()
    return {"requestBody": body, "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": line}]}
