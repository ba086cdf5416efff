"""Dense files of fixed size in ncnn, converted by pnnx. `.ci/run` installs both."""

import shutil
import subprocess

import numpy as np
import pytest

from adadsr import Upscaler
from adadsr.networks import Model, NetworkConfig, tensor_shapes
from graph_samples import random_values
from upscaler_samples import photo

pytest.importorskip("onnx", reason="needs the extra `export`, which .ci/run installs")
ncnn = pytest.importorskip("ncnn", reason="needs ncnn, which .ci/run installs")

from adadsr import export  # noqa: E402  (needs onnx)

WIDTH, HEIGHT = 24, 20


@pytest.mark.skipif(shutil.which("pnnx") is None, reason="needs pnnx, which .ci/run installs")
def test_a_dense_file_is_the_package(tmp_path):
    config, draw = NetworkConfig("edsr", 2, 8, 3), random_values(0)
    model = Model(config, {name: draw(name, shape) for name, shape in tensor_shapes(config).items()})
    form = export.Form("float32", dense=True, size=(WIDTH, HEIGHT))
    (tmp_path / "fixed.onnx").write_bytes(export.to_onnx(model.weights(), form, {}).SerializeToString())
    command = ["pnnx", "fixed.onnx", f"inputshape=[1,3,{HEIGHT},{WIDTH}]", "fp16=0"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=120)
    network = ncnn.Net()
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
    network.load_param(str(tmp_path / "fixed.ncnn.param"))
    network.load_model(str(tmp_path / "fixed.ncnn.bin"))
    image = photo(HEIGHT, WIDTH)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    with network.create_extractor() as extractor:
        extractor.input("in0", ncnn.Mat(planes).clone())
        found = np.array(extractor.extract("out0")[1]).transpose(1, 2, 0)
    prepared = Upscaler(model).prepare(image / np.float32(255))
    assert np.abs(found - prepared.run(prepared.plan()).image * 255).max() < 1e-2
