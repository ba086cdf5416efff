"""Names of the tensors of EDSR, RCAN and their adaptive forms in published repositories: tables for `published`.

A layer's tensors are its name plus `.weight` and `.bias`. In a name {g} is a group, {b} a block of that group, {G} the
number of groups and {B} the number of blocks per group. A new naming is one row of LAYOUTS and one test.
"""

from typing import NamedTuple


class MeanShift(NamedTuple):
    """The frozen 1x1 convs that subtract the mean colour before the head and add it after the tail.

    depthwise: one weight per channel, (3, 1, 1, 1), instead of a (3, 3, 1, 1) matrix.
    """

    subtract: str
    add: str
    depthwise: bool


class Layout(NamedTuple):
    """One repository's names for one backbone.

    naming: the repository. layers: our layer -> theirs. upsample: scale -> layers of the upsampler, in order.
    mean_shift: None if the code, not the file, contains the mean, that of DIV2K. large_res_scale: residual scale of the
    released network of 32 blocks x 256 features, which the tensors do not tell.
    """

    naming: str
    backbone: str
    layers: dict[str, str]
    upsample: dict[int, tuple[str, ...]]
    mean_shift: MeanShift | None
    large_res_scale: float

    @property
    def block_layers(self) -> tuple[str, ...]:
        """Our layers of a residual block; first its two convs."""
        return tuple(layer for layer in self.layers if "{b}" in layer)


_REFERENCE_ENDS = {
    "head.conv": "head.1",
    "body.conv": "body_lastconv",
    "tail.conv": "tail.0",
    "adapter.first": "predictor.layer0",
    "adapter.rest.0.activation": "predictor.layer1.0",
    "adapter.rest.0.conv": "predictor.layer1.1",
    "adapter.rest.1.activation": "predictor.layer2.0",
    "adapter.rest.1.conv": "predictor.layer2.1",
    "adapter.rest.2.activation": "predictor.layer3.0",
    "adapter.rest.2.conv": "predictor.layer3.1",
    "adapter.rest.3.activation": "predictor.layer4.0",
    "adapter.rest.3.conv": "predictor.layer4.1",
}
_REFERENCE_UPSAMPLE: dict[int, tuple[str, ...]] = {2: ("up.0.0",), 3: ("up.0",), 4: ("up.0.0", "up.1.0")}
_REFERENCE_SHIFT = MeanShift("head.0", "tail.1", depthwise=True)

_SNU_ENDS = {"head.conv": "head.0", "tail.conv": "tail.1"}
_SNU_UPSAMPLE: dict[int, tuple[str, ...]] = {2: ("tail.0.0",), 3: ("tail.0.0",), 4: ("tail.0.0", "tail.0.2")}
_SNU_SHIFT = MeanShift("sub_mean", "add_mean", depthwise=False)

_BASICSR_ENDS = {"head.conv": "conv_first", "body.conv": "conv_after_body", "tail.conv": "conv_last"}
_BASICSR_UPSAMPLE: dict[int, tuple[str, ...]] = {
    2: ("upsample.0",),
    3: ("upsample.0",),
    4: ("upsample.0", "upsample.2"),
}

LAYOUTS = (
    Layout(
        naming="AdaDSR",  # github.com/csmliu/AdaDSR, models/dsr_model.py and networks.py
        backbone="edsr",
        layers={
            "body.blocks.{b}.conv1": "block{b}.layer0",
            "body.blocks.{b}.conv2": "block{b}.layer2",
            **_REFERENCE_ENDS,
        },
        upsample=_REFERENCE_UPSAMPLE,
        mean_shift=_REFERENCE_SHIFT,
        large_res_scale=1.0,  # its option's default: it starts from EDSR weights with the scale folded in
    ),
    Layout(
        naming="AdaDSR",
        backbone="rcan",
        layers={
            "body.groups.{g}.blocks.{b}.conv1": "group{g}.block{b}.layer0",
            "body.groups.{g}.blocks.{b}.conv2": "group{g}.block{b}.layer2",
            "body.groups.{g}.blocks.{b}.attention.squeeze": "group{g}.block{b}.cuca.conv_du.0",
            "body.groups.{g}.blocks.{b}.attention.excite": "group{g}.block{b}.cuca.conv_du.2",
            "body.groups.{g}.conv": "group{g}.block{B}",
            **_REFERENCE_ENDS,
        },
        upsample=_REFERENCE_UPSAMPLE,
        mean_shift=_REFERENCE_SHIFT,
        large_res_scale=1.0,
    ),
    Layout(
        naming="EDSR-PyTorch",  # github.com/sanghyun-son/EDSR-PyTorch, src/model/edsr.py
        backbone="edsr",
        layers={
            "body.blocks.{b}.conv1": "body.{b}.body.0",
            "body.blocks.{b}.conv2": "body.{b}.body.2",
            "body.conv": "body.{B}",
            **_SNU_ENDS,
        },
        upsample=_SNU_UPSAMPLE,
        mean_shift=_SNU_SHIFT,
        large_res_scale=0.1,
    ),
    Layout(
        naming="RCAN",  # github.com/yulunzhang/RCAN, RCAN_TrainCode/code/model/rcan.py
        backbone="rcan",
        layers={
            "body.groups.{g}.blocks.{b}.conv1": "body.{g}.body.{b}.body.0",
            "body.groups.{g}.blocks.{b}.conv2": "body.{g}.body.{b}.body.2",
            "body.groups.{g}.blocks.{b}.attention.squeeze": "body.{g}.body.{b}.body.3.conv_du.0",
            "body.groups.{g}.blocks.{b}.attention.excite": "body.{g}.body.{b}.body.3.conv_du.2",
            "body.groups.{g}.conv": "body.{g}.body.{B}",
            "body.conv": "body.{G}",
            **_SNU_ENDS,
        },
        upsample=_SNU_UPSAMPLE,
        mean_shift=_SNU_SHIFT,
        large_res_scale=1.0,
    ),
    Layout(
        naming="BasicSR",  # github.com/XPixelGroup/BasicSR, basicsr/archs/edsr_arch.py; img_range 255, DIV2K's mean
        backbone="edsr",
        layers={
            "body.blocks.{b}.conv1": "body.{b}.conv1",
            "body.blocks.{b}.conv2": "body.{b}.conv2",
            **_BASICSR_ENDS,
        },
        upsample=_BASICSR_UPSAMPLE,
        mean_shift=None,
        large_res_scale=0.1,
    ),
    Layout(
        naming="BasicSR",  # basicsr/archs/rcan_arch.py; img_range 255, DIV2K's mean
        backbone="rcan",
        layers={
            "body.groups.{g}.blocks.{b}.conv1": "body.{g}.residual_group.{b}.rcab.0",
            "body.groups.{g}.blocks.{b}.conv2": "body.{g}.residual_group.{b}.rcab.2",
            "body.groups.{g}.blocks.{b}.attention.squeeze": "body.{g}.residual_group.{b}.rcab.3.attention.1",
            "body.groups.{g}.blocks.{b}.attention.excite": "body.{g}.residual_group.{b}.rcab.3.attention.3",
            "body.groups.{g}.conv": "body.{g}.conv",
            **_BASICSR_ENDS,
        },
        upsample=_BASICSR_UPSAMPLE,
        mean_shift=None,
        large_res_scale=1.0,
    ),
)
