"""Validation measures what inference would run, and runs head and adapter no more often than it has to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adadsr.backends import Engine, prepare
from adadsr.datasets import Pair, load_pairs
from adadsr.errors import DatasetError
from adadsr.graph.price import body_macs
from adadsr.metrics import psnr_y
from adadsr.networks import Network, NetworkConfig
from adadsr.training import validate, validation
from adadsr.training.validation import SHARES, depth_map_at, in_words, load_valid
from training_samples import build, write_photos


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return load_pairs(write_photos(tmp_path / "photos"), 2)


class Counting:
    """An engine that counts calls of head and adapter."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.heads, self.adapters = engine, 0, 0
        self.network, self.body, self.tail = engine.network, engine.body, engine.tail

    def features(self, lr: object) -> object:
        self.heads += 1
        return self.engine.features(lr)

    def scores(self, z0: object, desired_depth: float) -> object:
        self.adapters += 1
        return self.engine.scores(z0, desired_depth)


@pytest.mark.parametrize(("depth_tile", "adapters"), [(4, 1), (1, 3)])
def test_head_and_adapter_run_once_unless_the_scores_depend_on_the_depth(
    depth_tile: int, adapters: int, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = []

    def counting(*arguments: object, **options: object) -> Counting:
        engines.append(Counting(prepare(*arguments, **options)))
        return engines[-1]

    monkeypatch.setattr(validation, "prepare", counting)
    assert list(validate(build("adatiny", 2, depth_tile).model(), pairs)) == list(SHARES)
    (engine,) = engines
    assert (engine.heads, engine.adapters) == (len(pairs), adapters * len(pairs))


@pytest.mark.parametrize("name", ["adatiny", "tiny", "tiny-compact", "tiny-esrgan"])
def test_full_depth_is_the_definition(name: str, pairs: list[Pair]) -> None:
    network, expected = build(name, 2, 4 if name == "adatiny" else 1), []
    for pair in pairs:
        with torch.no_grad():
            sr = network(pair.lr[None].float()).sr[0].clamp(0, 255).round().byte()
        expected.append(psnr_y(*(image.permute(1, 2, 0).numpy() for image in (sr, pair.hr)), 2))
    assert validate(network.model(), pairs, (1.0,))[1.0] == pytest.approx(np.mean(expected), abs=0.01)


WEIGHTS = build("adaedsr-baseline", 2, 4).model().weights()


@given(st.integers(0, 2**31), st.floats(0.3, 1.0))
def test_a_map_spends_its_share_of_the_body(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    scores, lr = random.normal(size=(17, 20, 24)).astype(np.float32), random.uniform(0, 255, (80, 96, 3))
    spent = body_macs(WEIGHTS.body, 80, 96, depth_map_at(WEIGHTS, scores, lr, share)[None])
    assert share - 0.01 <= spent / body_macs(WEIGHTS.body, 80, 96) <= share


def test_figures_in_words() -> None:
    assert in_words({1.0: 30.12345, 0.5: 29.0}) == {"full": 30.123, "50%": 29.0}
    assert in_words({1.0: 30.0}, reduction=2) == {"1/2: full": 30.0}


@pytest.mark.parametrize("square", [1, 2, 4])
@pytest.mark.parametrize("reductions", [(1,), (1, 2)])
def test_every_photo_that_is_loaded_can_be_measured(square: int, reductions: tuple[int, ...], tmp_path: Path) -> None:
    """From the smallest ones on, of odd sizes too; others are named before a run begins."""
    config = NetworkConfig("esrgan", 2, 4, 2, growth=2, unshuffle=square)
    least = 2 * {1: 3, 2: 4, 4: 4}[square]
    for height, width in ((least, least), (least + 1, least + 3), (33, 2 * least + 1)):
        Image.new("RGB", (width, height), (9, 99, 199)).save(tmp_path / f"{height}x{width}.png")
    pairs = load_valid(tmp_path, config, None, reductions)
    assert all(side % square == 0 for pair in pairs for side in pair.lr.shape[-2:])
    assert all(torch.equal(torch.tensor(pair.hr.shape[-2:]), 2 * torch.tensor(pair.lr.shape[-2:])) for pair in pairs)
    assert np.isfinite(list(validate(Network(config).model(), pairs).values())).all()
    Image.new("RGB", (99, least - 1)).save(tmp_path / "flat.png")
    with pytest.raises(
        DatasetError, match=rf"flat\.png: 99x{least - 1} is too small for x2, which needs {least}x{least}"
    ):
        load_valid(tmp_path, config, None, reductions)
