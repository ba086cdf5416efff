"""Whether the state of a run belongs to an adaptation, in the terms of its command."""

from pathlib import Path

from adadsr.adaptation.photos import Split
from adadsr.errors import InputError
from adadsr.training import Recipe
from adadsr.training.recipe import differences
from adadsr.training.state import has_state, read_about


def check_options(out: Path, model: str, digest: str, preset: str, recipe: Recipe) -> None:
    """Raise InputError if a run to resume in `out` began with another network or other options.

    model, digest: where the network comes from, and a hash of it. preset: its name. recipe: that it makes.
    """
    if not has_state(out / "state"):
        return
    about = read_about(out / "state")
    if about.get("start_digest", digest) != digest:
        raise InputError(
            f"{model}: is not the network that the run in {out} began with; pass that one, or choose another --out"
        )
    try:
        theirs = Recipe.from_dict(about.get("recipe"))
    except InputError as error:
        raise _of_another_version(out, str(error)) from error
    given = [
        ("--preset", about.get("preset", preset), preset),
        ("--steps", _steps(theirs), _steps(recipe)),
        ("--precision", theirs.precision, recipe.precision),
    ]
    if changed := [f"{option} {then}, not {now}" for option, then, now in given if then != now]:
        raise InputError(
            f"{out}: the run here began with {' and '.join(changed)}; repeat its options to resume it, "
            "or choose another --out"
        )
    others = [key for key in differences(recipe, theirs, len(recipe.stages)) if key != "start_from"]
    if others:
        raise _of_another_version(out, f"{', '.join(others)} differ")


def check_photos(out: Path, split: Split) -> None:
    """Raise InputError if a run to resume began with other photos: it may have learned from some now held out."""
    state = out / "state"
    if has_state(state) and read_about(state).get("photos", split.digest) != split.digest:
        raise InputError(
            f"{out}: the run here began with other photos; pass those to --images, or choose another --out"
        )


def _steps(recipe: Recipe) -> int:
    return sum(stage.steps for stage in recipe.stages)


def _of_another_version(out: Path, what: str) -> InputError:
    return InputError(f"{out}: the run here began with another version of adadsr ({what}); choose another --out")
