# make install | demo | test | coverage | lint | clean
# Options: PYTHON=python3.12, TORCH_INDEX=https://download.pytorch.org/whl/cpu
BIN := .venv/bin

.PHONY: install demo test coverage test-medclip lint clean

install:
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" scripts/install.sh

demo: install
	@$(BIN)/m2trans demo

# Up to four processes, whole files at a time: what a file's tests share is made once.
TEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test: install
	$(TEST)

# The same, and which lines no test runs.
coverage: install
	$(TEST) --cov --cov-report=term-missing:skip-covered

# Against the package medclip itself, in an environment of its own (.venv-medclip).
test-medclip: install
	@scripts/test_medclip.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Leaves data sets and experiments alone.
clean:
	rm -rf .venv .venv-medclip install.log build *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
