"""The JSON of answers."""

import base64
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from adadsr.upscaler import ChainPlan, Plan, Step
from adadsr.upscaler.plan import least_budget


class DepthMapAnswer(BaseModel):
    """A depth map. Every byte of `data` is a tile, row by row: 255 is `blocks`, all blocks of a network."""

    width: int = Field(description="Tiles in a row.")
    height: int = Field(description="Rows of tiles.")
    tile: int = Field(description="Side of a tile in pixels of the input.")
    blocks: int = Field(description="Blocks at 255.")
    data: str = Field(description="The bytes in base64.")

    @classmethod
    def of(cls, plan: Plan) -> "DepthMapAnswer":
        """The map of a plan; groups are averaged."""
        network, frame = plan.network, plan.layout.frame
        blocks = network.n_blocks
        depths = plan.depth_map
        if depths is None:
            depths = np.full(network.map_shape(frame.height, frame.width), blocks, np.float32)
        mean = depths.clip(0, blocks).mean(axis=0)
        data = np.rint(mean * (255 / blocks)).astype(np.uint8)
        height, width = data.shape
        text = base64.b64encode(data.tobytes()).decode()
        return cls(width=width, height=height, tile=network.depth_tile, blocks=blocks, data=text)


class PlanAnswer(BaseModel):
    """What a run would do. Sizes are [width, height] in pixels; costs are of all networks that run."""

    model: str
    backend: str
    networks: list[int] = Field(description="Scales of the networks, in the order in which they run.")
    input_size: list[int]
    output_size: list[int]
    budget: float = Field(description="Share of the full network's cost, of the first network.")
    least_budget: float = Field(description="Smallest budget for this image.")
    mean_depth: float = Field(description="Mean number of blocks at a pixel, of the first network.")
    blocks: int = Field(description="Blocks of the network.")
    gmacs: float = Field(description="Cost of the run, in 10^9 multiply-accumulates.")
    dense_gmacs: float = Field(description="Cost at full depth.")
    seconds: float = Field(description="Expected time of the run on the idle service.")
    predicted_loss: float | None = Field(description="Against full depth, in dB; null if the network cannot tell.")
    tiles: int
    exact: bool = Field(description="Whether tiles do not change the result.")
    memory_bytes: int
    adaptive: bool = Field(description="Whether the network takes budgets.")
    depth_map: DepthMapAnswer | None = None

    @classmethod
    def of(cls, chain: ChainPlan, step: Step, seconds: float, *, depth_map: bool) -> "PlanAnswer":
        """step: of the first network. seconds: expected."""
        plan, network = chain.first, chain.first.network
        frame, dense = plan.layout.frame, sum(each.dense_cost.total for each in chain.networks)
        least = least_budget(network, frame) if network.adapter is not None else 1.0
        return cls(
            model=step.name,
            backend=step.engine.backend,
            networks=list(chain.scales),
            input_size=[chain.before[1], chain.before[0]],
            output_size=[chain.after[1], chain.after[0]],
            budget=round(plan.budget, 6),
            least_budget=round(least, 6),
            mean_depth=round(plan.mean_depth, 4),
            blocks=network.n_blocks,
            gmacs=round(chain.macs / 1e9, 6),
            dense_gmacs=round(dense / 1e9, 6),
            seconds=round(seconds, 4),
            predicted_loss=plan.predicted_loss,
            tiles=sum(len(each.tiles) for each in chain.networks),
            exact=all(each.exact for each in chain.networks),
            memory_bytes=chain.bytes,
            adaptive=step.is_adaptive,
            depth_map=DepthMapAnswer.of(plan) if depth_map else None,
        )


class ImageAnswer(BaseModel):
    """A prepared picture."""

    id: str = Field(description="For the parameter `image` of other calls; nobody can guess it.")
    name: str
    format: str = Field(description="Of the file.")
    result_format: str = Field(description="Of the result if none is asked for.")
    width: int
    height: int
    expires_in: float = Field(description="Seconds without use until it is forgotten.")
    warnings: list[str]


class ProgressAnswer(BaseModel):
    """How far the latest run of a prepared picture is."""

    state: str = Field(description="`idle`, `waiting` or `running`.")
    progress: float = Field(description="Fraction that is done, in [0, 1].")
    wait: float = Field(description="Seconds until a request that comes now would begin.")


class ModelAnswer(BaseModel):
    """A network that is offered."""

    name: str
    family: str
    scale: int
    adaptive: bool
    blocks: int
    summary: str
    quality: dict[str, Any] = Field(description="PSNR-Y in dB by percentage of the body that runs.")


class ModelsAnswer(BaseModel):
    """All networks."""

    default: str
    models: list[ModelAnswer]


class StateAnswer(BaseModel):
    """How the service is."""

    status: str
    wait: float = Field(description="Seconds until a request that comes now would begin.")


class ProblemAnswer(BaseModel):
    """A problem document, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    least_budget: float | None = None
    retry_after: int | None = None
