# Every target sets up .venv when it is missing. PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
NATIVE := native/CMakeLists.txt $(wildcard native/src/*)

.PHONY: demo test test-sanitize bench-cpu wheel lint format clean

# torch comes first and pinned: an unpinned one may be a build for accelerators of several gigabytes.
.venv/ready: pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/adadsr upscale assets/photo.png --output demo --budget 0.5 --depth-map --overwrite --report demo/report.json
	@echo "Look at demo/photo.png and demo/photo.depth.png"

test: .venv/ready
	$(BIN)/pytest

# The native engine's tests with memory and undefined behaviour checked. -S leaves the normal installation out.
test-sanitize: SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
test-sanitize: .venv/ready
	$(BIN)/pip install --quiet --no-deps --upgrade --target build/sanitize --config-settings=cmake.define.ADADSR_SANITIZE=ON .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=build/sanitize:$(SITE) ADADSR_REQUIRE_NATIVE=1 $(BIN)/python -S -m pytest tests/test_native.py \
		tests/test_native_front.py tests/test_native_pass.py

# The native engine against PyTorch, ONNX Runtime, OpenVINO and ncnn; docs/performance.md says what the tables mean.
bench-cpu: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt onnx onnxruntime onnxscript openvino ncnn pnnx
	$(BIN)/python benchmarks/cpu_conv.py
	$(BIN)/python benchmarks/cpu_network.py

# A wheel for this platform in dist/. It runs on every processor of the platform: the engine chooses when it starts.
wheel: .venv/ready
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
