"""Multiply-accumulates of the convolutions, part by part, counted from the modules that run."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adadsr.models import Network, NetworkConfig


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of each part of a network."""

    head: int = 0
    adapter: int = 0
    body: int = 0
    tail: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return self.head + self.adapter + self.body + self.tail

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))


class CostModel:
    """What each part of a network costs on height x width LR pixels of one image, every block run everywhere.

    The modules run on torch's meta device, which computes shapes only.
    """

    def __init__(self, config: NetworkConfig) -> None:
        with torch.device("meta"):
            self._network = Network(config)
        self._part = lru_cache(maxsize=1024)(self._count)

    def head(self, height: int, width: int) -> Cost:
        """Cost of the head alone."""
        return Cost(head=self._part("head", height, width))

    def adapter(self, height: int, width: int) -> Cost:
        """Cost of the adapter alone; nothing where there is none."""
        return Cost() if self._network.adapter is None else Cost(adapter=self._part("adapter", height, width))

    def body(self, height: int, width: int) -> Cost:
        """Cost of the body alone."""
        return Cost(body=self._part("body", height, width))

    def tail(self, height: int, width: int) -> Cost:
        """Cost of the tail alone."""
        return Cost(tail=self._part("tail", height, width))

    def dense(self, height: int, width: int) -> Cost:
        """Cost of the dense network: head, body and tail, no adapter."""
        return self.head(height, width) + self.body(height, width) + self.tail(height, width)

    def _count(self, name: str, height: int, width: int) -> int:
        network = self._network
        channels = 3 if name == "head" else network.config.n_feats
        runs: dict[str, Callable[[Tensor], object]] = {
            "head": network.head,
            "adapter": lambda z0: network.predict_scores(z0, 1.0),
            "body": network.body,
            "tail": network.tail,
        }
        with FlopCounterMode(display=False) as counter:
            runs[name](torch.empty(1, channels, height, width, device="meta"))
        return int(counter.get_total_flops()) // 2
