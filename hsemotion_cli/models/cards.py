"""Model cards, and those of HSEmotion's networks and of DDAMFN as data.

Sources: EmotiEffLib (sb-ai-lab/EmotiEffLib), its earlier home (av-savchenko/face-emotion-recognition) and
SainingZhang/DDAMFN. The git blob ids are those of the three repositories' trees; a git blob id is the SHA-1 of
"blob ", the size in decimal, a zero byte and the content, so it verifies a file from any source.

Two published files have no card: ``mobilenet_7.h5`` is a Keras file, and the preprocessing for
``affectnet_7_vggface2_rexnet150.pt`` is not documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CROP_RECIPE = r"box|(aligned|face)-[1-9][0-9]{0,3}"
"""Pattern of the crop recipes that a card may name; see ``faces.crops``."""

ENCODERS = "timm:"
"""Prefix of the names of timm's networks, which have no card until they are named; see ``models.encoders``."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

AFFECTNET_8 = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Alphabetical order of HSEmotion's networks with eight classes, in our names."""

AFFECTNET_7 = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The same without contempt."""

AFFECTNET_NUMERIC = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""AffectNet's own numbering, the order of the original DDAMFN networks (``affectnet8_test.py``)."""

RESIZE: Mapping[str, str] = {"torch": "pil-bilinear", "onnx": "cv2-bilinear"}
"""emotiefflib's engine -> its resize rule; the networks were trained with torch's. See ``model.resized``."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A published file.

    Attributes:
        name: file name in our cache.
        kind: "pt" (pickled module), "pth" (pickled dictionary) or "onnx".
        url: address.
        git_blob: git blob id (SHA-1, hexadecimal).
        sha256: hexadecimal, where it is known.
    """

    name: str
    kind: str
    url: str
    git_blob: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """The inputs and outputs of a network.

    Attributes:
        architectures: keys of ``architectures.ARCHITECTURES`` that the weights may belong to; of several,
            the first whose names and shapes all match is used.
        size: width and height of the input in pixels.
        mean, std: per RGB channel, of values in [0, 1].
        classes: expression of each of the first outputs (logits), in our names; empty if it has none.
        valence_arousal: whether two more outputs follow, valence then arousal, linear.
        embedding_size: columns of the embedding.
        embedding_source: the layer whose input the embedding is, named as in the authors' code.
        files: published files; empty if the authors published none, so that the user must supply one.
        resize: engine of emotiefflib -> resize rule.
        action_units: action unit of each of the last outputs (logits), in our names.
    """

    architectures: tuple[str, ...]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    valence_arousal: bool
    embedding_size: int
    embedding_source: str
    files: tuple[WeightFile, ...] = ()
    resize: Mapping[str, str] = field(default_factory=lambda: RESIZE)
    action_units: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Columns of the last linear layer."""
        return len(self.classes) + 2 * self.valence_arousal + len(self.action_units)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that its outputs are for, in the order of ``tasks.TASKS``."""
        given = (("expression", self.classes), ("valence_arousal", self.valence_arousal))
        return tuple(task for task, outputs in (*given, ("action_units", self.action_units)) if outputs)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model card: what is needed to prepare a model's inputs and to interpret its outputs.

    Attributes:
        name: as given to ``--model``.
        paper_name: its name in publications.
        family: the kind of model that runs it: "geometry", "network", "encoder" or "audio".
        tasks: the tasks of ``tasks.TASKS`` that it has.
        crop: crop recipe that it was trained with ("box", "aligned-112", "face-112"), or None if it needs no image.
        licence: of the weights.
        training_data: what the weights were trained on.
        citation: where the model is described.
        file: name of the weights inside the package's assets, or None.
        sha256: of that file.
        au_thresholds: action unit -> probability from which it counts as present.
        network: how a network is fed and read, and where its weights are; None for other families.
        path: the local file that holds the card and the weights (``model_file``), or None.

    Raises:
        ValueError: the tasks are not those of the network's outputs.
    """

    name: str
    paper_name: str
    family: str
    tasks: tuple[str, ...]
    crop: str | None
    licence: str
    training_data: str
    citation: str
    file: str | None = None
    sha256: str | None = None
    au_thresholds: Mapping[str, float] = field(default_factory=dict)
    network: NetworkSpec | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.network is not None and self.tasks != self.network.tasks:
            raise ValueError(f"{self.name}: its tasks are {self.tasks}, its outputs are for {self.network.tasks}")


EMOTIEFFLIB = "https://github.com/sb-ai-lab/EmotiEffLib/blob/main/models/affectnet_emotions/{}?raw=true"
EARLIER = "https://github.com/av-savchenko/face-emotion-recognition/blob/main/models/affectnet_emotions/{}?raw=true"
DDAMFN = "https://github.com/SainingZhang/DDAMFN/blob/main/DDAMFN%2B%2B/checkpoints_ver2.0/{}?raw=true"

HSE_LICENCE = "Apache-2.0 (EmotiEffLib); AffectNet and VGGFace2 are themselves for research only"
EARLIER_LICENCE = "none stated beside the file; AffectNet and VGGFace2 are themselves for research only"
DDAMFN_LICENCE = "none stated in SainingZhang/DDAMFN; the training data are for research only"

HSE_DATA = "VGGFace2 (face identification), then AffectNet, 287,651 images"
HSE_FER = (
    "Savchenko, Savchenko and Makarov 2022, IEEE Trans. Affective Computing 13(4); Savchenko 2024, arXiv:2403.11590"
)
HSE_MTL = "Savchenko 2024, arXiv:2403.11590 and arXiv:2407.13184"
DDAMFN_PAPER = "Zhang, Zhang, Zhang, Wang and Song 2023, Electronics 12(17):3595"


def network_card(
    name: str, paper_name: str, crop: str, licence: str, training_data: str, citation: str, network: NetworkSpec
) -> ModelCard:
    """The card of a network; its tasks follow from its outputs."""
    return ModelCard(
        name, paper_name, "network", network.tasks, crop, licence, training_data, citation, network=network
    )


def _files(name: str, pt: str | None, onnx: str | None, pattern: str = EMOTIEFFLIB) -> tuple[WeightFile, ...]:
    """The files of one of HSEmotion's networks: its pickled module and its ONNX graph."""
    published = (("pt", "", pt), ("onnx", "onnx/", onnx))
    return tuple(
        WeightFile(f"{name}.{kind}", kind, pattern.format(f"{folder}{name}.{kind}"), blob)
        for kind, folder, blob in published
        if blob is not None
    )


def _efficientnet(
    name: str, paper_name: str, size: str, classes: tuple[str, ...], files: tuple[WeightFile, ...], mtl: bool = False
) -> ModelCard:
    """The card of a network of the EfficientNet family; ``size`` is "b0" or "b2"."""
    pixels, columns = {"b0": (224, 1280), "b2": (260, 1408)}[size]
    network = NetworkSpec(
        (f"tf_efficientnet_{size}",), pixels, *IMAGENET, classes, mtl, columns, "classifier", files=files
    )
    licence = HSE_LICENCE if files[0].url.startswith("https://github.com/sb-ai-lab/") else EARLIER_LICENCE
    return network_card(name, paper_name, "box", licence, HSE_DATA, HSE_MTL if mtl else HSE_FER, network)


def _ddamfn(
    name: str,
    paper_name: str,
    classes: tuple[str, ...],
    file: tuple[str, str] | None,
    training_data: str,
    valence_arousal: bool = False,
) -> ModelCard:
    """The card of a network of the DDAMFN family; ``file`` is the published name and git blob id.

    They were trained on aligned faces of 112 pixels. HSEmotion's one comparison of both crops favours aligned faces
    as well (total score 1.3128 against 1.2238 on s-Aff-Wild2).
    """
    files = (WeightFile(f"{name}.pth", "pth", DDAMFN.format(file[0]), file[1]),) if file else ()
    network = NetworkSpec(("ddamfn",), 112, *IMAGENET, classes, valence_arousal, 512, "fc", files=files)
    licence = DDAMFN_LICENCE if file else "not published"
    citation = DDAMFN_PAPER if file else f"{DDAMFN_PAPER}; {HSE_MTL}"
    return network_card(name, paper_name, "aligned-112", licence, training_data, citation, network)


NETWORKS: tuple[ModelCard, ...] = (
    _efficientnet(
        "enet_b0_8_best_vgaf",
        "EmotiEffNet-B0",
        "b0",
        AFFECTNET_8,
        _files(
            "enet_b0_8_best_vgaf",
            "7219cfb037209b253ea8b81cf969e60a00e9181c",
            "49772db4e87ee6df57087fba131832a959e5c64d",
        ),
    ),
    _efficientnet(
        "enet_b0_8_best_afew",
        "EmotiEffNet-B0",
        "b0",
        AFFECTNET_8,
        _files(
            "enet_b0_8_best_afew",
            "9540c8beff661f1c2fca16de63b530cce24bb17d",
            "d87faf71e8756d68c701ffd88b4cde4be460f57d",
        ),
    ),
    _efficientnet(
        "enet_b0_8_va_mtl",
        "MT-EmotiEffNet-B0",
        "b0",
        AFFECTNET_8,
        _files(
            "enet_b0_8_va_mtl",
            "b7223bd1ab092a1b5a42bc04a5f4fbfe4d9f8b9b",
            "7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011",
        ),
        mtl=True,
    ),
    _efficientnet(
        "enet_b0_8_best",
        "EmotiEffNet-B0",
        "b0",
        AFFECTNET_8,
        _files("enet_b0_8_best", "1b59ad5cbb986bb227deb813553f017f1b01aa7c", None, EARLIER),
    ),
    _efficientnet(
        "enet_b0_7",
        "EmotiEffNet-B0, seven classes",
        "b0",
        AFFECTNET_7,
        _files("enet_b0_7", "47b748b42622ae1489a389588e9526d44ab01009", None, EARLIER),
    ),
    _efficientnet(
        "enet_b2_8",
        "EmotiEffNet-B2",
        "b2",
        AFFECTNET_8,
        _files("enet_b2_8", "eed81e6368877e89f8a99cfabadae7c3ddc3a949", "a7cb612cbab1ce3d50dd52e57285fb2c7ea6d0d9"),
    ),
    _efficientnet(
        "enet_b2_8_best",
        "EmotiEffNet-B2",
        "b2",
        AFFECTNET_8,
        _files(
            "enet_b2_8_best",
            "43be51786607c44fd13df41a497056c6accf7188",
            "7e53eb31fefa28f6667195b27c7adade87da0a8f",
            EARLIER,
        ),
    ),
    _efficientnet(
        "enet_b2_7",
        "EmotiEffNet-B2, seven classes",
        "b2",
        AFFECTNET_7,
        _files("enet_b2_7", "5a8ccbb17913461296003be726a22b6fc40d602b", "cdd6a6070b72ed2e59e15e810ae0ecdbcb0f7626"),
    ),
    network_card(
        "mbf_va_mtl",
        "MT-EmotiMobileFaceNet",
        "box",
        HSE_LICENCE,
        HSE_DATA,
        HSE_MTL,
        NetworkSpec(
            ("mobilefacenet", "mobilefacenet_large"),
            112,
            *HALF,
            AFFECTNET_8,
            True,
            512,
            "fc",
            _files(
                "mbf_va_mtl", "522bdabca7c655a7abde9cfca17e3dfcceadf9a0", "194db927ec135679e5cd0a267c5605e2e9d68e7e"
            ),
        ),
    ),
    network_card(
        "mobilevit_va_mtl",
        "MT-EmotiMobileViT",
        "box",
        HSE_LICENCE,
        HSE_DATA,
        HSE_MTL,
        NetworkSpec(
            ("mobilevitv2_150",),
            224,
            *IMAGENET,
            AFFECTNET_8,
            True,
            768,
            "head.fc",
            _files(
                "mobilevit_va_mtl",
                "d648cb1a20a5b1ab0af64192ec9be39e5cdd3961",
                "bed5781a1af9924536638ac3786603e124ee900e",
            ),
        ),
    ),
    _ddamfn("ddamfnet_8", "DDAMFN, trained by HSEmotion", AFFECTNET_8, None, "MS-Celeb-1M, then AffectNet"),
    _ddamfn("ddamfnet_8_mtl", "MT-EmotiDDAMFN", AFFECTNET_8, None, "MS-Celeb-1M, then AffectNet", True),
    _ddamfn(
        "ddamfn_affectnet8",
        "DDAMFN++",
        AFFECTNET_NUMERIC,
        ("affecnet8_epoch25_acc0.6469.pth", "b8dce63bfc249c270cd09f5adc34cf7948954b1f"),
        "MS-Celeb-1M, then AffectNet",
    ),
    _ddamfn(
        "ddamfn_affectnet7",
        "DDAMFN++, seven classes",
        AFFECTNET_NUMERIC[:7],
        ("affecnet7_epoch19_acc0.671.pth", "a2399a1346f184f12725b37b3969bcc41529cdec"),
        "MS-Celeb-1M, then AffectNet",
    ),
    _ddamfn(
        "ddamfn_rafdb",
        "DDAMFN++, RAF-DB",
        AFFECTNET_NUMERIC[:7],
        ("rafdb_epoch20_acc0.9204_bacc0.8617.pth", "3adfea01f296a4ef56ccd98578ab45a43e73f2eb"),
        "MS-Celeb-1M, then RAF-DB",
    ),
)
