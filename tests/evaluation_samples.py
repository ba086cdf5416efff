"""Small data sets and networks for the tests of the evaluation."""

import math

import numpy as np

from adadsr import checkpoints, images
from adadsr.networks import Model, NetworkConfig, tensor_shapes
from adadsr.resize import bicubic_downscale

ADAPTIVE = NetworkConfig("edsr", 2, n_feats=4, n_resblocks=4, adaptive=True, depth_tile=4)
PLAIN = NetworkConfig("edsr", 2, n_feats=4, n_resblocks=2)


def pixels(height, width, seed=0, channels=3):
    """A smooth image (H, W, C) with noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(rows / (5 + c) + c) * np.cos(columns / 7) for c in range(channels)]
    noisy = np.stack(waves, axis=2) + generator.normal(0, 8, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_image(path, images.picture_from_array(image))


def make_dataset(folder, sizes=((40, 48), (33, 37)), with_lr=False):
    """Images `a`, `b`, ... in HR/, of odd sizes too; with_lr: LR_bicubic/X2 as MATLAB would make it."""
    for index, (height, width) in enumerate(sizes):
        name, hr = "abcdef"[index], pixels(height, width, index)
        write(folder / "HR" / f"{name}.png", hr)
        if with_lr:
            cropped = np.ascontiguousarray(hr[: height // 2 * 2, : width // 2 * 2])
            write(folder / "LR_bicubic" / "X2" / f"{name}x2.png", bicubic_downscale(cropped, 2))
    return folder


def random_model(config=ADAPTIVE, seed=0):
    """A network whose features neither grow nor vanish from conv to conv."""
    generator = np.random.default_rng(seed)

    def values(name, shape):
        if name.endswith("activation.weight"):
            return np.full(shape, 0.25, np.float32)
        bound = 1 / math.sqrt(math.prod(shape[1:]) or 1) if len(shape) == 4 else 0.1
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    return Model(config, {name: values(name, shape) for name, shape in tensor_shapes(config).items()})


def save_network(path, config=ADAPTIVE, seed=0):
    checkpoints.save(random_model(config, seed), path)
    return path
