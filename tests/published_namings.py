"""How four repositories name their tensors, written down a second time, independently of the package's tables."""

import numpy as np

MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32)


def conv(ours, theirs):
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for leaf in ("weight", "bias")}


def up_layers(scale, doubled, tripled):
    """doubled: one name for each doubling. tripled: the name at scale 3."""
    return {2: doubled[:1], 3: [tripled], 4: doubled}[scale]


def reference_names(config):
    """Our tensor -> the AdaDSR repository's."""
    names = conv("head.conv", "head.1") | conv("body.conv", "body_lastconv") | conv("tail.conv", "tail.0")
    for g in range(config.n_groups):
        ours, theirs = ("body.", "") if config.backbone == "edsr" else (f"body.groups.{g}.", f"group{g}.")
        for b in range(config.n_resblocks):
            names |= conv(f"{ours}blocks.{b}.conv1", f"{theirs}block{b}.layer0")
            names |= conv(f"{ours}blocks.{b}.conv2", f"{theirs}block{b}.layer2")
            if config.backbone == "rcan":
                names |= conv(f"{ours}blocks.{b}.attention.squeeze", f"{theirs}block{b}.cuca.conv_du.0")
                names |= conv(f"{ours}blocks.{b}.attention.excite", f"{theirs}block{b}.cuca.conv_du.2")
        if config.backbone == "rcan":
            names |= conv(f"{ours}conv", f"{theirs}block{config.n_resblocks}")
    if config.adaptive:
        names |= conv("adapter.first", "predictor.layer0")
        for layer in range(4):
            names[f"adapter.rest.{layer}.activation.weight"] = f"predictor.layer{layer + 1}.0.weight"
            names |= conv(f"adapter.rest.{layer}.conv", f"predictor.layer{layer + 1}.1")
    for index, up in enumerate(up_layers(config.scale, ["up.0.0", "up.1.0"], "up.0")):
        names |= conv(f"tail.upsample.{index}", up)
    return names


def snu_names(config):
    """Our tensor -> EDSR-PyTorch's or RCAN's."""
    names = conv("head.conv", "head.0") | conv("tail.conv", "tail.1")
    if config.backbone == "edsr":
        names |= conv("body.conv", f"body.{config.n_resblocks}")
        for b in range(config.n_resblocks):
            names |= conv(f"body.blocks.{b}.conv1", f"body.{b}.body.0")
            names |= conv(f"body.blocks.{b}.conv2", f"body.{b}.body.2")
    else:
        names |= conv("body.conv", f"body.{config.n_groups}")
        for g in range(config.n_groups):
            names |= conv(f"body.groups.{g}.conv", f"body.{g}.body.{config.n_resblocks}")
            for b in range(config.n_resblocks):
                ours, theirs = f"body.groups.{g}.blocks.{b}", f"body.{g}.body.{b}.body"
                names |= conv(f"{ours}.conv1", f"{theirs}.0") | conv(f"{ours}.conv2", f"{theirs}.2")
                names |= conv(f"{ours}.attention.squeeze", f"{theirs}.3.conv_du.0")
                names |= conv(f"{ours}.attention.excite", f"{theirs}.3.conv_du.2")
    for index, up in enumerate(up_layers(config.scale, ["tail.0.0", "tail.0.2"], "tail.0.0")):
        names |= conv(f"tail.upsample.{index}", up)
    return names


def basicsr_names(config):
    """Our tensor -> BasicSR's."""
    names = conv("head.conv", "conv_first") | conv("body.conv", "conv_after_body") | conv("tail.conv", "conv_last")
    for g in range(config.n_groups):
        if config.backbone == "rcan":
            names |= conv(f"body.groups.{g}.conv", f"body.{g}.conv")
        for b in range(config.n_resblocks):
            if config.backbone == "edsr":
                names |= conv(f"body.blocks.{b}.conv1", f"body.{b}.conv1")
                names |= conv(f"body.blocks.{b}.conv2", f"body.{b}.conv2")
                continue
            ours, theirs = f"body.groups.{g}.blocks.{b}", f"body.{g}.residual_group.{b}.rcab"
            names |= conv(f"{ours}.conv1", f"{theirs}.0") | conv(f"{ours}.conv2", f"{theirs}.2")
            names |= conv(f"{ours}.attention.squeeze", f"{theirs}.3.attention.1")
            names |= conv(f"{ours}.attention.excite", f"{theirs}.3.attention.3")
    for index, up in enumerate(up_layers(config.scale, ["upsample.0", "upsample.2"], "upsample.0")):
        names |= conv(f"tail.upsample.{index}", up)
    return names


def mean_shift(layer, sign, depthwise):
    weight = np.ones((3, 1, 1, 1)) if depthwise else np.eye(3).reshape(3, 3, 1, 1)
    return {f"{layer}.weight": weight.astype(np.float32), f"{layer}.bias": sign * 255 * MEAN}


NAMINGS = {
    "AdaDSR": (reference_names, mean_shift("head.0", -1, True) | mean_shift("tail.1", 1, True)),
    "EDSR-PyTorch": (snu_names, mean_shift("sub_mean", -1, False) | mean_shift("add_mean", 1, False)),
    "RCAN": (snu_names, mean_shift("sub_mean", -1, False) | mean_shift("add_mean", 1, False)),
    "BasicSR": (basicsr_names, {}),
}


def published(model, naming):
    """A copy of the model's tensors under the names of `naming`."""
    names, shifts = NAMINGS[naming]
    ours = {names(model.config)[name]: value.copy() for name, value in model.tensors.items()}
    return ours | {name: value.copy() for name, value in shifts.items()}
