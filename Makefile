# make demo     install everything into .venv, and annotate sample_videos/ into demo/
# make test     install everything into .venv, and run the tests
# make check    format, lint and types
# make docs     renew the generated pages, and build the documentation site into site/
# make weights  train the network of the package again, into runs/third; two hours on two cores
# make across   train it on one data source at a time, to check it on the other; half an hour
# make weights-ddamfn  train the larger network, from the first part of make weights, into runs/ddamfn; another 75 minutes
# make face-classifier PORTRAITS="folders" SMALL=ferplus.npz  train the network that rejects false faces again; half an hour
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs weights weights-ddamfn across face-classifier clean

demo: .venv/ready
	$(BIN)/hsemotion annotate sample_videos -o demo --smooth gaussian:0.1 --overlay --verbose
	@echo "The tables and overlay videos are in demo/. To use hsemotion in this shell: source .venv/bin/activate"

test: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python scripts/make_reference.py
	$(BIN)/python scripts/draw_architecture.py
	$(BIN)/zensical build --strict

weights: runs/second/mt-mobilefacenet.safetensors
	$(BIN)/hsemotion train finetune plans/mobilefacenet-3.toml -o runs/third

weights-ddamfn: runs/first/mt-mobilefacenet.safetensors
	$(BIN)/hsemotion train finetune plans/ddamfn.toml -o runs/ddamfn

across: .venv/ready
	$(BIN)/hsemotion train finetune plans/across-ferplus.toml -o runs/across-ferplus
	$(BIN)/hsemotion train finetune plans/across-muxspace.toml -o runs/across-muxspace

face-classifier: .venv/ready
	$(BIN)/python scripts/gather_backgrounds.py runs/packages -o runs/backgrounds
	$(BIN)/python scripts/collect_candidates.py --portraits $(PORTRAITS) --backgrounds runs/backgrounds --small $(SMALL) -o runs/candidates.npz
	$(BIN)/python scripts/train_face_classifier.py runs/candidates.npz -o runs/face_classifier.onnx

runs/second/mt-mobilefacenet.safetensors: runs/first/mt-mobilefacenet.safetensors
	$(BIN)/hsemotion train finetune plans/mobilefacenet-2.toml -o runs/second

runs/first/mt-mobilefacenet.safetensors: .venv/ready
	$(BIN)/hsemotion train finetune plans/mobilefacenet.toml -o runs/first

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	# emotiefflib and its usual detector, for comparisons: without their dependencies, which bring a second OpenCV and an
	# old torch.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps emotiefflib facenet-pytorch
	touch .venv/ready

clean:
	rm -rf .venv demo site
