"""Draw the README's picture: `python docs/figures.py assets/photo.png docs/before_after.png`.

The photo is shrunk by the model's scale with MATLAB's bicubic and enlarged again: by bicubic, and by the model at
half of the full network's multiply-accumulates. The third panel shows where the model spent them.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from adadsr import Upscaler, images
from adadsr.metrics import psnr_y
from adadsr.resize import bicubic_downscale, bicubic_upscale

CROP = (slice(300, 460), slice(40, 360))
"""Rows and columns of the HR photo that the second row of panels shows."""


def main() -> None:
    """Enlarge, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="adaedsr-baseline-x2")
    parser.add_argument("--budget", type=float, default=0.5)
    arguments = parser.parse_args()
    upscaler = Upscaler.from_pretrained(arguments.model)
    hr = images.read_image(arguments.photo).pixels
    lr = bicubic_downscale(hr, upscaler.scale)
    before, result = bicubic_upscale(lr, upscaler.scale), upscaler(lr, budget=arguments.budget)
    titles = [
        f"bicubic, {psnr_y(before, hr, upscaler.scale):.2f} dB",
        f"adadsr at {result.report.achieved_budget:.0%} of the cost, {psnr_y(result.image, hr, upscaler.scale):.2f} dB",
        "residual blocks at each pixel",
    ]
    depths = result.depth_map[0].repeat(upscaler.scale, 0).repeat(upscaler.scale, 1)
    blocks = upscaler.config.n_resblocks
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), height_ratios=(2, 1), layout="constrained")
    for column, (title, image) in enumerate(zip(titles, (before, result.image, depths), strict=True)):
        for row, part in enumerate((image, image[CROP])):
            drawn = axes[row, column].imshow(part, vmin=0, vmax=blocks, cmap="viridis", interpolation="nearest")
            axes[row, column].set_axis_off()
        axes[0, column].set_title(title)
    figure.colorbar(drawn, ax=axes[:, 2], shrink=0.8)
    figure.savefig(arguments.output, dpi=80)


if __name__ == "__main__":
    main()
