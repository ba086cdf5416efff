"""PSNR on whole images at shares of the body's cost, the way inference runs them: whole blocks, an exact budget."""

from collections.abc import Iterable

import torch
from torch import Tensor

from adadsr.datasets import Pair
from adadsr.metrics import psnr_y
from adadsr.models import Network
from adadsr.models.layers import rgb_mean
from adadsr.sparse.backends import BACKENDS, default_backend
from adadsr.sparse.body import Body, body_macs

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Executed shares of the body's multiply-accumulates at which an adaptive network is measured."""


@torch.inference_mode()
def validate(network: Network, pairs: list[Pair], shares: Iterable[float] = SHARES) -> dict[float, float]:
    """Share -> mean PSNR-Y in dB over whole images; a network without an adapter runs at 1 only.

    shares: executed part of the body's multiply-accumulates, (0, 1]; 1 is every block everywhere.
    """
    device = network.head.conv.weight.device
    body, backend = network.body.tensors(), BACKENDS[default_backend(device)]
    front, tail = backend.prepare_front(network.front()), backend.prepare_tail(network.tail.tensors())
    prepared, totals = backend.prepare(body), dict.fromkeys(shares if network.config.adaptive else (1.0,), 0.0)
    for pair in pairs:
        lr = pair.lr[None].float().to(device)
        for share in totals:
            desired = None if share == 1 else lr.new_full((1,), share * network.config.n_resblocks)
            z0, scores = front(lr, desired)
            depth_map = None if scores is None else depth_map_at(network, body, scores, pair.lr.shape[-2:], share)
            sr = (tail(prepared.run(z0, depth_map).z) + rgb_mean(lr))[0].clamp(0, 255).round().byte().cpu()
            images = [image.permute(1, 2, 0).numpy() for image in (sr, pair.hr)]
            totals[share] += psnr_y(images[0], images[1], network.config.scale) / len(pairs)
    return totals


def depth_map_at(network: Network, body: Body, scores: Tensor, size: tuple[int, ...], share: float) -> Tensor:
    """The depth map in whole blocks that spends a share of the body's cost on an image of a size, (H, W).

    scores: of the adapter, (1, G, ceil(H/t), ceil(W/t)), as is the map. As `upscaler.passes` does it for a budget of
    the whole network.
    """
    dense = body_macs(body, None, 1, *size)
    return network.require_adapter().within(
        scores, lambda depth_map: body_macs(body, depth_map, 1, *size) / dense, share
    )


def in_words(scores: dict[float, float]) -> dict[str, float]:
    """What `validate` returned, for people: full, 75%, 50%, 25%, in dB with three decimals."""
    return {"full" if share == 1 else f"{share:.0%}": round(value, 3) for share, value in scores.items()}
