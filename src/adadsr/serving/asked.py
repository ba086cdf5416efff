"""What a request may ask for: its query, checked with the sentences of the command."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from adadsr.errors import InputError
from adadsr.formats import FORMATS, Format, InputFormat, find_format
from adadsr.images import Color, parse_color
from adadsr.upscaler import Size, Target

MOST = 10**9
"""Larger numbers mean nothing, and would not fit a float."""
DEFAULT_FORMAT = "png"
FORMAT_NAMES = [each.suffixes[0][1:] for each in FORMATS]


def _shown(**schema: Any) -> Any:
    """Limits that the schema shows, and whose violation gets the command's sentence."""
    return schema


class Asked(BaseModel):
    """Which network, which size, and how much of the network to run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    image: str | None = Field(
        None, max_length=64, description="A picture of `POST /v1/images`, instead of a body.", examples=[None]
    )
    name: str | None = Field(None, max_length=1000, description="File name of a raw body.", examples=["photo.jpg"])
    model: str | None = Field(
        None,
        max_length=200,
        description="A name or family of `GET /v1/models`; by default its `default`, or for lossy files adaedsr-photo.",
        examples=["adaedsr-baseline"],
    )
    scale: float | None = Field(
        None, description="Factor of width and height.", json_schema_extra=_shown(minimum=1, maximum=64), examples=[2]
    )
    width: int | None = Field(None, le=MOST, description="Width of the result; with height, both are limits.")
    height: int | None = Field(None, le=MOST, description="Height of the result.")
    long_side: int | None = Field(None, le=MOST, description="The larger of width and height.")
    megapixels: float | None = Field(None, le=MOST, description="Width times height, in millions.")
    budget: float | None = Field(
        None,
        description="Share of the full network's multiply-accumulates to spend.",
        json_schema_extra=_shown(exclusiveMinimum=0, maximum=1),
        examples=[0.5],
    )
    depth: float | None = Field(
        None, le=MOST, description="Desired mean depth in residual blocks.", json_schema_extra=_shown(minimum=0)
    )
    max_loss: float | None = Field(
        None,
        le=MOST,
        description="Least cost whose predicted loss is at most this, in dB.",
        json_schema_extra=_shown(minimum=0),
    )
    seconds: float | None = Field(
        None, le=MOST, description="Time that the run should take on the idle machine.",
        json_schema_extra=_shown(exclusiveMinimum=0),
    )  # fmt: skip

    def size(self) -> Size | None:
        """The size; None for the model's own scale. Raises InputError."""
        given = self.scale, self.width, self.height, self.long_side, self.megapixels
        return None if given == (None,) * 5 else Size(*given)

    def target(self) -> Target:
        """Depth, budget, loss or time. Raises InputError, also if several are given."""
        return Target(self.depth, self.budget, self.max_loss, self.seconds)


class AskedResult(Asked):
    """The same, and how the result is written."""

    least_budget: float | None = Field(
        None,
        description="Never serve less, however busy; refuse instead. The service may have a higher one.",
        json_schema_extra=_shown(exclusiveMinimum=0, maximum=1),
    )
    format: str | None = Field(
        None,
        max_length=20,
        description=f"One of {', '.join(FORMAT_NAMES)}; the input's by default, {DEFAULT_FORMAT} if that is only read.",
        examples=["png"],
    )
    quality: int | None = Field(
        None, le=MOST, description="1..100, of lossy formats.", json_schema_extra=_shown(minimum=1, maximum=100)
    )
    background: str | None = Field(
        None, max_length=50, description="Colour under transparency, such as white.", examples=["white"]
    )

    def floor(self, least: float) -> float:
        """Budget below which the result is not wanted; `least` is that of the service. Raises InputError."""
        own = self.least_budget
        if own is not None and not 0 < own <= 1:
            raise InputError(f"least_budget={own:g} is outside (0, 1]; 1 never lowers the budget")
        return max(least, own or 0.0)

    def result_format(self, given: InputFormat | None) -> Format:
        """Format of the result for an input's. Raises InputError."""
        if self.format is not None:
            return find_format(self.format)
        return given if isinstance(given, Format) else find_format(DEFAULT_FORMAT)

    def color(self) -> Color | None:
        """The background. Raises InputError."""
        return None if self.background is None else parse_color(self.background)


class AskedPlan(Asked):
    """The same, and whether the depth map comes along."""

    depth_map: bool = Field(False, description="Include the depth map.")


Wanted = Annotated[Asked, Query()]
WantedResult = Annotated[AskedResult, Query()]
WantedPlan = Annotated[AskedPlan, Query()]
