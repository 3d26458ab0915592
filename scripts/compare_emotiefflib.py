"""How far our scores and embeddings are from those of the authors' library, emotiefflib, on the same crops.

    python scripts/compare_emotiefflib.py [MODEL ...]

Needs emotiefflib, timm, torch, onnx and onnxruntime. Writes weight files with random weights in the published
layouts into a temporary home directory, so that emotiefflib takes them for its downloads, and gives both programs
40 synthetic faces of 30 to 500 pixels. Both resize for themselves: emotiefflib's torch engine against ours with
the rule of the training, its onnx engine against ours with OpenCV's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import hsemotion_cli  # noqa: F401  (first: it turns off usage reports before onnxruntime is imported)

Images = list[np.ndarray]


def theirs(engine: str, model: str, pictures: Images) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (valence and arousal after them) and embeddings of emotiefflib, in its order."""
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer

    recogniser = EmotiEffLibRecognizer(engine=engine, model_name=model)
    features = np.concatenate([recogniser.extract_features(picture).reshape(1, -1) for picture in pictures])
    return recogniser.classify_emotions(features, logits=False)[1], features


def compare(model: str, pictures: Images, home: Path) -> list[dict[str, Any]]:
    """One row for each pair of engines."""
    import published

    from hsemotion_cli.models.network_model import NetworkModel
    from hsemotion_cli.models.network_model import softmax as probabilities
    from hsemotion_cli.models.registry import card

    cached = home / ".emotiefflib"
    cached.mkdir(exist_ok=True)
    published.save(published.network(card(model)), card(model), cached / f"{model}.onnx")
    save_theirs(model, cached / f"{model}.pt")
    rows = []
    pairs = (
        ("torch", "torch", "pt", "pil-bilinear"),
        ("torch", "onnx", "pt", "pil-bilinear"),
        ("onnx", "onnx", "onnx", "cv2-bilinear"),
        ("onnx", "torch", "pt", "cv2-bilinear"),
    )
    for their_engine, backend, suffix, rule in pairs:
        expected, features = theirs(their_engine, model, pictures)
        ours = NetworkModel(card(model), backend, "cpu", path=cached / f"{model}.{suffix}", resize=rule)
        raw, embeddings = ours.infer(pictures)
        count = len(ours.spec.classes)
        raw[:, :count] = probabilities(raw[:, :count])
        rows.append(
            {
                "model": model,
                "theirs": their_engine,
                "ours": f"{backend} ({suffix})",
                "probabilities": float(np.abs(raw - expected)[:, :count].max()),
                "affect": float(np.abs(raw - expected)[:, count:].max(initial=0)),
                "embeddings": float(np.abs(embeddings - features).max()),
                "labels": float((raw[:, :count].argmax(1) == expected[:, :count].argmax(1)).mean()),
            }
        )
    return rows


def save_theirs(model: str, path: Path) -> None:
    """A whole module of emotiefflib's own classes, with the weights of ours."""
    import published
    import torch

    from hsemotion_cli.models.registry import card

    net = published.network(card(model))
    if not model.startswith("mbf"):
        published.save(net, card(model), path)
        return
    import emotiefflib.facial_analysis  # noqa: F401  (makes the module mobilefacenet importable)
    import mobilefacenet

    backbone = mobilefacenet.get_mbf(False, 512)
    backbone.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("fc.")})
    wrapped = torch.nn.Sequential()
    wrapped.add_module("backbone", backbone)
    wrapped.add_module("fc", net.fc)
    torch.save(wrapped.eval(), path)


def main() -> None:
    """Print one line for each model and pair of engines."""
    models = sys.argv[1:] or ["enet_b0_8_best_vgaf", "enet_b0_8_va_mtl", "enet_b2_7", "mbf_va_mtl", "mobilevit_va_mtl"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = os.environ["USERPROFILE"] = folder  # where emotiefflib looks for its downloads
        os.environ["HSEMOTION_HOME"] = str(Path(folder) / "ours")
        from hsemotion_cli.models.architectures import import_timm

        import_timm()  # before emotiefflib imports torchvision
        import published

        pictures = published.faces(40)
        print("largest differences of probabilities, of valence and arousal, of embeddings; share of equal labels")
        print(f"{'model':22} {'emotiefflib':12} {'ours':14} {'prob.':>9} {'VA':>9} {'embed.':>9} {'labels':>7}")
        for model in models:
            for row in compare(model, pictures, Path(folder)):
                print(
                    f"{row['model']:22} {row['theirs']:12} {row['ours']:14} {row['probabilities']:9.1e} "
                    f"{row['affect']:9.1e} {row['embeddings']:9.1e} {row['labels']:7.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
