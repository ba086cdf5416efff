"""Two processes that share each batch train as one does."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch

from adadsr.errors import InputError
from adadsr.losses import LOSSES, decibels
from adadsr.training.distributed import World, join
from training_samples import write_photos

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from adadsr.datasets import TrainingImages, load_pairs
from adadsr.training import Pace, Run, Trainer
from adadsr.training.distributed import join, leave
from training_samples import RECIPE

folder, out = map(Path, sys.argv[1:])
dense, adaptive = (replace(stage, steps=4, batch=4) for stage in RECIPE.stages)
taught = replace(adaptive, train="predicted_loss", exits=2)
decibels = replace(adaptive, uniform_share=0.5, exits=2, loss="decibels")
recipe = replace(RECIPE, stages=(dense, replace(adaptive, uniform_share=0.5), decibels, taught))
world, pairs = join("cpu"), load_pairs(folder, 2)
out.mkdir(exist_ok=True)
path = Run(Trainer(recipe, TrainingImages(pairs, 2, world.device), world), pairs, out, Pace(4, 1, 0.0)).go()
assert (path is None) == (world.rank > 0)
leave(world)
"""


def start(folder: Path, out: Path, *command: str) -> list[dict]:
    """Run SCRIPT with a command; returns the log."""
    (folder / "script.py").write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    given = [sys.executable, *command, str(folder / "script.py"), str(folder), str(out)]
    done = subprocess.run(given, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_two_processes_have_the_losses_of_one_with_their_batches_together(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    one = start(folder, tmp_path / "one")
    two = start(folder, tmp_path / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert [line["kind"] for line in one] == [line["kind"] for line in two]
    losses = [[line["loss"] for line in log if line["kind"] == "progress"] for log in (one, two)]
    assert len(losses[0]) == 16
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    scores = [[line["psnr_y"]["full"] for line in log if line["kind"] == "validation"] for log in (one, two)]
    assert scores[1] == pytest.approx(scores[0], abs=0.01)


def test_a_batch_is_divided_evenly_or_refused() -> None:
    worlds = [World(rank, 3, torch.device("cpu")) for rank in range(3)]
    assert [world.part(6) for world in worlds] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert [world.writes for world in worlds] == [True, False, False]
    with pytest.raises(
        InputError, match="batch=16 does not divide evenly among 3 processes with shared_depth=1; use a multiple of 3"
    ):
        worlds[0].part(16)
    with pytest.raises(InputError, match="with shared_depth=4; use a multiple of 12"):
        worlds[0].part(18, 4)


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = join("cpu")
    assert (world.rank, world.size) == (0, 1)
    with pytest.raises(InputError, match="device 'nowhere'"):
        join("nowhere")


def test_processes_wait_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the one that validates; the defaults of torch are 10 and 30 minutes."""
    given: dict[str, object] = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **options: given.update(options))
    join("cpu")
    assert given["timeout"] >= timedelta(hours=6)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "meta-physics"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_cannot_be_used_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}'"):
        join(device)


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_the_parts_gradients_is_that_of_the_batch(name: str) -> None:
    """With very different errors in the parts."""
    random = torch.Generator().manual_seed(0)
    hr, noise = (torch.randn(4, 3, 8, 8, generator=random, dtype=torch.float64) for _ in range(2))
    sr = (hr + noise * torch.tensor([0.1, 0.5, 20, 90]).view(-1, 1, 1, 1)).requires_grad_()
    (whole,) = torch.autograd.grad(LOSSES[name](sr, hr), sr)
    parts, loss_of = [slice(0, 2), slice(2, 4)], LOSSES[name]
    if loss_of is decibels:
        errors = []
        for part in parts:
            decibels(sr[part], hr[part], lambda error: errors.append(error) or error)
        loss_of = partial(decibels, mean=lambda error: torch.stack(errors).mean())
    own = [torch.autograd.grad(loss_of(sr[part], hr[part]), sr)[0] / 2 for part in parts]
    torch.testing.assert_close(sum(own), whole)
