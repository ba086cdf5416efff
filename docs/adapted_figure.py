"""Draw the picture of an adapted network: `python docs/adapted_figure.py DENSE ADAPTED PHOTO OUT.jpg`.

The photo is shrunk to half of its size and enlarged by the dense network, and by the adapted one at 75% and 50% of the
body. Shown is a part, and the PSNR-Y of the whole to what the dense network gives.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from adadsr import Upscaler, images
from adadsr.metrics import psnr_y
from adadsr.resize import bicubic_downscale

SIDE = 72
"""Of the part, in LR pixels."""
SHARES = (0.75, 0.5)
"""Of the body, whose blocks cost the same."""


def main() -> None:
    """Enlarge, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dense")
    parser.add_argument("adapted")
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--corner", type=int, nargs=2, default=(80, 60), metavar=("ROW", "COLUMN"), help="of the part")
    arguments = parser.parse_args()
    lr = bicubic_downscale(images.read_image(arguments.photo).pixels, 2)
    full = Upscaler.from_pretrained(arguments.dense)(lr).image
    upscaler = Upscaler.from_pretrained(arguments.adapted)
    scale, blocks = upscaler.scale, upscaler.config.n_resblocks
    panels = [("LR", lr, 1), ("dense network", full, scale)]
    for share in SHARES:
        result = upscaler(lr, depth=share * blocks)
        title = f"adapted, {share:.0%} of the body, {psnr_y(result.image, full, scale):.1f} dB"
        panels.append((title, result.image, scale))
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4.3), layout="constrained")
    for axis, (title, image, factor) in zip(axes, panels, strict=True):
        row, column = (place * factor for place in arguments.corner)
        part = image[row : row + SIDE * factor, column : column + SIDE * factor]
        axis.imshow(part, interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    figure.savefig(arguments.output, dpi=76, pil_kwargs={"quality": 92})


if __name__ == "__main__":
    main()
