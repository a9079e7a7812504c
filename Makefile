# Everything from nothing: each target makes the virtual environment and the build it needs.
# `make PYTHON=python3.13 ...` chooses the Python that a new environment is made with.

# Unless named, the first Python that is new enough; python3, to hear what is wrong, where none is.
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(firstword $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; \
	do $$python $(NEW_ENOUGH) && echo $$python; done; true) python3)
VENV ?= .venv
BIN := $(VENV)/bin

CORE_SOURCES := $(shell find fastrnn -name '*.pyx' -o -name '*.pxi' -o -name '*.[ch]')
PYTHON_SOURCES := $(shell find fastrnn -name '*.py' -o -name '*.pyi')
# Stamps: older than what they depend on means there is something to do.
BUILD_TOOLS := $(VENV)/.build-tools
DEV_TOOLS := $(VENV)/.dev-tools
CUDA_TOOLS := $(VENV)/.cuda-tools
CORE := $(VENV)/.core
WHEEL := dist/.wheel

# What asv calls this machine: no name of a host, for the results are committed.
MACHINE ?= $(shell uname -m)-$(shell nproc)core
COMMITS ?= HEAD^!
BASE ?= main

# For commands that call other commands of the environment.
WITH_TOOLS = PATH="$(abspath $(BIN)):$$PATH"
ASV = $(WITH_TOOLS) asv
PIP = -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test build lint debug-test wheel test-wheel check-isas compare account bench-quick \
	bench bench-compare bench-site guard guard-record peak test-cuda test-virtual-gpu cuda-resources cuda-resources-record clean
.DELETE_ON_ERROR:

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: build ## Build, then train, evaluate and use a sentiment classifier
	@$(BIN)/python examples/demo.py

test: build ## Build, then run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

build: $(CORE) ## Build the package in place, in the virtual environment .venv

lint: $(DEV_TOOLS) ## Check the style of Python and Cython sources
	$(BIN)/ruff check .
	$(WITH_TOOLS) cython-lint fastrnn

debug-test: build/debug/.installed ## Run the tests with bounds checks and assertions in the core
	cd build/debug && venv/bin/python -P -m pytest $(INSTALLED_TESTS) $(PYTEST_ARGS)

wheel: $(WHEEL) ## Build dist/: the sdist, and the wheel ready to publish

test-wheel: $(WHEEL) ## Install the wheel in an empty environment and run the tests there
	rm -rf build/wheel-venv
	$(PYTHON) -m venv build/wheel-venv
	wheel=$$(ls dist/*.whl) && build/wheel-venv/bin/python $(PIP) --only-binary :all: "$$wheel[test]"
	cd build/wheel-venv && bin/python -P -m pytest $(INSTALLED_TESTS) $(PYTEST_ARGS)

compare: build ## Measure side by side with Keras, JAX, PyTorch and ONNX Runtime (long)
	$(BIN)/python benchmarks/compare/compare.py $(COMPARE_ARGS)

bench-quick: build $(DEV_TOOLS) ## Measure a few kernels and steps on this build, in a minute
	$(BIN)/python -m pytest benchmarks/quick.py --benchmark-group-by=func --benchmark-columns=min,median,iqr,rounds

bench: $(DEV_TOOLS) ## Measure COMMITS=HEAD^! with asv; the results stay in benchmarks/history/ (long)
	@$(BIN)/python -m benchmarks.machine $(MACHINE)
	$(ASV) run --machine $(MACHINE) $(BENCH_ARGS) '$(COMMITS)'

bench-compare: $(DEV_TOOLS) ## Measure this commit and BASE=main in turn, and list what changed (long)
	@$(BIN)/python -m benchmarks.machine $(MACHINE)
	$(ASV) continuous --machine $(MACHINE) --interleave-rounds $(BENCH_ARGS) $(BASE) HEAD

bench-site: $(DEV_TOOLS) ## Show the history of all figures in a browser
	$(ASV) publish
	$(ASV) preview

guard: build ## Hold the kernels' instructions against the committed numbers (valgrind)
	$(BIN)/python -m benchmarks.instructions

guard-record: build ## Commit to the instructions that the kernels take now
	$(BIN)/python -m benchmarks.instructions --record

check-isas: build/compare_isas ## Hold every instruction set of this processor against plain C, without Python
	build/compare_isas

build/compare_isas: tools/compare_isas.c $(filter %.c %.h,$(CORE_SOURCES))
	mkdir -p build
	$(CC) -std=gnu11 -O2 -fno-math-errno -DFASTRNN_DEBUG -Ifastrnn/csrc $(filter %.c,$^) -lm -lpthread -o $@

test-cuda: build $(CUDA_TOOLS) ## Run the CUDA kernels' tests, without a GPU too (installs some 630 MB)
	$(BIN)/python -m pytest tests/test_cuda_*.py --doctest-modules fastrnn/cuda $(PYTEST_ARGS)

# What pytest selects; all of test_cuda_*.py, with VIRTUAL_GPU_ARGS=, takes more than an hour.
VIRTUAL_GPU_ARGS ?= -m compiled
# Numba warns that it takes the driver's linker, which leaves kernels as PTX. Without the simulator:
# where this GPU does not start, tests fail.
test-virtual-gpu: build $(CUDA_TOOLS) build/virtual_gpu/libcuda.so.1 ## Run CUDA kernels as they are compiled, on a GPU played by the CPU
	$(BIN)/python -m pytest tests/test_virtual_gpu.py $(PYTEST_ARGS)
	LD_LIBRARY_PATH="$(abspath build/virtual_gpu):$$LD_LIBRARY_PATH" NUMBA_ENABLE_CUDASIM=0 \
		$(BIN)/python -m pytest tests/test_cuda_*.py \
		-W "ignore:cuda.bindings.nvjitlink:RuntimeWarning" $(VIRTUAL_GPU_ARGS) $(PYTEST_ARGS)

build/virtual_gpu/libcuda.so.1: $(wildcard tools/virtual_gpu/*)
	mkdir -p $(@D)
	$(CXX) -std=c++20 -O2 -march=native -ffp-contract=off -Wall -Wextra -fPIC -shared -Wl,-soname,$(@F) \
		$(filter %.cpp,$^) -o $@.part
	mv $@.part $@

cuda-resources: build $(CUDA_TOOLS) ## Show what each CUDA kernel takes of a multiprocessor, without a GPU
	$(BIN)/python tools/cuda_resources.py

cuda-resources-record: build $(CUDA_TOOLS) ## Commit to what the CUDA kernels take now
	$(BIN)/python tools/cuda_resources.py --record

account: build ## Measure what docs/performance.md says of the kernels, and draw its pictures
	$(BIN)/python -m benchmarks.account

peak: $(BIN)/python ## Measure what this machine can do at most: FMA and memory
	@$(BIN)/python -m benchmarks.peak

clean: ## Remove what was built, and the virtual environment
	rm -rf build dist .asv $(VENV) fastrnn.egg-info fastrnn/_core*.so
	find fastrnn tests benchmarks examples tools -name __pycache__ -prune -exec rm -rf {} +

# The tests against an installed package: run from elsewhere, so that the tree is not imported.
INSTALLED_TESTS = --config-file ../../pyproject.toml ../../tests --pyargs fastrnn

$(BIN)/python:
	@$(PYTHON) tools/preflight.py
	$(PYTHON) -m venv $(VENV)

# What the build and its tools require stands in pyproject.toml, and only there.
$(VENV)/%-requirements.txt: pyproject.toml tools/requirements.py | $(BIN)/python
	@$(BIN)/python tools/requirements.py $* > $@

$(BUILD_TOOLS): $(VENV)/build-requirements.txt
	$(BIN)/python $(PIP) --requirement $<
	@touch $@

$(DEV_TOOLS): $(VENV)/dev-requirements.txt
	$(BIN)/python $(PIP) --requirement $<
	@touch $@

# After 'test', where both are made: its environment must not change meanwhile.
$(CUDA_TOOLS): $(VENV)/cuda-test-requirements.txt | $(filter test,$(MAKECMDGOALS))
	$(BIN)/python $(PIP) --requirement $<
	@touch $@

$(CORE): $(CORE_SOURCES) fastrnn/__init__.py pyproject.toml setup.py $(BUILD_TOOLS)
	$(BIN)/python $(PIP) --no-build-isolation --editable '.[test]'
	@touch $@

build/debug/.installed: $(CORE_SOURCES) $(PYTHON_SOURCES) setup.py pyproject.toml
	@$(PYTHON) tools/preflight.py
	$(PYTHON) -m venv build/debug/venv
	FASTRNN_DEBUG=1 build/debug/venv/bin/python $(PIP) '.[test]'
	@touch $@

$(WHEEL): $(CORE_SOURCES) $(PYTHON_SOURCES) setup.py pyproject.toml MANIFEST.in | $(DEV_TOOLS)
	rm -rf dist build/dist
	$(BIN)/python -m build --outdir build/dist .
	mkdir -p dist && cp build/dist/*.tar.gz dist
	$(WITH_TOOLS) auditwheel repair --wheel-dir dist build/dist/*.whl
	$(BIN)/abi3audit --strict dist/*.whl
	@touch $@
