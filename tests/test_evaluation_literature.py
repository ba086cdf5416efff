"""Baselines on real benchmarks against the figures that the literature prints."""

import pytest

from adadsr.evaluation import EvaluationOptions, evaluate


def figures(shared_data, tmp_path, dataset, scale, model):
    options = EvaluationOptions((dataset,), (model,), scale, tmp_path, shared_data / "eval")
    (row,) = evaluate(options).rows
    return row.quality.psnr_y, row.quality.ssim_y


@pytest.mark.parametrize(
    ("dataset", "scale", "psnr", "ssim"),
    [
        ("Set5", 2, 33.66, 0.9299),
        ("Set5", 3, 30.39, 0.8682),
        ("Set5", 4, 28.42, 0.8104),
        ("Set14", 2, 30.23, 0.8687),
        ("Set14", 3, 27.54, 0.7736),
        ("Set14", 4, 26.00, 0.7019),
    ],
)
def test_bicubic_prints_as_in_the_literature(shared_data, tmp_path, dataset, scale, psnr, ssim):
    found = figures(shared_data, tmp_path, dataset, scale, "bicubic")
    assert (round(found[0], 2), round(found[1], 4)) == (psnr, ssim)


@pytest.mark.parametrize(
    ("model", "psnr", "ssim"), [("bicubic-rgb", 33.6734, 0.93029), ("lanczos", 34.3176, 0.93651)], ids=str
)
def test_baselines_on_the_image_that_networks_get(shared_data, tmp_path, model, psnr, ssim):
    found = figures(shared_data, tmp_path, "Set5", 2, model)
    assert found == (pytest.approx(psnr, abs=1e-4), pytest.approx(ssim, abs=1e-5))
