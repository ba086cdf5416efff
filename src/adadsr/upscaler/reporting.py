"""The report of a run."""

from dataclasses import replace

from adadsr.upscaler import timing
from adadsr.upscaler.execution import Execution
from adadsr.upscaler.outlook import Step
from adadsr.upscaler.plan import Plan
from adadsr.upscaler.report import Report, Target
from adadsr.upscaler.tiled_run import Executed


def report_of(
    step: Step, execution: Execution, size: tuple[int, int], plan: Plan, executed: Executed, seconds: float
) -> Report:
    """What a network did by a plan. size: (width, height) of the image."""
    engine, target = step.engine, plan.target
    scale = engine.network.scale // engine.network.square
    (width, height), cost = size, replace(plan.cost, body=executed.body_macs)
    return Report(
        model=step.name,
        backend=engine.backend,
        variant=engine.variant,
        device=execution.device,
        scale=scale,
        networks=(scale,),
        reduced_from=None,
        input_size=(width, height),
        output_size=(width * scale, height * scale),
        requested_depth=target.depth,
        requested_budget=target.budget,
        requested_max_loss=target.max_loss,
        requested_precision=step.precision,
        precision=step.precision if executed.in_precision else "float32",
        achieved_budget=plan.budget,
        mean_depth=plan.mean_depth,
        predicted_loss=plan.predicted_loss,
        border=execution.border,
        executed_gmacs=cost.total / 1e9,
        dense_gmacs=plan.dense_cost.total / 1e9,
        parts={part: getattr(cost, part) / 1e9 for part in ("head", "adapter", "body", "tail")},
        tiles=len(plan.tiles),
        exact=plan.exact,
        memory_bytes=plan.bytes,
        seconds=seconds,
        requested_seconds=target.seconds,
        time_model=None if target.seconds is None else timing.name(),
    )


def as_requested(report: Report, target: Target) -> Report:
    """The report with what was requested of the chain; its networks got a budget in place of seconds."""
    return replace(
        report,
        requested_depth=target.depth,
        requested_budget=target.budget,
        requested_max_loss=target.max_loss,
        requested_seconds=target.seconds,
        time_model=None if target.seconds is None else timing.name(),
    )
