# Every target sets up what it needs in .venv; nothing else has to be installed or activated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
# Test processes share the cores; a library that starts a thread for each core would only get in the way.
pytest = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n 2 --dist loadgroup
# For `make compat`: found on PATH, in pyenv's folder or in uv's.
PYTHON_OLDEST ?= $(shell .ci/find-python 3.11)
PYTHON_NEWEST ?= $(shell .ci/find-python 3.14 3.13 3.12)

.PHONY: demo test test-installed check lint docs bench bench-data parity compat newest-installed gpu-wheels clean

demo: $(VENV)/.installed ## the main job on generated clips: a few minutes on two cores
	$(BIN)/videomae demo --output demo-run

test: $(VENV)/.installed-test ## all tests
	$(call pytest,$(VENV))

# As a user installs it, on the newest Python that is here.
test-installed: newest-installed ## the installed package's commands, reader and command line, with the newest dependencies
	.venv-newest/bin/python .ci/try_installed.py
	$(call pytest,.venv-newest) tests/video tests/cli

lint: $(VENV)/.installed-test ## formatter, linter, types (on Windows too), layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

docs: $(VENV)/.installed-test ## the documentation as a site in site/; look at it with: python3 -m http.server --directory site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: lint test ## everything that must hold before a commit

# V1=DIR V2=DIR: checkouts of MCG-NJU/VideoMAE and OpenGVLab/VideoMAEv2, which are then measured too (pip install timm).
# A part that fails takes nothing from the others: each row is written as soon as it is measured.
bench: $(VENV)/.installed-test ## speed and memory beside peers; results in benchmarks/results, tables in docs
	-$(BIN)/python benchmarks/model_speed.py $(if $(V1),--v1 $(V1)) $(if $(V2),--v2 $(V2))
	-$(BIN)/python benchmarks/pipeline_speed.py
	-$(BIN)/python benchmarks/loop_speed.py
	$(BIN)/python benchmarks/performance_table.py

# V1=DIR: a checkout of MCG-NJU/VideoMAE, whose data sets are then measured too. torchcodec needs FFmpeg's libraries.
bench-data: $(VENV)/.installed-peers ## from files to clips beside other readers; results in benchmarks/results
	$(BIN)/python benchmarks/data_speed.py $(if $(V1),--v1 $(V1))

# Checks against other versions of transformers, each in an environment of its own.
parity: $(VENV)/.installed-test .venv-434/.installed .venv-5/.installed
	VIDEOMAE_PARITY_PYTHON_434=$(CURDIR)/.venv-434/bin/python VIDEOMAE_PARITY_PYTHON_5=$(CURDIR)/.venv-5/bin/python \
		$(BIN)/python -m pytest tests/parity

# The lowest versions that pyproject.toml allows on the oldest Python, the newest ones on the newest Python that is here.
compat: .venv-lowest/.installed newest-installed
	$(call pytest,.venv-lowest) -W default # old releases are warned of by newer ones that they use
	$(call pytest,.venv-newest)

.venv-lowest/.installed: pyproject.toml
	@test -n "$(PYTHON_OLDEST)" || { echo "expected Python 3.11 here: make compat PYTHON_OLDEST=…" >&2; exit 2; }
	rm -rf $(@D)
	$(PYTHON_OLDEST) -m venv $(@D)
	$(PYTHON_OLDEST) tests/lowest_versions.py > $(@D)/constraints.txt
	$(PIP:$(VENV)/%=$(@D)/%) --constraint $(@D)/constraints.txt --editable '.[test]'
	@touch $@

.venv-newest/.installed: pyproject.toml
	@test -n "$(PYTHON_NEWEST)" || { echo "expected Python 3.12 or newer here: make compat PYTHON_NEWEST=…" >&2; exit 2; }
	rm -rf $(@D)
	$(PYTHON_NEWEST) -m venv $(@D)
	$(PIP:$(VENV)/%=$(@D)/%) '.[test,peers]'
	@touch $@

# The package as it is now; not editable, so that what a user would not get is not found either.
newest-installed: .venv-newest/.installed
	rm -rf build
	$(PIP:$(VENV)/%=.venv-newest/%) --no-deps --force-reinstall .

# For benchmarks/on_gpu.sh: what a machine with torch and transformers lacks, for Python 3.12 on Linux.
gpu-wheels:
	$(PYTHON) -m pip download --disable-pip-version-check --quiet --no-deps --only-binary=:all: --dest .wheels \
		--python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none \
		--platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform any \
		'av>=18,<20' 'tyro>=1.0' docstring-parser typeguard rich markdown-it-py mdurl pygments 'filelock>=3.30' psutil \
		'jaxtyping>=0.3' wadler-lindig beartype pytest-xdist execnet accelerate peft

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "videomae needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (torch is large: a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "adding what the tests need"
	@$(PIP) --editable '.[test,peers,style,docs]'
	@touch $@

# Not among what the tests need: they are for measuring only, and a reader that cannot be loaded is left out.
$(VENV)/.installed-peers: $(VENV)/.installed-test
	$(PIP) decord2 opencv-python-headless pandas
	$(PIP) torchcodec || echo "torchcodec cannot be installed here: it is left out"
	@touch $@

.venv-434/.installed:
	$(PYTHON) -m venv .venv-434
	.venv-434/bin/python -m pip install --quiet torch==2.13.0 transformers==4.34.0 'numpy<2' pillow jaxtyping decord accelerate==0.23.0
	touch $@

.venv-5/.installed:
	$(PYTHON) -m venv .venv-5
	.venv-5/bin/python -m pip install --quiet torch torchvision 'transformers>=5.20.2' safetensors pillow
	touch $@

clean: ## remove what the targets made
	rm -rf $(VENV) site .venv-434 .venv-5 .venv-lowest .venv-newest demo-run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
