# `make run` answers the main question, `make test` checks everything; both set up what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FOLDERS := sites workloads simulator experiments
EXPERIMENT ?= morocco_month

.PHONY: run test test-slow lint bench bench-quick docs gallery dist paper clean
.DEFAULT_GOAL := run

run: $(VENV)/.user
	$(BIN)/tafukt run $(EXPERIMENT)

test: $(VENV)/.dev
	$(BIN)/pytest -n 2

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf .links build/house && mkdir -p .links/tafukt build/house
	cd .links/tafukt && ln -s ../../tafukt/* . && for f in $(FOLDERS); do ln -s ../../$$f $$f; done
	$(BIN)/mypy
	cp -r tafukt build/house/ && cp -r $(FOLDERS) build/house/tafukt/
	cd build/house && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --no-cache --config $(CURDIR)/pyproject.toml

bench: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m bench

# A few ratios within one run, half a minute; fails only where one is far beyond its limit.
bench-quick: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m bench --quick

# A site of pages in build/site; without a network.
docs: $(VENV)/.docs
	rm -rf .links && mkdir -p .links/tafukt
	cd .links/tafukt && ln -s ../../tafukt/* . && for f in $(FOLDERS); do ln -s ../../$$f $$f; done
	$(BIN)/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Pictures and answers of the bundled experiments, and the picture of README; some minutes.
gallery: $(VENV)/.docs
	$(BIN)/python docs/make_gallery.py $(ONLY)
	$(BIN)/python docs/make_pictures.py
	$(BIN)/tafukt run morocco_week -o build/gallery/morocco_week --quiet
	$(BIN)/python tests/bench/picture.py build/gallery/morocco_week

# The figure of the paper, from its own experiment.
paper: $(VENV)/.user
	$(BIN)/tafukt run paper/figure.toml -o build/paper
	$(BIN)/tafukt plot build/paper --figure pareto --format pdf --paper 1
	cp build/paper/figures/pareto*.pdf paper/pareto.pdf

# The wheel and the source archive, checked as the index would.
dist: $(VENV)/.dev
	rm -rf dist && $(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) .links build dist *.egg-info results

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Tafukt needs Python 3.11 or newer; name it with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,cluster]'
	@touch $@ $(VENV)/.user

$(VENV)/.docs: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ $(VENV)/.user
