# make quickstart | test | test-all | lint | dist | check-dist
# Everything is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart
# As many test processes as this process may use cores.
JOBS ?= $(shell nproc 2>/dev/null || echo auto)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart install test test-all lint format dist check-dist clean

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
	  { echo "error: Python 3.11.4 or newer is needed. Received: $$($(PYTHON) --version). Cure: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/ssgan train --gin_config=quickstart.gin --model_dir=$(RUN) \
	  --schedule=eval_after_train --eval_every_steps=1600
	$(BIN)/python export/load_generator.py --module=$(RUN)/tfhub/1600 \
	  --num=64 --out=$(RUN)/digits.png
	$(BIN)/ssgan compare $(RUN)

# The tests of a file share what they trained.
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-all: test
	$(BIN)/python -m pytest -m slow

SOURCES := ssgan_tf export tests benchmarks docs

lint: $(INSTALLED)
	$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "error: run 'make format'"; exit 1; }
	$(BIN)/ruff check $(SOURCES)

format: $(INSTALLED)
	$(BIN)/ruff check --quiet --select I --fix $(SOURCES)
	$(BIN)/ruff format --quiet $(SOURCES)

# An sdist and a wheel, the wheel made from the sdist.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

# Both installed into empty environments and used as a new user would, without network.
check-dist: dist
	PYTHON=$(PYTHON) tests/check_dist.sh dist/*.whl dist/*.tar.gz

clean:
	rm -rf $(VENV) build dist *.egg-info
