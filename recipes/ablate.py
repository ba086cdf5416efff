"""Effect of options of a recipe: variants of one recipe with the same seed and steps, measured on validation photos.

`python recipes/ablate.py recipes/ablations/adaptive-x2.yaml --train DIR --valid DIR --out DIR`

The file has `base`, a recipe, and `variants`: name -> the keys that it changes, of the recipe or of its last stage.
Variants run one after the other; repeat an interrupted command to resume it. Prints mean PSNR-Y when a variant ends,
then a table, and in the last line JSON.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from adadsr import atomic, checkpoints
from adadsr.datasets import Pair, TrainingImages, load_pairs
from adadsr.errors import AdaDSRError, InputError
from adadsr.networks import NetworkConfig
from adadsr.training import Pace, Recipe, Run, Stage, Trainer, default_cache
from adadsr.training.distributed import join
from adadsr.training.log import Entry, Progress
from adadsr.training.reading import read_yaml
from adadsr.training.session import owned
from adadsr.training.validation import load_valid


def main() -> None:
    """Train and measure every variant that has no result yet."""
    parser = argparse.ArgumentParser(description="Train variants of a recipe and compare them")
    parser.add_argument("variants", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these variants")
    arguments = parser.parse_args()
    try:
        recipes = read_variants(arguments.variants, arguments.only)
        world, lr_cache = join(), default_cache()

        @cache
        def images(scale: int, reductions: tuple[int, ...]) -> TrainingImages:
            return TrainingImages(load_pairs(arguments.train, scale, lr_cache, reductions), scale, world.device)

        @cache
        def valid(config: NetworkConfig, reductions: tuple[int, ...]) -> list[Pair]:
            return load_valid(arguments.valid, config, lr_cache, reductions)

        def run(recipe: Recipe, out: Path) -> Run:
            trainer = Trainer(recipe, images(recipe.scale, recipe.photo_reductions), world, lr_cache)
            pace = Pace(every=max(stage.steps for stage in recipe.stages))
            return Run(trainer, valid(recipe.config, recipe.valid_reductions), out, pace, [_print])

        results = {}
        for name, recipe in recipes.items():
            results[name] = _result(partial(run, recipe), recipe, arguments.out / name)
            print(f"{name}: {results[name]}", flush=True)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")
    _print_table(results)
    print(json.dumps(results))


def read_variants(path: Path, only: list[str] | None) -> dict[str, Recipe]:
    """Name -> recipe. Raises InputError for unknown variants and unknown keys."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not {"base", "variants"} <= set(content):
        raise InputError(f"{path}: base or variants missing; see recipes/ablations/ for an example")
    base, variants = Recipe.from_dict(content["base"]), content["variants"]
    missing = set(only or ()) - set(variants)
    if missing:
        raise InputError(f"{path}: unknown variant {', '.join(sorted(missing))}; available: {', '.join(variants)}")
    return {name: _changed(base, name, variants[name] or {}) for name in only or variants}


def _changed(base: Recipe, name: str, changes: dict[str, Any]) -> Recipe:
    of_stage = {field.name for field in fields(Stage)}
    of_recipe = {field.name for field in fields(Recipe)} - {"stages"}
    unknown = set(changes) - of_stage - of_recipe
    if unknown:
        raise InputError(f"variant {name!r}: unknown key {', '.join(sorted(unknown))}; docs/training.md lists the keys")
    last = replace(base.stages[-1], **{key: value for key, value in changes.items() if key in of_stage})
    rest = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items() if k in of_recipe}
    return replace(base, stages=(*base.stages[:-1], last), **rest)


def _result(run: Callable[[Path], Run], recipe: Recipe, out: Path) -> dict[str, float]:
    """Mean PSNR-Y in dB of a variant, trained unless it has a result. run: a training to a folder."""
    result, written = out / "result.json", json.dumps(asdict(recipe))
    if not result.exists():
        with owned(out, "--out"):
            model = run(out).go()
        reached = json.loads(checkpoints.read_header(model).metadata["PSNR-Y on validation"])
        atomic.write_text(result, json.dumps({"recipe": written, "psnr_y": reached}))
    done = json.loads(result.read_text(encoding="utf-8"))
    if done["recipe"] != written:
        raise InputError(f"{result}: belongs to another recipe; choose another --out or delete the folder")
    scores: dict[str, float] = done["psnr_y"]
    return scores


def _print(entry: Entry) -> None:
    if isinstance(entry, Progress) and entry.step % 100 == 0:
        print(f"  step {entry.step}: loss {entry.loss:.3f}, {entry.seconds_left / 60:.0f} minutes left", flush=True)


def _print_table(results: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(column for scores in results.values() for column in scores))
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, scores in results.items():
        print(
            f"| {name} | "
            + " | ".join(f"{scores[column]:.3f}" if column in scores else "" for column in columns)
            + " |"
        )


if __name__ == "__main__":
    main()
