"""Encoders of timm: exact against timm itself, with weights of any kind, and clear words where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="encoders need torch")

import challenge
import clips
from PIL import Image
from safetensors.torch import save_file

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face
from hsemotion_cli.errors import ModelUnavailable, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from hsemotion_cli.formats import features
from hsemotion_cli.models import heads, registry
from hsemotion_cli.models.architectures import import_timm
from hsemotion_cli.models.encoder_cards import encoder_card
from hsemotion_cli.models.encoders import Encoder, digest_of
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.models.predict import InferenceOptions, load
from hsemotion_cli.postprocess.recipe import parse_models

SMALL = ("test_vit", "test_convnext2", "test_mambaout")
"""The smallest networks of timm, with different kinds of pooling and head."""

NAMES = (
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch16_dinov3",
    "convnextv2_atto",
    "vit_base_patch16_clip_224.openai",
    "vit_base_patch16_siglip_224",
)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def weights(folder: Path, name: str, *, classes: int = 0, seed: int = 0) -> tuple[Path, Any]:
    """Random weights of a network in a file."""
    torch.manual_seed(seed)
    network = import_timm().create_model(name, pretrained=False, num_classes=classes).eval()
    path = folder / f"{name}{classes}.safetensors"
    save_file(network.state_dict(), path)
    return path, network


def portrait() -> np.ndarray:
    """An image whose sides differ."""
    return clips.portrait(220, 180)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [0, 1000])
def test_embeddings_are_timms_to_the_last_bit(name: str, classes: int, tmp_path: Path) -> None:
    """``classes``: a published file has a classifier besides; it must not matter."""
    timm = import_timm()
    import timm.data as data

    path, network = weights(tmp_path, name, classes=classes)
    encoder = Encoder(encoder_card(f"timm:{name}"), device="cpu", path=path)
    image = portrait()
    transform = data.create_transform(**data.resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        given = transform(Image.fromarray(image))[None]
        expected = network.forward_head(network.forward_features(given), pre_logits=True)[0].numpy()
    found = encoder([Face((0, 0, 9, 9), 1.0, crops={"box": image}), Face((0, 0, 9, 9), 1.0)])
    assert found.embeddings is not None and found.outputs is None and not found.tasks
    np.testing.assert_array_equal(found.embeddings[0], expected)
    assert np.isnan(found.embeddings[1]).all()
    assert encoder([]).embeddings.shape == (0, len(expected))  # type: ignore[union-attr]
    config = timm.models.get_pretrained_cfg(name)
    assert encoder.provenance["input"]["mean"] == list(config.mean)
    assert encoder.provenance["input"]["input_size"] == list(config.input_size)


@pytest.mark.parametrize("name", NAMES)
def test_encoders_of_today_have_cards(name: str) -> None:
    card, config = registry.card(f"timm:{name}"), import_timm().models.get_pretrained_cfg(name)
    assert card.network is not None and card.tasks == () and card.crop == "box"
    assert (card.network.size, card.network.mean) == (config.input_size[-1], config.mean)
    assert card.network.embedding_size >= 320 and card.licence


def test_the_checksum_is_that_of_the_weights_and_not_of_the_file(tmp_path: Path) -> None:
    (one, network), (two, _) = weights(tmp_path, "test_vit"), weights(tmp_path, "test_vit", classes=10)
    assert one.read_bytes() != two.read_bytes()
    changed = {name: values.clone() for name, values in network.state_dict().items()}
    assert digest_of(changed) == digest_of(network.state_dict())
    next(iter(changed.values())).view(-1)[0] += 1
    assert digest_of(changed) != digest_of(network.state_dict())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other, _ = weights(tmp_path, "test_vit2")
    card = encoder_card("timm:test_vit")
    with pytest.raises(ModelUnavailable, match="not the weights of this network"):
        Encoder(card, device="cpu", path=other)
    path, network = weights(tmp_path, "test_vit")
    state = network.state_dict()
    save_file({name: v for name, v in state.items() if name != "norm.weight"}, path)
    with pytest.raises(ModelUnavailable, match=r"1 are missing.*norm\.weight"):
        Encoder(card, device="cpu", path=path)
    save_file({**state, "more": torch.zeros(1)}, path)
    with pytest.raises(ModelUnavailable, match="unexpected"):
        Encoder(card, device="cpu", path=path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match="cannot be read as a safetensors file"):
        Encoder(card, device="cpu", path=path)


def test_names_and_options_that_make_no_sense(tmp_path: Path, smile: Path) -> None:
    for name in ("timm:test_vi", "timm:", "timm:../test_vit", "timm:none"):
        with pytest.raises(UsageError, match="no such network"):
            registry.card(name)
    path, _ = weights(tmp_path, "test_vit")
    card = encoder_card("timm:test_vit")
    for options in ({"backend": "onnx"}, {"precision": "bf16"}):
        with pytest.raises(UsageError, match="run in torch and float32"):
            load(card, InferenceOptions(files={card.name: path}, **options))  # type: ignore[arg-type]
    assert parse_models(f"timm:test_vit.r160_in1k={path}") == (
        ("timm:test_vit.r160_in1k",),
        {"timm:test_vit.r160_in1k": path},
    )
    says = run("annotate", smile, "--model", f"timm:test_vit={path}", "-o", tmp_path / "out", code=2)
    assert "predicts nothing itself" in says and not (tmp_path / "out").exists()


def test_without_weights_one_sentence_says_what_to_do(
    tmp_path: Path, smile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    says = run("extract", smile, "--model", "timm:test_vit", "--offline", "-o", tmp_path / "out", code=5)
    assert "timm/test_vit.r160_in1k) are not in the Hugging Face cache" in says and "timm:test_vit=FILE" in says
    assert len([line for line in says.splitlines() if line.strip()]) == 1


def test_from_a_video_to_a_table_with_a_head_on_an_encoder(tmp_path: Path, smile: Path) -> None:
    path, network = weights(tmp_path, "test_convnext2")
    model = ["--model", f"timm:test_convnext2={path}", "-q"]
    run("extract", smile, *model, "-o", tmp_path / "features")
    columns, facts = features.read(tmp_path / "features" / "smile.features.parquet")
    assert facts["weights"]["input"]["interpolation"] and facts["crop"] == "box"
    size = columns["embedding"].shape[1]
    random = np.random.default_rng(0)
    layers = ((random.normal(0, 1, (8, size)), random.normal(0, 1, 8)),)
    part = Part("features", "softmax", AFFWILD2_EXPRESSIONS, layers)
    base = Base("timm:test_convnext2", digest_of(network.state_dict()), "box", size, 0)
    heads.write(Head("h", "", "unitask", base, {"expression": part}, {}), tmp_path / "h.safetensors", "a page")
    run("annotate", smile, *model, "--head", tmp_path / "h.safetensors", "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "smile.csv")
    expected = heads.read(tmp_path / "h.safetensors")(columns["embedding"], None)["expression"]
    np.testing.assert_allclose(table["p_other"], expected[:, 8], atol=1e-6)
    told = json.loads((tmp_path / "out" / "smile.json").read_text())["models"][0]
    assert told["name"] == "timm:test_convnext2" and told["input"]["crop_mode"] and table["valence"].isna().all()
    run("smooth", tmp_path / "out" / "smile.csv", "-o", tmp_path / "later", "--smooth", "box:3f", "-q")


def test_a_head_is_trained_on_an_encoder_and_applied(tmp_path: Path) -> None:
    """Crops whose labels can be seen, an encoder with random weights: features, a head that learned, and its table.

    An untrained network still tells colours apart, and the hue of these crops is their expression.
    """
    data = tmp_path / "data"
    made = challenge.make_mtl(data, videos=2, frames=32, validation=1, masked=0.0, paint=challenge.telling, seed=6)
    path, _ = weights(tmp_path, "test_vit", seed=2)
    model = f"timm:test_vit={path}"
    crops = sorted(path for path in made.pictures.iterdir() if path.is_dir())
    run("extract", *crops, "--crops", "--model", model, "-o", tmp_path / "features", "--dtype", "float16", "-q")
    lists = ("--truth", data / "training_set_annotations.txt", "--val-truth", data / "validation_set_annotations.txt")
    head = tmp_path / "head.safetensors"
    given = ("--input", "features", "--epochs", 60, "--batch", 32, "-q", "-o", head)
    run("train", "heads", tmp_path / "features", *lists, "--tasks", "expression,valence_arousal", *given)
    trained = heads.read(head)
    columns, facts = features.read(tmp_path / "features" / "v1-30-1280x720.features.parquet")
    size = columns["embedding"].shape[1]
    assert trained.base == Base("timm:test_vit", facts["weights"]["sha256"], "given", size, 0)
    accuracy = trained.facts["validation"]["expression"]["accuracy"]
    assert accuracy > 0.6, "one in eight by chance"
    run("annotate", made.pictures / "v1-30-1280x720", "--crops", "--head", head, "--model", model, "-o", tmp_path, "-q")
    table = pd.read_csv(tmp_path / "v1-30-1280x720.csv").set_index("frame")
    truth = made.validation["v1-30-1280x720"]
    names = np.array(AFFWILD2_EXPRESSIONS)[truth.expression]
    right = (table.loc[truth.frames, "expression"].to_numpy() == names).mean()
    assert right == pytest.approx(accuracy, abs=0.03), "float16 features may turn single frames"
    assert "needs the outputs of a network" in run(
        *("train", "heads", tmp_path / "features", *lists, "--tasks", "valence_arousal", "-q"),
        *("-o", tmp_path / "no.safetensors"),
        code=4,
    )
