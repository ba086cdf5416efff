"""From options to results on disk: prepare and check everything, measure every image, write tables and plots."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import adadsr
from adadsr import atomic, images
from adadsr.errors import DatasetError, InputError
from adadsr.evaluation import plots, sheet
from adadsr.evaluation.benchmark import Benchmark, Pair, Sample, find_folder, load_pair, open_benchmark
from adadsr.evaluation.environment import describe_environment
from adadsr.evaluation.log import ImageLog
from adadsr.evaluation.records import ImageRecord, Row, measure, summarize
from adadsr.evaluation.runners import Result, Runner, RunnerOptions, open_runners
from adadsr.evaluation.tables import label, markdown
from adadsr.models.config import SCALES
from adadsr.sparse.backends import default_backend
from adadsr.upscaler.report import Target

WARM_UP_SIDE = 48
"""LR pixels of the crop on which every runner is tried once before anything is timed."""

Progress = Callable[[str, str, float], None]
"""Takes the stage (checking, measuring or drawing), what is at hand, and the share of the stage that is done."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, and how.

    datasets: names below data_root, or paths. models: names of baselines, else what `checkpoints.load_model` takes.
    depths, budgets: what each adaptive model is asked for, in blocks and as fractions; full depth where both are empty.
    backend, device, tile, memory: see `Upscaler`. fresh: forget what an earlier run left in `out`.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    scale: int
    out: Path
    data_root: Path = Path(".")
    depths: tuple[float, ...] = ()
    budgets: tuple[float, ...] = ()
    backend: str | None = None
    device: str = "cpu"
    tile: int | None = None
    memory: int | None = None
    self_ensemble: bool = False
    save_images: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale={self.scale} is not one of {', '.join(map(str, SCALES))}")
        for name in ("datasets", "models"):
            if not getattr(self, name):
                raise InputError(f"no {name} are given; name at least one")
        for name in ("datasets", "models", "depths", "budgets"):
            values = getattr(self, name)
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise InputError(f"{twice} is given twice in {name}; give it once")
        for budget in self.budgets:
            if not 0 < budget <= 1:
                raise InputError(f"budget={budget:g} is outside (0, 1]; 1 is the full network")
        for depth in self.depths:
            if not depth >= 0:
                raise InputError(f"depth={depth:g} is below 0; it is a number of residual blocks")

    @property
    def backend_name(self) -> str:
        """The backend that runs, also where none was chosen."""
        return self.backend or default_backend(torch.device(self.device))

    @property
    def targets(self) -> tuple[Target, ...]:
        """What each adaptive model is asked for."""
        asked = [Target(depth=depth) for depth in self.depths] + [Target(budget=budget) for budget in self.budgets]
        return tuple(asked) or (Target(),)


class Evaluation(NamedTuple):
    """What `evaluate` found and wrote. measured: images that were run now; the others were in the log."""

    rows: list[Row]
    files: list[Path]
    measured: int


def evaluate(options: EvaluationOptions, progress: Progress = lambda stage, what, share: None) -> Evaluation:
    """Run every model on every data set and write results.json, results.md, images.jsonl and plots to `options.out`.

    Everything is checked before the first image is measured. Images that an interrupted run with the same options,
    weights and pixels has finished are not run again. Raises DatasetError, ImageFileError, InputError, CheckpointError
    and BackendError.
    """
    benchmarks = _open_benchmarks(options, progress)
    runners = open_runners(options.models, _runner_options(options))
    _check_budgets(runners, benchmarks)
    _make_folder(options.out)
    _warm_up(runners, benchmarks[0])
    try:
        return _measure_and_write(options, benchmarks, runners, progress)
    except OSError as error:
        place = error.filename2 or error.filename or options.out
        raise InputError(f"{place}: cannot be written ({error.strerror or error}); choose another --out") from error


def _measure_and_write(
    options: EvaluationOptions, benchmarks: list[Benchmark], runners: list[Runner], progress: Progress
) -> Evaluation:
    log = ImageLog(options.out / "images.jsonl", fresh=options.fresh)
    session = _Session(options, runners, log)
    records = session.measure_all(benchmarks, progress)
    rows = [summarize(of_runner) for of_runner in records]
    files = _write_results(options, rows)
    files += plots.draw_plots(options.out, rows, [record for of_runner in records for record in of_runner])
    for index, benchmark in enumerate(benchmarks):
        progress("drawing", benchmark.name, index / len(benchmarks))
        files += sheet.draw_sheets(options.out, benchmark, runners)
    progress("drawing", "", 1.0)
    return Evaluation(rows, files, session.measured)


class _Session:
    """The images of one run: looked up in the log, else measured."""

    def __init__(self, options: EvaluationOptions, runners: list[Runner], log: ImageLog) -> None:
        self._options, self._runners, self._log = options, runners, log
        self.measured = 0

    def measure_all(self, benchmarks: list[Benchmark], progress: Progress) -> list[list[ImageRecord]]:
        """The records of each data set and runner."""
        pixels = sum(sample.height * sample.width for benchmark in benchmarks for sample in benchmark.samples)
        total, done = pixels * sum(runner.weight for runner in self._runners), 0.0
        records: list[list[ImageRecord]] = []
        for benchmark in benchmarks:
            by_runner: list[list[ImageRecord]] = [[] for _ in self._runners]
            for sample in benchmark.samples:
                what = f"{benchmark.name} {sample.name}"
                for runner, record in self._measure_sample(benchmark, sample):
                    by_runner[self._runners.index(runner)].append(record)
                    done += runner.weight * sample.height * sample.width
                    progress("measuring", f"{what}, {label(runner.model, runner.target)}", done / total)
            records += by_runner
        return records

    def _measure_sample(self, benchmark: Benchmark, sample: Sample) -> Iterator[tuple[Runner, ImageRecord]]:
        """One image by each runner. They take turns, so that none has a quieter hour than the others."""
        pair: Pair | None = None
        for runner in self._runners:
            key = self._key(runner, benchmark, sample)
            record = self._log.get(key)
            if record is None or not self._is_saved(runner, benchmark, sample):
                pair = pair or load_pair(sample, benchmark.scale)
                record = self._measure(key, runner, benchmark, sample, pair)
            yield runner, record

    def _measure(self, key: str, runner: Runner, benchmark: Benchmark, sample: Sample, pair: Pair) -> ImageRecord:
        try:
            result = runner(pair)
        except InputError as error:
            raise InputError(f"{sample.hr_path}, {label(runner.model, runner.target)}: {error}") from error
        if self._options.save_images:
            _save(self._image_path(runner, benchmark, sample), result)
        record = measure(key, runner, benchmark, sample, pair.hr, result)
        self._log.add(record)
        self.measured += 1
        return record

    def _key(self, runner: Runner, benchmark: Benchmark, sample: Sample) -> str:
        """A digest of all that the figures of one image depend on."""
        options = self._options
        parts: list[Any] = [adadsr.__version__, runner.model, runner.identity, asdict(runner.target)]
        parts += [benchmark.name, sample.name, sample.digest, benchmark.scale]
        if runner.is_network:
            parts += [options.backend_name, options.device, options.tile, options.memory, options.self_ensemble]
            parts.append(torch.get_num_threads())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _image_path(self, runner: Runner, benchmark: Benchmark, sample: Sample) -> Path:
        folder = label(runner.model, runner.target).replace(" ", "-").replace("/", "_").replace("%", "")
        return self._options.out / "images" / benchmark.name / folder / f"{sample.name}.png"

    def _is_saved(self, runner: Runner, benchmark: Benchmark, sample: Sample) -> bool:
        return not self._options.save_images or self._image_path(runner, benchmark, sample).exists()


def _open_benchmarks(options: EvaluationOptions, progress: Progress) -> list[Benchmark]:
    folders = [find_folder(name, options.data_root) for name in options.datasets]
    resolved = [folder.resolve() for folder in folders]
    for index, folder in enumerate(resolved):
        if folder.name in [other.name for other in resolved[:index]]:
            raise DatasetError(f"{folders[index]}: a data set of the name {folder.name} is given twice; give it once")
    benchmarks = []
    for index, folder in enumerate(folders):
        progress("checking", folder.name, index / len(folders))
        benchmarks.append(open_benchmark(folder, options.scale, lr_is_bicubic="bicubic" in options.models))
    progress("checking", "", 1.0)
    return benchmarks


def _runner_options(options: EvaluationOptions) -> RunnerOptions:
    return RunnerOptions(
        options.scale,
        options.targets,
        options.backend_name,
        options.device,
        options.tile,
        options.memory,
        options.self_ensemble,
    )


def _check_budgets(runners: list[Runner], benchmarks: list[Benchmark]) -> None:
    """Raise InputError for a budget that an image cannot meet, with the least that all images can."""
    samples = [sample for benchmark in benchmarks for sample in benchmark.samples]
    for runner in runners:
        if runner.target.budget in (None, 1):
            continue
        least = [runner.least_budget(sample.height, sample.width) for sample in samples]
        largest = max(least)
        if runner.target.budget < largest:
            path = samples[least.index(largest)].hr_path
            raise InputError(
                f"{runner.model}: budget={runner.target.budget:g}: head, adapter, closing convs and tail alone cost "
                f"{largest:.4f} of the full network on {path}; ask for at least {largest + 5e-4:.3f}"
            )


def _warm_up(runners: list[Runner], benchmark: Benchmark) -> None:
    """Run everything once on a small crop, which is not timed."""
    lr, hr, _ = load_pair(benchmark.samples[0], benchmark.scale)
    side = WARM_UP_SIDE * benchmark.scale
    crop = Pair(np.ascontiguousarray(lr[:WARM_UP_SIDE, :WARM_UP_SIDE]), np.ascontiguousarray(hr[:side, :side]))
    for runner in runners:
        try:
            runner(crop)
        except InputError as error:
            raise InputError(f"{runner.model}: {error}") from error


def _make_folder(out: Path) -> None:
    try:
        atomic.make_folder(out)
    except OSError as error:
        raise InputError(f"{out}: no files can be written there ({error.strerror}); choose another --out") from error


def _save(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_image(path, images.picture_from_array(result.sr))


def _write_results(options: EvaluationOptions, rows: list[Row]) -> list[Path]:
    environment = describe_environment(options.device)
    environment |= {"backend": options.backend_name, "tile": options.tile, "self_ensemble": options.self_ensemble}
    results = {"rows": [asdict(row) for row in rows], "environment": environment}
    texts = {
        "results.json": json.dumps(results, indent=1, allow_nan=False) + "\n",
        "results.md": markdown(rows, environment),
    }
    files = []
    for name, text in texts.items():
        files.append(options.out / name)
        atomic.write_text(files[-1], text)
    return files
