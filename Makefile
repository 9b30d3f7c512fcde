# make install | demo | test | lint | clean. Options: PYTHON=python3.12, TORCH_INDEX=https://download.pytorch.org/whl/cpu
BIN := .venv/bin

.PHONY: install demo test test-medclip lint clean

install:
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" scripts/install.sh

demo: install
	@$(BIN)/m2trans demo

# One process for each core, whole files at a time: what a file's tests share is made once.
test: install
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

# Against the package medclip itself, in an environment of its own (.venv-medclip).
test-medclip: install
	@scripts/test_medclip.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Leaves data sets and experiments alone.
clean:
	rm -rf .venv .venv-medclip install.log build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
