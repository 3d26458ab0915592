# make demo   set everything up and annotate sample_videos/ into demo/
# make test   set everything up and run the tests
# make check  format, lint and types
# make weights  train the network that comes with the package anew, into runs/mt-mobilefacenet; an hour on two cores
# make weights-ddamfn  train the larger one from there, into runs/ddamfn
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check weights weights-ddamfn clean

demo: .venv/ready
	$(BIN)/hsemotion annotate sample_videos -o demo --smooth gaussian:0.1 --overlay --verbose

test: .venv/ready
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

weights: .venv/ready
	$(BIN)/hsemotion train finetune plans/mobilefacenet.toml -o runs/mt-mobilefacenet

weights-ddamfn: .venv/ready
	$(BIN)/hsemotion train finetune plans/ddamfn.toml -o runs/ddamfn

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	# The authors' library and the detector that it is used with, to compare with: without their dependencies, which
	# bring a second OpenCV and want an old torch.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps emotiefflib facenet-pytorch
	touch .venv/ready

clean:
	rm -rf .venv demo
