# make demo   set everything up and annotate sample_videos/ into demo/
# make test   set everything up and run the tests
# make check  format, lint and types
# make weights  train the network that comes with the package anew, into runs/second; an hour and a half on two cores
# make across  train it on one source at a time, to be checked on the other; half an hour
# make weights-ddamfn  train the larger one from its first part, into runs/ddamfn; an hour and a quarter more
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check weights weights-ddamfn across clean

demo: .venv/ready
	$(BIN)/hsemotion annotate sample_videos -o demo --smooth gaussian:0.1 --overlay --verbose

test: .venv/ready
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

weights: runs/first/mt-mobilefacenet.safetensors
	$(BIN)/hsemotion train finetune plans/mobilefacenet-2.toml -o runs/second

weights-ddamfn: runs/first/mt-mobilefacenet.safetensors
	$(BIN)/hsemotion train finetune plans/ddamfn.toml -o runs/ddamfn

across: .venv/ready
	$(BIN)/hsemotion train finetune plans/across-ferplus.toml -o runs/across-ferplus
	$(BIN)/hsemotion train finetune plans/across-muxspace.toml -o runs/across-muxspace

runs/first/mt-mobilefacenet.safetensors: .venv/ready
	$(BIN)/hsemotion train finetune plans/mobilefacenet.toml -o runs/first

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	# The authors' library and the detector that it is used with, to compare with: without their dependencies, which
	# bring a second OpenCV and want an old torch.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps emotiefflib facenet-pytorch
	touch .venv/ready

clean:
	rm -rf .venv demo
