# make demo   train a variational autoencoder on bundled digits and draw what it learned
# make test   the suite, a few minutes
# make bench  speeds beside stored ones, a few minutes; what became slower is flagged
# make test-all  the suite, then the laws over the full grid of models, data and parts
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo install test test-all lint format bench clean

demo: $(STAMP)
	$(BIN)/isthmus fit vae digits -o runs/digits --patience 400 --random-state 0 --force

install: $(STAMP)

# One stamp file: the environment is made again only when what it is made from changes.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# One thread a worker: two workers of two threads each on two cores would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

test-all: test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m grid

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/regression.py

clean:
	rm -rf .venv build runs src/*.egg-info
