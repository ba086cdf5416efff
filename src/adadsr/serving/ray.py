"""The service on Ray Serve: replicas that share nothing, as many as the work that waits asks for.

`serve run adadsr.serving.ray:app models=adaedsr-baseline-x2 target_wait=5`, or `serve deploy deploy/ray-serve.yaml`.
Each replica is the service of `adadsr serve` with its own queue, memory limit and load shedding, so a picture kept by
`/v1/images` is known only to the replica that took it. Needs the extras `serve` and `cluster`.
"""

import math
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, field_validator
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from adadsr.serving.app import create_app
from adadsr.serving.settings import Settings, read_keys

QUEUED = "queued_seconds"
"""Name of the metric by which replicas are counted."""
SECONDS_EACH = 4.0
"""Work that waits for each replica, in seconds; below the default target wait, so that replicas come before budgets
fall far.
"""
MOST_REQUESTS = 1000
"""At a replica. Its own queue refuses requests long before."""


class Given(BaseModel):
    """Arguments of the application, in the YAML or on the command line; see `Settings`.

    cores: of each replica, which are its threads. least_replicas, most_replicas: limits of autoscaling.
    """

    model_config = ConfigDict(extra="forbid")

    cores: int = Field(default=1, ge=1)
    least_replicas: int = Field(default=1, ge=1)
    most_replicas: int = Field(default=8, ge=1)
    models: tuple[str, ...] = ()
    memory: int = Settings.memory
    max_pixels: int = Settings.max_pixels
    max_upload: int = Settings.max_upload
    time_limit: float = Settings.time_limit
    target_wait: float = Settings.target_wait
    least_budget: float = Settings.least_budget
    origins: tuple[str, ...] = ()

    @field_validator("models", "origins", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Names with commas between them, as the command line has them."""
        return tuple(given.split(",")) if isinstance(given, str) else given

    def settings(self) -> Settings:
        """Settings of a replica. Raises InputError. API keys come from ADADSR_API_KEYS."""
        own = {"cores", "least_replicas", "most_replicas"}
        # Ray's proxy listens: any host name may lead to it.
        return Settings(host="0.0.0.0", threads=self.cores, keys=read_keys(None), **self.model_dump(exclude=own))


@serve.ingress()
class Replica:
    """One service."""

    def __init__(self, settings: Settings) -> None:
        self._service_app = create_app(settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What Ray Serve sends requests to."""
        return self._service_app

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Seconds until everything that runs or waits here is done."""
        return {QUEUED: self._service_app.state.service.queue.wait()}


def replicas_for(context: Any) -> tuple[int, dict[str, Any]]:
    """How many replicas the queued seconds ask for: a policy of Ray Serve. context: an `AutoscalingContext`."""
    metrics = context.aggregated_metrics or {}
    queued = sum(metrics.get(QUEUED, {}).values())
    wanted = math.ceil(queued / SECONDS_EACH)
    return min(max(wanted, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas), {}


def app(given: Given) -> Application:
    """The application."""
    scaling = AutoscalingConfig(
        min_replicas=given.least_replicas,
        max_replicas=given.most_replicas,
        metrics_interval_s=1.0,
        look_back_period_s=3.0,
        upscale_delay_s=3.0,
        downscale_delay_s=60.0,
        policy=AutoscalingPolicy(policy_function=f"{__name__}:{replicas_for.__name__}"),
    )
    deployment = serve.deployment(
        Replica,
        name="adadsr",
        max_ongoing_requests=MOST_REQUESTS,
        autoscaling_config=scaling,
        ray_actor_options={"num_cpus": given.cores},
    )
    return deployment.bind(given.settings())
