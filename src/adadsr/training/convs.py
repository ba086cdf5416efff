"""What runs the 3x3 convs of training: torch, or the native engine on the CPU."""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adadsr.backends import native
from adadsr.errors import BackendError
from adadsr.graph import Block, BodyWeights, ConvWeights, ResidualBlock
from adadsr.networks import Network
from adadsr.tensor_ops import OPS, TensorOps
from adadsr.training.recipe import Recipe

if TYPE_CHECKING:
    from adadsr.backends.native.attention_gradients import Attention
    from adadsr.backends.native.gradients import Conv, Convs

CONVS = ("auto", "native", "torch")
"""Values of the option; auto is native where it can run."""
FEWEST_CHANNELS = 16
"""Convs with fewer channels stay in torch: the kernels pad channels to a multiple of this."""


class TorchConvs:
    """How torch runs the convs of a network."""

    label = "torch"
    """Name in logs."""
    ops: TensorOps = OPS
    """Operations for parts of a network."""
    casts = False
    """Whether the body multiplies in bfloat16 without `torch.autocast`."""

    def run_body(self, body: BodyWeights, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """See `BodyWeights.run`."""
        features: Tensor = body.run(self.ops, z0, depth_map)
        return features

    def run_exits(self, body: BodyWeights, z0: Tensor, exits: tuple[int, ...]) -> Tensor:
        """The body with only its first blocks, for several numbers of blocks, (len(exits) * N, C, H, W).

        Blocks of one group run once for all.
        """
        group = body.groups[0]
        if len(body.groups) > 1 or group.conv is not None:
            return torch.cat([self.run_body(body.shallow(n_blocks), z0) for n_blocks in exits])
        z, reached = z0, {0: z0}
        for number, block in enumerate(group.blocks[: max(exits)], 1):
            z = block.run(self.ops, z)
            if number in exits:
                reached[number] = z
        convs = [body.exit_conv(n_blocks) for n_blocks in exits]
        ends = [reached[n_blocks] for n_blocks in exits]
        return torch.cat(
            [z if conv is None else conv.run(self.ops, z) + z0 for conv, z in zip(convs, ends, strict=True)]
        )


class NativeConvs(TorchConvs):
    """How the native engine runs them, on the CPU, with as many threads as torch.

    Groups of residual blocks run as one operation each; other 3x3 convs run one by one, in float32. Passes share
    memory, so they run one after the other.
    """

    def __init__(self, *, bfloat16: bool = False) -> None:
        """bfloat16: of the products in residual blocks and the convs that close them; see `why_not`."""
        from adadsr.backends.native.gradients import Convs
        from adadsr.backends.native.workspaces import bf16_isa, chosen_isa

        isa, threads = chosen_isa(None), torch.get_num_threads()
        # In float32, weights that change at every step are not split for AMX.
        in_float32 = Convs("avx512" if isa == "amx" else isa, threads)
        self.convs = Convs(bf16_isa(), threads) if bfloat16 else in_float32
        self.casts = bfloat16
        self.label = f"native ({self.convs.isa})"
        self.ops = _NativeOps(in_float32)

    def run_body(self, body: BodyWeights, z0: Tensor, depth_map: Tensor | None = None) -> Tensor:
        """See `BodyWeights.run`."""
        runs = _runs_of(body)
        if runs is None:
            return super().run_body(body, z0, depth_map)
        z = z0
        for index, run in enumerate(runs):
            z = self._run(run, body.depth_tile, z, None if depth_map is None else depth_map[:, index : index + 1])
        return z if body.conv is None or _is_one_run(body) else body.conv.run(self.ops, z) + z0

    def run_exits(self, body: BodyWeights, z0: Tensor, exits: tuple[int, ...]) -> Tensor:
        """See `TorchConvs.run_exits`. Residual bodies of one group run their blocks once for all."""
        runs = _runs_of(body.shallow(max(exits)))
        if runs is None or not _is_one_run(body):
            return super().run_exits(body, z0, exits)
        return self._run(runs[0], body.depth_tile, z0, None, exits)

    def _run(
        self, run: "_Run", depth_tile: int, z: Tensor, depth_map: Tensor | None, exits: tuple[int, ...] | None = None
    ) -> Tensor:
        features: Tensor = _Body.apply(self.convs, depth_tile, exits, z, depth_map, run.n_convs, *run.parameters)  # type: ignore[no-untyped-call]
        return features


class _Run(NamedTuple):
    """Residual blocks and the conv that closes them. parameters: of the convs in order, then of the attention."""

    parameters: list[Tensor]
    n_convs: int

    @classmethod
    def of(cls, blocks: tuple[Block, ...], closing: ConvWeights | None) -> "_Run | None":
        """None if the native engine cannot run them as one."""
        residual = [block for block in blocks if isinstance(block, ResidualBlock)]
        attentions = [block.attention for block in residual if block.attention is not None]
        if closing is None or len(residual) < len(blocks) or len(attentions) not in (0, len(blocks)):
            return None
        convs = [conv for block in residual for conv in (block.conv1, block.conv2)] + [closing]
        channels = len(closing.bias)
        if any(conv.weight.shape != (channels, channels, 3, 3) for conv in convs):
            return None
        attending = [part for attention in attentions for conv in attention for part in conv]
        return cls([part for conv in convs for part in conv] + attending, len(convs))


def _is_one_run(body: BodyWeights) -> bool:
    """Whether the last conv of a body closes its only group."""
    return len(body.groups) == 1 and body.groups[0].conv is None


def _runs_of(body: BodyWeights) -> list[_Run] | None:
    """What the engine runs one after the other: the groups, each with its closing conv, or the whole body of one group.

    None for other bodies.
    """
    if _is_one_run(body):
        runs = [_Run.of(body.blocks, body.conv)]
    else:
        runs = [_Run.of(group.blocks, group.conv) for group in body.groups]
    known = [run for run in runs if run is not None]
    return known if len(known) == len(runs) else None


def choose_convs(name: str, recipe: Recipe, device: torch.device) -> TorchConvs:
    """What runs the convs of a network. name: one of CONVS. Raises BackendError for native where it cannot run."""
    reason = None if name == "torch" else why_not(recipe, device)
    if name == "torch" or (name == "auto" and reason is not None):
        return TorchConvs()
    if reason is not None:
        raise BackendError(f"the native engine cannot train here: {reason}; choose --convs torch")
    return NativeConvs(bfloat16=recipe.precision == "bfloat16")


def why_not(recipe: Recipe, device: torch.device) -> str | None:
    """Why the native engine cannot train; None if it can."""
    if device.type != "cpu":
        return f"it runs on CPUs only, not on {device}"
    if recipe.compile:
        return "it trains without torch.compile only"
    return native.missing() or (_why_not_bfloat16(recipe) if recipe.precision == "bfloat16" else None)


def _why_not_bfloat16(recipe: Recipe) -> str | None:
    from adadsr.backends.native.workspaces import bf16_isa

    with torch.device("meta"):
        body = Network(recipe.config).weights().body
    if _runs_of(body) is None:
        return f"it trains {recipe.config.backbone} in float32 only"
    try:
        bf16_isa()
    except BackendError as error:
        return str(error)
    return None


class _NativeOps(TensorOps):
    """The operations in torch, but 3x3 convs of enough channels on the native engine."""

    def __init__(self, convs: "Convs") -> None:
        self.convs = convs

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
        if stride != 1 or weight.shape[-1] != 3 or min(weight.shape[:2]) < FEWEST_CHANNELS:
            return super().conv(x, weight, bias, stride)
        out: Tensor = _Conv.apply(self.convs, x, weight, bias)  # type: ignore[no-untyped-call]
        return out


class _Conv(torch.autograd.Function):
    """One 3x3 conv."""

    @staticmethod
    def forward(ctx: Any, convs: "Convs", x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from adadsr.backends.native.gradients import ConvPass

        conv_pass = ConvPass(convs, _conv(weight, bias), _images(x))
        _keep(ctx, conv_pass, weight, bias)
        return _features(conv_pass.features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_x, by_conv = _kept(ctx).backward(_images(gradient))
        return None, _features(by_x), *_parameters(by_conv)


class _Body(torch.autograd.Function):
    """Residual blocks and the closing conv as one operation, so that hidden features never leave the engine."""

    @staticmethod
    def forward(
        ctx: Any,
        convs: "Convs",
        depth_tile: int,
        exits: tuple[int, ...] | None,
        z0: Tensor,
        depth_map: Tensor | None,
        n_convs: int,
        *parameters: Tensor,
    ) -> Tensor:
        from adadsr.backends.native.body_gradients import BodyPass

        of_convs, of_attention = parameters[: 2 * n_convs], parameters[2 * n_convs :]
        weights = [_conv(*pair) for pair in zip(of_convs[::2], of_convs[1::2], strict=True)]
        attentions = [_attention(*of_attention[first : first + 4]) for first in range(0, len(of_attention), 4)]
        depths = None if depth_map is None else depth_map.detach()[:, 0].numpy()
        body_pass = BodyPass(convs, weights, _images(z0), depths, depth_tile, exits, attentions)
        _keep(ctx, body_pass, *parameters)
        return _features(body_pass.features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = _kept(ctx).backward(_images(gradient), to_depths=ctx.needs_input_grad[4])
        by_map = None if found.depth_map is None else torch.from_numpy(found.depth_map)[:, None]
        by_parameters = [part for by_conv in found.weights for part in _parameters(by_conv)]
        for by_attention in found.attentions:
            squeeze, squeeze_bias, excite, excite_bias = map(torch.from_numpy, by_attention)
            by_parameters += [squeeze[..., None, None], squeeze_bias, excite[..., None, None], excite_bias]
        return None, None, None, _features(found.z0), by_map, None, *by_parameters


def _keep(ctx: Any, forward_pass: Any, *parameters: Tensor) -> None:
    """Keep a pass for its gradients. Torch keeps the parameters, too, and notices if they change meanwhile."""
    if any(ctx.needs_input_grad):
        ctx.forward_pass = forward_pass
        ctx.save_for_backward(*parameters)
    else:
        forward_pass.discard()


def _kept(ctx: Any) -> Any:
    """The pass that `_keep` kept. Raises RuntimeError if the parameters have changed, or at a second time."""
    assert ctx.saved_tensors
    return ctx.forward_pass


def _conv(weight: Tensor, bias: Tensor) -> "Conv":
    """Parameters as arrays; views if the channels of the weight lie innermost in memory."""
    from adadsr.backends.native.gradients import Conv

    return Conv(weight.detach().permute(0, 2, 3, 1).contiguous().numpy(), bias.detach().contiguous().numpy())


def _attention(squeeze: Tensor, squeeze_bias: Tensor, excite: Tensor, excite_bias: Tensor) -> "Attention":
    """Parameters of channel attention as arrays."""
    from adadsr.backends.native.attention_gradients import Attention

    squeeze, excite = squeeze.detach()[..., 0, 0], excite.detach()[..., 0, 0]
    return Attention(squeeze.numpy(), squeeze_bias.detach().numpy(), excite.numpy(), excite_bias.detach().numpy())


def _parameters(conv: "Conv") -> tuple[Tensor, Tensor]:
    """The inverse of `_conv`."""
    return torch.from_numpy(conv.weight).permute(0, 3, 1, 2), torch.from_numpy(conv.bias)


def _images(features: Tensor) -> Any:
    """(N, C, H, W) as an array (N, H, W, C), a view."""
    return features.detach().permute(0, 2, 3, 1).numpy()


def _features(images: Any) -> Tensor:
    """The inverse of `_images`."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
