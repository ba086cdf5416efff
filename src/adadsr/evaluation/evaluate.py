"""From options to results on disk: open and check everything, measure every image, write tables and plots."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

import adadsr
from adadsr import atomic, images
from adadsr.errors import DatasetError, InputError, cause_of
from adadsr.evaluation import figures, plots, results, sheet
from adadsr.evaluation.benchmark import Benchmark, Pair, Sample, find_folder, load_pair, open_benchmark
from adadsr.evaluation.options import EvaluationOptions
from adadsr.evaluation.records import Case, ImageLog, ImageRecord, Result, Row
from adadsr.evaluation.runners import NetworkRunner, Runner, open_runners

WARM_UP_SIDE = 48
"""LR pixels of the crop on which every runner runs once before anything is timed."""

Progress = Callable[[str, str, float], None]
"""Called with the stage (checking, measuring, drawing), the current item, and the share of the stage that is done."""


class Evaluation(NamedTuple):
    """What `evaluate` found and wrote.

    measured: results that were computed now; the others were in the log. notes: what was left out, and why.
    """

    rows: list[Row]
    files: list[Path]
    measured: int
    notes: tuple[str, ...] = ()


def evaluate(options: EvaluationOptions, progress: Progress = lambda stage, item, share: None) -> Evaluation:
    """Run every model on every data set and write results.json, results.md, images.jsonl and plots to `options.out`.

    Everything is checked before the first image is measured. Images that an interrupted run with the same options,
    weights and pixels has finished are not run again. Without matplotlib there are no plots, as the notes say.

    Args:
        options: What to evaluate.
        progress: Called as `Progress` says.

    Raises:
        DatasetError, ImageFileError: A data set cannot be used.
        CheckpointError, BackendError: A model cannot be loaded or run.
        InputError: A model cannot meet a target, or `out` cannot be written.
    """
    benchmarks = _open_benchmarks(options, progress)
    runners = open_runners(options)
    _check_budgets(runners, benchmarks)
    try:
        atomic.make_folder(options.out)
    except OSError as error:
        raise InputError(f"{options.out}: folder is not writable ({cause_of(error)}); choose another --out") from error
    _warm_up(runners, benchmarks[0])
    try:
        return _measure_and_write(options, benchmarks, runners, progress)
    except OSError as error:
        path = error.filename2 or error.filename or options.out
        raise InputError(f"{path}: cannot be written ({cause_of(error)}); choose another --out") from error


def _measure_and_write(
    options: EvaluationOptions, benchmarks: list[Benchmark], runners: list[Runner], progress: Progress
) -> Evaluation:
    session = _Session(options, runners, ImageLog(options.out / "images.jsonl", fresh=options.fresh))
    records = session.measure_all(benchmarks, progress)
    rows = [Row.of(of_case) for of_case in records.values()]
    environment = results.describe_environment(options.execution)
    environment |= {"backend": results.describe_backends(runners), "self_ensemble": options.self_ensemble}
    environment["degradations"] = [str(step) for step in options.degradations]
    files = results.write(options.out, rows, environment)
    missing = figures.missing()
    if missing is not None:
        return Evaluation(rows, files, session.measured, (missing,))
    files += plots.draw_plots(options.out, rows, records)
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

    def measure_all(self, benchmarks: list[Benchmark], progress: Progress) -> dict[Case, list[ImageRecord]]:
        """The records of each case, in the order of the tables."""
        pixels = sum(sample.height * sample.width for benchmark in benchmarks for sample in benchmark.samples)
        total = pixels * sum(runner.weight(target) for runner in self._runners for target in runner.targets)
        done = 0.0
        records: dict[Case, list[ImageRecord]] = {}
        for benchmark in benchmarks:
            for sample in benchmark.samples:
                for runner, record in self._measure_sample(benchmark, sample):
                    records.setdefault(record.case, []).append(record)
                    done += runner.weight(record.case.target) * sample.height * sample.width
                    progress("measuring", f"{benchmark.name} {sample.name}, {record.case.label}", done / total)
        return records

    def _measure_sample(self, benchmark: Benchmark, sample: Sample) -> Iterator[tuple[Runner, ImageRecord]]:
        """One image by each runner. They take turns, so that none has a quieter hour than the others."""
        pair: Pair | None = None
        for runner in self._runners:
            cases = [Case(runner.model, benchmark.name, benchmark.scale, target) for target in runner.targets]
            known = {case: self._finished(runner, case, sample) for case in cases}
            missing = [case for case in cases if known[case] is None]
            if missing:
                pair = pair or load_pair(sample, benchmark.scale)
            fresh = self._measure(runner, missing, sample, pair) if pair is not None else iter(())
            for case in cases:
                yield runner, known[case] or next(fresh)

    def _finished(self, runner: Runner, case: Case, sample: Sample) -> ImageRecord | None:
        """The record of an earlier run, if its image is there as well."""
        if self._options.save_images and not self._image_path(case, sample).exists():
            return None
        return self._log.get(_key(runner, case, sample))

    def _measure(self, runner: Runner, cases: list[Case], sample: Sample, pair: Pair) -> Iterator[ImageRecord]:
        try:
            for case, result in zip(cases, runner.run(pair, [case.target for case in cases]), strict=True):
                if self._options.save_images:
                    _save(self._image_path(case, sample), result)
                quality = result.quality(pair.hr, case.scale)
                record = ImageRecord(_key(runner, case, sample), case, sample.name, quality, result.effort)
                self._log.add(record)
                self.measured += 1
                yield record
        except InputError as error:
            raise InputError(f"{sample.hr_path}, {runner.model}: {error}") from error

    def _image_path(self, case: Case, sample: Sample) -> Path:
        folder = case.label.replace(" ", "-").replace("/", "_").replace("%", "")
        return self._options.out / "images" / case.dataset / folder / f"{sample.name}.png"


def _key(runner: Runner, case: Case, sample: Sample) -> str:
    """A digest of everything that the figures of one image depend on."""
    parts = [adadsr.__version__, runner.identity, asdict(case), sample.name, sample.digest]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _save(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_image(path, images.picture_from_array(result.sr))


def _open_benchmarks(options: EvaluationOptions, progress: Progress) -> list[Benchmark]:
    folders = [find_folder(name, options.data_root) for name in options.datasets]
    names = [folder.resolve().name for folder in folders]
    for index, name in enumerate(names):
        first = folders[names.index(name)]
        if folders[index].resolve() != first.resolve():
            raise DatasetError(
                f"{folders[index]}: has the same name as {first}; rename one so that tables can tell them apart"
            )
        if index > names.index(name):
            raise DatasetError(f"{folders[index]}: duplicate data set {name}; pass it once")
    benchmarks = []
    for index, folder in enumerate(folders):
        progress("checking", folder.name, index / len(folders))
        is_bicubic = "bicubic" in options.models
        benchmarks.append(
            open_benchmark(folder, options.scale, lr_is_bicubic=is_bicubic, degradations=options.degradations)
        )
    progress("checking", "", 1.0)
    return benchmarks


def _check_budgets(runners: list[Runner], benchmarks: list[Benchmark]) -> None:
    """Raise InputError for a budget that an image cannot meet, with the least that all images can."""
    samples = [sample for benchmark in benchmarks for sample in benchmark.samples]
    for runner in runners:
        if not isinstance(runner, NetworkRunner) or runner.engine.network.adapter is None:
            continue
        least, path = max((runner.least_budget(each.height, each.width), each.hr_path) for each in samples)
        for target in runner.targets:
            if target.budget is not None and target.budget < min(least, 1.0):
                raise InputError(
                    f"{runner.model}: budget={target.budget:g} is too small: everything but the residual blocks costs "
                    f"{least:.4f} of the full network on {path}; use at least {least + 5e-4:.3f}"
                )


def _warm_up(runners: list[Runner], benchmark: Benchmark) -> None:
    """Run everything once on a small crop, which is not timed."""
    lr, hr, _ = load_pair(benchmark.samples[0], benchmark.scale)
    side = WARM_UP_SIDE * benchmark.scale
    crop = Pair(np.ascontiguousarray(lr[:WARM_UP_SIDE, :WARM_UP_SIDE]), np.ascontiguousarray(hr[:side, :side]))
    for runner in runners:
        try:
            for _ in runner.run(crop, runner.targets):
                pass
        except InputError as error:
            raise InputError(f"{runner.model}: {error}") from error
