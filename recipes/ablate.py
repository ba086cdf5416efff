"""What each option of a recipe brings: variants of one recipe with the same seed and steps, measured on `valid`.

`python recipes/ablate.py recipes/ablations/adaptive-x2.yaml --train DIR --valid DIR --out DIR`

The file holds `base`, a recipe, and `variants`: name -> the keys that it changes, of the recipe or of its last stage.
Variants run one after the other; started again, it goes on where it was interrupted. Prints a row of mean PSNR-Y as
each variant ends, then the table, and as the last line all of it as JSON.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from adadsr import atomic, checkpoints
from adadsr.datasets import Pair, TrainingImages, load_pairs
from adadsr.errors import AdaDSRError, InputError
from adadsr.training import Pace, Recipe, Run, Stage, Trainer
from adadsr.training.distributed import join
from adadsr.training.log import Entry, Progress
from adadsr.training.session import default_cache


def main() -> None:
    """Train and measure every variant that has no result yet."""
    parser = argparse.ArgumentParser(description="Train variants of a recipe and compare them")
    parser.add_argument("variants", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants alone")
    arguments = parser.parse_args()
    try:
        recipes = read_variants(arguments.variants, arguments.only)
        scale = next(iter(recipes.values())).scale
        pairs, valid = (load_pairs(folder, scale, default_cache()) for folder in (arguments.train, arguments.valid))
        world = join()
        images = TrainingImages(pairs, scale, world.device)
        results = {}
        for name, recipe in recipes.items():
            trainer = partial(Trainer, recipe, images, world)
            results[name] = _result(trainer, recipe, valid, arguments.out / name)
            print(f"{name}: {results[name]}", flush=True)
    except AdaDSRError as error:
        parser.exit(1, f"adadsr: {error}\n")
    _print_table(results)
    print(json.dumps(results))


def read_variants(path: Path, only: list[str] | None) -> dict[str, Recipe]:
    """Name -> recipe. Raises InputError for a variant that is not there and for a key that no recipe or stage has."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    base, variants = Recipe.from_dict(content["base"]), content["variants"]
    missing = set(only or ()) - set(variants)
    if missing:
        raise InputError(f"{path}: no variant {', '.join(sorted(missing))}; there are {', '.join(variants)}")
    return {name: _changed(base, name, variants[name] or {}) for name in only or variants}


def _changed(base: Recipe, name: str, changes: dict[str, Any]) -> Recipe:
    of_stage = {field.name for field in fields(Stage)}
    of_recipe = {field.name for field in fields(Recipe)} - {"stages"}
    unknown = set(changes) - of_stage - of_recipe
    if unknown:
        raise InputError(f"variant {name!r}: {', '.join(sorted(unknown))}: no key of a recipe or stage")
    last = replace(base.stages[-1], **{key: value for key, value in changes.items() if key in of_stage})
    rest = {key: value for key, value in changes.items() if key in of_recipe}
    return replace(base, stages=(*base.stages[:-1], last), **rest)


def _result(trainer: Callable[[], Trainer], recipe: Recipe, valid: list[Pair], out: Path) -> dict[str, float]:
    """Mean PSNR-Y in dB of a variant; trained where that has not been done yet."""
    result, written = out / "result.json", json.dumps(asdict(recipe))
    if not result.exists():
        model = Run(trainer(), valid, out, Pace(every=max(stage.steps for stage in recipe.stages)), [_print]).go()
        reached = json.loads(checkpoints.read_header(model).metadata["PSNR-Y on validation"])
        atomic.write_text(result, json.dumps({"recipe": written, "psnr_y": reached}))
    done = json.loads(result.read_text(encoding="utf-8"))
    if done["recipe"] != written:
        raise InputError(f"{result}: belongs to another recipe; choose another --out or remove the folder")
    scores: dict[str, float] = done["psnr_y"]
    return scores


def _print(entry: Entry) -> None:
    if isinstance(entry, Progress) and entry.step % 100 == 0:
        print(f"  step {entry.step}: loss {entry.loss:.3f}, {entry.seconds_left / 60:.0f} minutes left", flush=True)


def _print_table(results: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(results.values())))
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, scores in results.items():
        print(f"| {name} | " + " | ".join(f"{scores[column]:.3f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
