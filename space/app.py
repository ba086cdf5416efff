"""A Hugging Face Space: drop a picture, choose a budget, look at both and at the depth map."""

import gradio
import numpy as np

from adadsr import Upscaler, depthview

upscaler = Upscaler.from_pretrained("adaedsr-baseline-x2")


def enlarge(image: np.ndarray, budget: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, str]:
    """Before and after, the depth map, and a line about the run."""
    result = upscaler(image, budget=budget)
    before = image.repeat(upscaler.scale, 0).repeat(upscaler.scale, 1)
    depths = depthview.draw(result.depth_map, upscaler.config.n_resblocks).pixels
    report = result.report
    line = f"{report.achieved_budget:.0%} of the network's work, {report.mean_depth:.1f} blocks, {report.seconds:.1f} s"
    return (before, result.image), depths, line


gradio.Interface(
    enlarge,
    [
        gradio.Image(type="numpy", label="Photo"),
        gradio.Slider(0.15, 1.0, 0.5, step=0.01, label="Budget", info="Share of the network's work to spend"),
    ],
    [gradio.ImageSlider(label="Before and after"), gradio.Image(label="Depth map"), gradio.Textbox(label="Run")],
    title="adadsr: larger photos, at the cost you choose",
    flagging_mode="never",
).launch()
