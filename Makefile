# Two commands on a fresh machine: `make demo` and `make test`. All targets install into .venv first.
PYTHON ?= python3
BIN := .venv/bin

# A Hub name or a local path protects something else than the generated set, for example
#   make demo DATASET=uoft-cs/cifar10 SURROGATE=openai/clip-vit-base-patch32
DEMO_OPTIONS = $(if $(DATASET),--dataset $(DATASET)) $(if $(SURROGATE),--surrogate $(SURROGATE)) \
	$(if $(SURROGATE_SIZE),--surrogate-size $(SURROGATE_SIZE))

.PHONY: demo test lowest check format notebooks docs results address

demo: .venv/installed
	$(BIN)/uc-hf demo --out demo $(DEMO_OPTIONS)

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# The parts of the suite that lean on the dependencies, with the lowest versions that pyproject.toml allows, in an
# environment of its own.
LOWEST = tests/test_public.py tests/fitting $(addprefix tests/data/test_,images.py exif.py columns.py) \
	$(addprefix tests/protecting/test_,protector.py removal.py saved.py) \
	$(addprefix tests/publishing/test_,hub.py dataset.py destination.py export.py)
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable . pytest pypng tifffile
	.venv-lowest/bin/python -m pytest $(LOWEST)

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# NOTEBOOKS="--write score_it_honestly.ipynb" keeps the outputs of that one.
notebooks: .venv/installed-docs
	$(BIN)/python notebooks/run.py $(NOTEBOOKS)

docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict

# The tables of the README and of docs/reference/results.md, from the scorecards.
results: .venv/installed
	$(BIN)/python -m benchmarks.results

# The repository has moved to github.com/ADDRESS: make address ADDRESS=owner/uc_hf
OLD_ADDRESS = $(shell sed -n 's,^Repository = "https://github.com/\(.*\)",\1,p' pyproject.toml)
address:
	git grep -lI "github.*$(OLD_ADDRESS)" | xargs sed -i "s,\(github\(\.com\)\?/\)$(OLD_ADDRESS),\1$(ADDRESS),g"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@
