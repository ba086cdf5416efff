"""`adadsr train`."""

from pathlib import Path

import pytest

from adadsr import checkpoints
from adadsr.cli.train import progress_line, rollback_line, validation_line
from adadsr.training.log import Progress, Rollback, Validation
from cli_samples import call
from training_samples import RECIPE, write_photos

assert RECIPE.network == "adatiny"
TEXT = "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 2, batch: 1, patch: 8, learning_rate: 1.0e-3}]}"


@pytest.fixture
def given(here: Path) -> list[str]:
    """Arguments of a run over in a blink."""
    write_photos(here / "photos")
    (here / "r.yaml").write_text(TEXT)
    return ["train", "r.yaml", "--train", "photos", "--valid", "photos", "--cache", "cache", "--device", "cpu"]


def test_it_trains_to_a_checkpoint_and_says_where(given: list[str], here: Path) -> None:
    result = call(*given, "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/model.safetensors\n"
    assert "stage 1 of 1, step 2: PSNR-Y full " in result.stderr
    assert checkpoints.load(here / "out" / "model.safetensors").config.depth_tile == 4


def test_bad_input_ends_in_one_line(given: list[str], here: Path) -> None:
    (here / "r.yaml").write_text(TEXT.replace("scale: 2", "scale: 2, speed: 9"))
    result = call(*given, "--out", "out")
    assert result.exit_code == 1
    assert "r.yaml: " in result.stderr
    assert "'speed'" in result.stderr
    assert call(*given, "--out", "out", "--every", "0").exit_code == 2


def test_what_is_shown() -> None:
    assert progress_line(Progress(0, 40, 2.5, 1e-4, 0.25, 64.0, 0.012, 7260.0)) == (
        "2:01 left  loss 2.500  64 patches/s  250 ms a step, 1.2% of it data"
    )
    assert validation_line(Validation(1, 40, {"full": 31.456, "50%": 31.2}, 9.7), 2) == (
        "stage 2 of 2, step 40: PSNR-Y full 31.46, 50% 31.20 dB (10 s)"
    )
    assert rollback_line(Rollback(0, 20, 33, None, 2.0, 1)) == (
        "stage 1, step 33: the loss is not finite; back to step 20 at 0.5 of the learning rate"
    )
    assert "the loss jumped to 512; back" in rollback_line(Rollback(0, 20, 33, 512.0, 2.0, 2))
