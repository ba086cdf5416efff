"""Several devices that share each batch: the place of this process, and means over all. Started by `torchrun`."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adadsr.backends import check_device
from adadsr.errors import InputError

LONGEST_WAIT = timedelta(hours=12)
"""Timeout of collectives: the others wait for the process that validates, or that computes the most targets."""


@dataclass(frozen=True)
class World:
    """rank: of this process; 0 writes and validates. size: number of processes. device: of this process."""

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and validates."""
        return self.rank == 0

    def part(self, batch: int, together: int = 1) -> slice:
        """This process's images of a batch. Raises InputError if the batch does not divide evenly.

        together: images that must not be separated.
        """
        if batch % (self.size * together):
            raise InputError(
                f"batch={batch} does not divide evenly among {self.size} processes with shared_depth={together}; "
                f"use a multiple of {self.size * together}"
            )
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, value: Tensor) -> Tensor:
        """Mean over all processes, the same in each."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
            value /= self.size
        return value

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def shared(self, module: nn.Module, *, unused: bool = False) -> nn.Module:
        """A module whose gradients are means over all processes. Its weights are the same in all of them.

        unused: a step may leave some parameters, the same in all processes, without a gradient.
        """
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=unused)


def join(device: str = "auto") -> World:
    """This process's place, by the variables that `torchrun` sets; alone without them.

    device: as torch names it; cuda is this process's CUDA device, auto the same if there is one and otherwise the CPU.
    Raises InputError if it is not available.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif device == "auto":
        device = "cpu"
    check_device(device)
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    return World(rank, size, chosen)


def leave(world: World) -> None:
    """End the connection that `join` made."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
