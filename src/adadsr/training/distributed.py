"""Several devices that share each batch: who this process is among them, and means over all. Started by `torchrun`."""

import os
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adadsr.errors import InputError


@dataclass(frozen=True)
class World:
    """rank: of this process, 0 writes and validates. size: processes in all. device: what this one computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and validates."""
        return self.rank == 0

    def part(self, batch: int, together: int = 1) -> slice:
        """This process's images of a batch. Raises InputError where the batch cannot be divided evenly.

        together: images that must not be separated.
        """
        if batch % (self.size * together):
            raise InputError(
                f"batch={batch} cannot be divided among {self.size} processes; make it a multiple of "
                f"{self.size * together}, since shared_depth={together}"
            )
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, the same in each."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
            value /= self.size
        return value

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def shared(self, module: nn.Module, *, unused: bool = False) -> nn.Module:
        """A module whose gradients are means over all processes; called where the weights are the same in all.

        unused: a step may leave some parameters, the same in all processes, without a gradient.
        """
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=unused)


def join(device: str = "auto") -> World:
    """This process's place, by the variables that `torchrun` sets; alone without them.

    device: torch's name; cuda is this process's CUDA device, auto the same where there is one, else the CPU. Raises
    InputError for one that cannot be used here.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif device == "auto":
        device = "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {device!r} cannot be used here; give cpu, cuda or auto") from error
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(rank, size, chosen)


def leave(world: World) -> None:
    """End the connection that `join` made."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
