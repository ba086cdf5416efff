# Every target sets up .venv if it is missing. PYTHON selects the interpreter (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
CPP := $(wildcard native/src/*.h native/src/*.cpp)
EXAMPLES := $(wildcard examples/cpp/*.cpp)
NATIVE := native/CMakeLists.txt $(CPP)

.PHONY: demo test test-sanitize fuzz kill-test cluster-test bench-cpu wheel lint format clean

# As users install it, without torch.
.venv/installed: pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# torch first and pinned: unpinned it may be an accelerator build of several gigabytes.
.venv/ready: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/adadsr upscale assets/photo.png --output demo --budget 0.5 --depth-map --overwrite --report demo/report.json
	@echo "Look at demo/photo.png and demo/photo.depth.png"

# Two processes: more would disturb the tests that measure time.
test: .venv/ready
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The native engine's tests with checks for memory errors, undefined behaviour and the kernels' preconditions. -S hides
# the normal installation.
test-sanitize: SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
test-sanitize: .venv/ready
	$(BIN)/pip install --quiet --no-deps --upgrade --target build/sanitize --config-settings=cmake.define.ADADSR_SANITIZE=ON .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=build/sanitize:$(SITE) ADADSR_REQUIRE_NATIVE=1 $(BIN)/python -S -m pytest \
		$(filter-out tests/test_native_build.py,$(wildcard tests/test_native*.py))

# Mutated image files, and folder runs that are killed; tests/test_fuzz.py runs both for a few seconds.
fuzz: .venv/ready
	$(BIN)/python fuzz/files.py --count 10000 --cases ../shared/cases

kill-test: .venv/ready
	$(BIN)/python fuzz/kills.py --count 100

# The long form of the test that kills a driver and a node of a Ray cluster.
cluster-test: .venv/ready
	ADADSR_CLUSTER_PICTURES=500 ADADSR_CLUSTER_SIDE=2000 $(BIN)/pytest tests/test_cluster_ray.py

# The native engine against PyTorch, ONNX Runtime, OpenVINO and ncnn; dev/LOG.md has results.
bench-cpu: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt onnx onnxruntime onnxscript openvino ncnn pnnx
	$(BIN)/python benchmarks/cpu_conv.py
	$(BIN)/python benchmarks/cpu_network.py

# A wheel for this platform in dist/. It runs on every processor of the platform: the engine selects the instruction set.
wheel: .venv/ready
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP) $(EXAMPLES)

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP) $(EXAMPLES)

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
