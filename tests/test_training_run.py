"""A run from a recipe to a finished checkpoint: it learns, resumes, rolls back, reports."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adadsr import atomic, checkpoints
from adadsr.datasets import TrainingImages, load_pairs
from adadsr.errors import AdaDSRError, CheckpointError, InputError, MissingDependencyError, TrainingError
from adadsr.networks import Network, NetworkConfig
from adadsr.training import Pace, Run, Session, Trainer, checks, loop, session, train, validate
from adadsr.training import __main__ as command
from adadsr.training.checks import check_stages
from adadsr.training.distributed import World
from adadsr.training.divergence import is_spike, next_usual
from adadsr.training.log import Board, Entry, Progress, Targets, Validation
from adadsr.training.loop import MOST_ROLLBACKS
from adadsr.training.optimizers import learning_rate
from adadsr.training.state import FORMAT, read_state
from adadsr.training.teacher import load_teacher
from adadsr.training.trainer import Step
from training_samples import ALONE, RECIPE, STAGES, build, trainer_of, write_photos

PACE = Pace(every=6, look=1, minutes=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def entries(out: Path, kind: str) -> list[dict]:
    """The log's entries of a kind."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def run_of(recipe, folder: Path, out: Path, pace: Pace = PACE) -> Run:
    pairs = load_pairs(folder, recipe.scale)
    out.mkdir(exist_ok=True)
    return Run(trainer_of(recipe, pairs), pairs, out, pace)


def test_training_lowers_the_loss_and_ends_in_an_evaluated_checkpoint(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, stages=(replace(STAGES[0], steps=60), replace(STAGES[1], steps=30)))
    run = run_of(recipe, folder, tmp_path / "out", Pace(every=30, look=10))
    before = validate(run.trainer.network.model(), run.valid)[1.0]
    path = run.go()
    scores = validate(checkpoints.load(path), run.valid)
    assert scores[1.0] > before + 1
    assert math.isfinite(scores[0.25])
    metadata = checkpoints.read_header(path).metadata
    assert json.loads(metadata["PSNR-Y on validation"])["full"] == pytest.approx(scores[1.0], abs=1e-3)
    assert json.loads(metadata["recipe"])["network"] == "adatiny"
    assert float(metadata["hours of training"]) >= 0
    validations = entries(tmp_path / "out", "validation")
    assert [(line["stage"], line["step"], len(line["psnr_y"])) for line in validations] == [
        (0, 30, 1),
        (0, 60, 1),
        (1, 30, 4),
    ]
    progress = entries(tmp_path / "out", "progress")
    assert [line["step"] for line in progress] == [10, 20, 30, 40, 50, 60, 10, 20, 30]
    assert all(line["learning_rate"] > 0 and 0 < line["data_share"] < 1 for line in progress)
    assert progress[-1]["seconds_left"] == 0


def test_validation_has_a_figure_for_each_reduction(folder: Path, tmp_path: Path) -> None:
    run = run_of(replace(RECIPE, stages=(replace(STAGES[0], steps=2),)), folder, tmp_path / "out")
    run.valid = load_pairs(folder, 2, None, (1, 2))
    run.go()
    (line,) = entries(tmp_path / "out", "validation")
    for name, reduction in (("full", 1), ("1/2: full", 2)):
        pairs = [pair for pair in run.valid if pair.reduction == reduction]
        assert line["psnr_y"][name] == pytest.approx(validate(run.trainer.averaged.model(), pairs)[1.0], abs=1e-3)


KILLED = """
import sys
from pathlib import Path
import conftest  # as many threads of torch as here
from test_training_run import run_of
from training_samples import RECIPE
run_of(RECIPE, Path(sys.argv[1]), Path(sys.argv[2])).go()
"""


def test_a_killed_run_resumes_with_the_same_losses(folder: Path, tmp_path: Path) -> None:
    run_of(RECIPE, folder, tmp_path / "whole").go()
    expected = [line["loss"] for line in entries(tmp_path / "whole", "progress")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    given = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "killed")]
    log = tmp_path / "killed" / "log.jsonl"
    process = subprocess.Popen(given, env=environment)
    while process.poll() is None and (not log.exists() or log.read_text().count("progress") < 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    run_of(RECIPE, folder, tmp_path / "killed").go()
    assert [line["loss"] for line in entries(tmp_path / "killed", "progress")] == expected
    validated = [[line["step"] for line in entries(tmp_path / name, "validation")] for name in ("whole", "killed")]
    assert validated[1] == validated[0]
    assert len(expected) == sum(stage.steps for stage in STAGES)
    tensors = [checkpoints.load(tmp_path / name / "model.safetensors").tensors for name in ("whole", "killed")]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch": 99}, "all LR images are smaller than patch=99"),
        ({"batch": 5}, "batch=5 does not divide evenly among 2 processes"),
        ({"teacher": "nowhere.safetensors"}, "nowhere.safetensors: "),
        ({"teacher": "edsr-baseline-x3"}, "teacher=edsr-baseline-x3 is x3, the recipe x2"),
        ({"teacher": "edsr-baseline-x2", "teacher_megapixels": 1, "patch": 23}, "smaller than patch=23"),
    ],
)
def test_later_stages_are_checked_before_the_first_step(changes: dict[str, object], said: str, folder: Path) -> None:
    images = TrainingImages(load_pairs(folder, 2), 2, torch.device("cpu"))
    recipe = replace(RECIPE, stages=(STAGES[0], replace(STAGES[1], **changes)))
    two = World(0, 2, torch.device("cpu"))
    with pytest.raises(AdaDSRError, match=f"^stage 2: .*{said}"):
        check_stages(recipe, 0, images, two)
    check_stages(recipe, 2, images, two)


def test_a_teacher_is_loaded_once_to_check_all_its_stages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which each patch has to suit it."""
    teacher, loaded = str(tmp_path / "teacher.safetensors"), []
    checkpoints.save(Network(NetworkConfig("esrgan", 2, 4, 1, growth=2, unshuffle=2)).model(), teacher)
    monkeypatch.setattr(checks, "load_teacher", lambda *given: loaded.append(given) or load_teacher(*given))
    images = TrainingImages(load_pairs(folder, 2), 2, torch.device("cpu"))
    stages = [replace(STAGES[0], teacher=teacher, patch=patch) for patch in (6, 8, 10, 9)]
    check_stages(replace(RECIPE, stages=tuple(stages[:3])), 0, images, ALONE)
    assert len(loaded) == 1
    with pytest.raises(InputError, match=r"^stage 4: teacher=.* works on 2x2 squares of pixels"):
        check_stages(replace(RECIPE, stages=tuple(stages)), 0, images, ALONE)


def test_a_stage_that_has_not_begun_may_be_changed(folder: Path, tmp_path: Path) -> None:
    """So a recipe whose second stage cannot run is repaired without losing the first."""
    out = tmp_path / "out"
    run = run_of(RECIPE, folder, out)
    run.pace = Pace(every=6, look=6, minutes=9)
    run.observers.append(lambda entry: (_ for _ in ()).throw(KeyboardInterrupt) if run.trainer.stage else None)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    first, second = STAGES
    changed = replace(RECIPE, stages=(first, replace(second, steps=3, batch=1)))
    assert run_of(changed, folder, out).go()
    assert [line["step"] for line in entries(out, "progress")][-3:] == [1, 2, 3]
    for other, said in (
        (replace(changed, stages=(first,)), "stage 2"),
        (replace(changed, stages=(first, replace(second, steps=4, batch=1)), seed=3), "seed, steps of stage 2"),
        (replace(changed, stages=(replace(first, patch=7), second)), "patch of stage 1, steps of stage 2, batch of"),
    ):
        with pytest.raises(InputError, match=f"belongs to a recipe that differs in {said}"):
            run_of(other, folder, out).go()
    manifest = out / "state" / "state.json"
    content = json.loads(manifest.read_text())
    content["about"] |= {"stage": 1, "step": 0}
    content["about"]["recipe"]["stages"][1]["patch"] = 3
    manifest.write_text(json.dumps(content))
    assert run_of(changed, folder, out).go(), "although the saved recipe has a stage that is refused now"
    longer = replace(changed, stages=(*changed.stages, replace(first, steps=2)))
    assert run_of(longer, folder, out).go()


def test_a_run_resumes_where_the_network_that_it_started_from_has_moved(folder: Path, tmp_path: Path) -> None:
    """Only the path of `start_from` may change, not the network."""
    start, recipe = tmp_path / "start.safetensors", replace(RECIPE, stages=(replace(STAGES[0], steps=2),))
    checkpoints.save(build("adatiny", 2, 4).model(), start)
    run_of(replace(recipe, start_from=str(start)), folder, tmp_path / "out").go()
    moved = replace(recipe, start_from=str(start.rename(tmp_path / "moved.safetensors")))
    assert run_of(moved, folder, tmp_path / "out").go()
    other = Network(RECIPE.config, torch.Generator().manual_seed(9))
    checkpoints.save(other.model(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="a recipe that differs in start_from;"):
        run_of(replace(recipe, start_from=str(tmp_path / "other.safetensors")), folder, tmp_path / "out").go()
    (tmp_path / "other.safetensors").rename(tmp_path / "moved.safetensors")
    with pytest.raises(InputError, match=r"moved\.safetensors: is not the network that the run in .* began with;"):
        run_of(moved, folder, tmp_path / "out").go()


@pytest.mark.parametrize("interrupted", range(4))
def test_a_validation_that_was_interrupted_is_made_up_for(
    interrupted: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(RECIPE, folder, tmp_path / "whole").go()
    left = [interrupted]

    def interrupt(*given: object) -> dict[float, float]:
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        return validate(*given)

    monkeypatch.setattr(loop, "validate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_of(RECIPE, folder, tmp_path / "out").go()
    run_of(RECIPE, folder, tmp_path / "out").go()
    whole, resumed = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").open()] for name in ("whole", "out")
    )
    for line in (*whole, *resumed):
        for name in ("seconds", "seconds_left", "seconds_per_step", "images_per_second", "data_share"):
            line.pop(name, None)
    assert resumed == whole


def test_a_run_tells_how_far_the_targets_of_a_teacher_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "QUIET", 0.0)
    checkpoints.save(build("tiny", 2).model(), tmp_path / "teacher.safetensors")
    taught = replace(STAGES[0], steps=1, teacher=str(tmp_path / "teacher.safetensors"), teacher_megapixels=1.0)
    pairs, out = load_pairs(folder, 2), tmp_path / "out"
    out.mkdir()
    trainer = Trainer(replace(RECIPE, stages=(taught,)), TrainingImages(pairs, 2, ALONE.device), ALONE)

    def interrupt(entry: Entry) -> None:
        if isinstance(entry, Targets) and entry.share == 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(trainer, pairs, out, PACE, [interrupt]).go()
    Run(trainer, pairs, out, PACE).go()
    assert [line["share"] for line in entries(out, "targets")] == [0.5, 1.0]
    assert [line["kind"] for line in map(json.loads, (out / "log.jsonl").open())][-2:] == ["progress", "validation"]


def test_a_folder_belongs_to_one_run_at_a_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one ends before it decodes a photo."""
    (tmp_path / "r.yaml").write_text(
        "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 2, batch: 1, patch: 8, learning_rate: 1.0e-3}]}"
    )
    given = Session(tmp_path / "r.yaml", folder, folder, tmp_path / "out", PACE, device="cpu")
    refused: list[object] = []

    def start_second(entry: object) -> None:
        monkeypatch.setattr(session, "load_valid", None)
        with pytest.raises(TrainingError, match="out: another run is writing here; wait until it ends"):
            train(given)
        monkeypatch.undo()
        refused.append(entry)

    assert train(given, [start_second])
    assert refused
    assert train(given)


def spoil(monkeypatch: pytest.MonkeyPatch, times: int, loss: float) -> None:
    """Multiply the loss of step 5 of the first stage, this many times."""
    advance, left = Trainer.advance, [times]

    def spoiled(trainer: Trainer) -> Step:
        step = advance(trainer)
        if (trainer.stage, trainer.step) == (0, 5) and left[0]:
            left[0] -= 1
            with torch.no_grad():
                trainer.network.weights().tail.last.weight.mul_(loss)
            return Step(step.loss * loss, step.norm)
        return step

    monkeypatch.setattr(Trainer, "advance", spoiled)


@pytest.mark.parametrize("loss", [math.nan, 1000.0])
def test_a_diverging_loss_rolls_back_to_a_smaller_rate(
    loss: float, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 2, loss)
    run = run_of(replace(RECIPE, stages=(replace(STAGES[0], batch=8), STAGES[1])), folder, tmp_path / "out")
    checkpoints.load(run.go())  # which refuses tensors that are not finite
    rollbacks = entries(tmp_path / "out", "rollback")
    assert [(line["step"], line["seen_at"], line["rollbacks"]) for line in rollbacks] == [(4, 5, 1), (4, 5, 2)]
    rates = [line["learning_rate"] for line in entries(tmp_path / "out", "progress")]
    assert rates[4] == pytest.approx(learning_rate(STAGES[0], 4, RECIPE.warmup) / 4)
    assert rates[-12:] == pytest.approx([learning_rate(STAGES[1], step, RECIPE.warmup) for step in range(12)])


@given(st.sampled_from([1, 2, 8, 32, 160]), st.integers(0, 99))
def test_single_patches_are_no_spikes(patches: int, seed: int) -> None:
    """Losses of patches differ a hundredfold, and those of one colour far more; their means do not."""
    random, usual, seen = np.random.default_rng(seed), None, 0

    def report() -> float:
        return float((0.1 * 100 ** random.random(patches) * (random.random(patches) > 0.1)).mean())

    while seen < 4000:
        loss = report()
        assert not is_spike(loss, usual, patches, seen)
        seen += patches
        usual = next_usual(usual, loss, patches, seen)
    assert usual == pytest.approx(0.9 * (10 - 0.1) / math.log(100), rel=0.5)
    assert any(is_spike(100 * report(), usual, patches, seen) for _ in range(8))


def test_a_loss_that_keeps_diverging_is_an_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, 99, math.nan)
    with pytest.raises(
        TrainingError,
        match=f"stage 1, step 5: loss nan still diverges after {MOST_ROLLBACKS} rollbacks; lower learning_rate",
    ):
        run_of(RECIPE, folder, tmp_path / "out").go()


def test_a_full_disk_loses_no_state(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills while the second file of a set is written; the set before is complete, and the run resumes."""
    run = run_of(RECIPE, folder, tmp_path / "out")
    run.trainer.advance()
    run._save()
    before = sorted(path.name for path in (tmp_path / "out" / "state").iterdir())
    write, left = Path.write_bytes, [1]

    def full(path: Path, content: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            write(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        CheckpointError, match=r"cannot save the state \(No space left on device\); the previous one is intact"
    ):
        run.go()
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "out" / "state").iterdir()) == before
    assert read_state(tmp_path / "out" / "state").about["step"] == 1
    assert run_of(RECIPE, folder, tmp_path / "out").go().exists()


def test_a_full_disk_at_the_first_state_speaks_of_no_earlier_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = run_of(RECIPE, folder, tmp_path / "out")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"cannot save the state \(No space left on device\); free some space"):
        run._save()


def test_a_manifest_that_cannot_be_written_leaves_the_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(RECIPE, folder, tmp_path / "out")
    run._save()
    before = sorted(path.name for path in (tmp_path / "out" / "state").iterdir())

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write_text", full)
    with pytest.raises(CheckpointError, match="No space left"):
        run._save()
    assert sorted(path.name for path in (tmp_path / "out" / "state").iterdir()) == before


@pytest.mark.parametrize("damage", ["weights", "manifest", "format"])
def test_a_corrupt_state_is_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    run = run_of(RECIPE, folder, tmp_path / "out")
    run._save()
    state = tmp_path / "out" / "state"
    if damage == "weights":
        (path,) = state.glob("weights-*.safetensors")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        content = (state / "state.json").read_text()
        (state / "state.json").write_text(
            content[:-20] if damage == "manifest" else content.replace(FORMAT, "adadsr-state-1")
        )
    with pytest.raises(CheckpointError, match=f"was modified|is corrupt|is not '{FORMAT}'"):
        run.go()


def test_no_file_of_a_state_is_large(tmp_path: Path) -> None:
    """15 MB a file for the networks of the README."""
    recipe = replace(RECIPE, network="adaedsr-baseline", scale=3)
    run = run_of(recipe, write_photos(tmp_path / "photos"), tmp_path / "out", Pace(every=1))
    run.trainer.advance()
    run._save()
    sizes = [path.stat().st_size for path in (tmp_path / "out" / "state").iterdir()]
    assert len(sizes) == 3
    assert max(sizes) < 15e6


def test_curves_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    Board(tmp_path / "board", [0, 10])(Validation(1, 5, {"full": 30.0}, 1.0))
    assert list((tmp_path / "board").iterdir())
    made: list[int] = []
    for first, purged in ((Progress(1, 5, 1.0, 1.0, 1.0, 1.0, 0.1, 1.0), 15), (Validation(1, 5, {}, 1.0), 16)):
        board = Board(tmp_path / "board", [0, 10])
        make = board.make
        board.make = lambda purge_step, make=make: made.append(purge_step) or make(purge_step=purge_step)
        board(first)
        assert made[-1] == purged, "a resumed run drops what it logs again"
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'adadsr\[train\]'"):
        Board(tmp_path / "other", [0])


@pytest.mark.parametrize("every", ["0", "-1", "many"])
def test_every_is_checked(
    every: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["training", "r.yaml", "--train", "a", "--valid", "b", "--out", str(tmp_path / "out"), f"--every={every}"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        command.main()
    assert f"'{every}' is not a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["-1", "soon", "nan"])
def test_minutes_are_checked(
    minutes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["training", "r.yaml", "--train", "a", "--valid", "b", "--out", str(tmp_path), f"--minutes={minutes}"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        command.main()
    assert f"'{minutes}' is not a number of at least 0" in capsys.readouterr().err


def test_the_command_trains_and_ends_bad_input_in_a_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text(
        "{network: adatiny, scale: 2, depth_tile: 4, stages: [{steps: 2, batch: 1, patch: 8, learning_rate: 1.0e-3}]}"
    )
    given = ["training", str(tmp_path / "r.yaml"), "--train", str(folder), "--valid", str(folder)]
    given += ["--cache", str(tmp_path / "cache"), "--out"]
    monkeypatch.setattr("sys.argv", [*given, str(tmp_path / "out")])
    command.main()
    assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == ["progress", "validation"]
    assert (tmp_path / "out" / "model.safetensors").exists()
    monkeypatch.setattr("sys.argv", [*given, str(tmp_path / "r.yaml" / "out")])
    with pytest.raises(SystemExit):
        command.main()
    assert "adadsr: " in (error := capsys.readouterr().err)
    assert "folder is not writable" in error
