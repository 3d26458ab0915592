"""The Python interface: the results of the command line, lazily loaded, typed, and with clear errors."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import hsemotion_cli as hs
from hsemotion_cli import api
from hsemotion_cli.cli import app
from hsemotion_cli.commands import options as cli_options
from hsemotion_cli.formats import table
from hsemotion_cli.media.arrays import ArraySource


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: a face that moves, and is covered for half a second."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    images = [clips.portrait(shift=k) for k in range(50)]
    for image in images[20:32]:
        image[60:200, 100:240] = 100
    clips.write(path, images, audio="aac")
    return path


@pytest.fixture(scope="module")
def by_cli(talk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command line makes of it, with some options."""
    folder = tmp_path_factory.mktemp("cli")
    words = "annotate {} -o {} --format csv,parquet,jsonl --smooth box:0.3 --interpolate 1 --every 2 -q"
    result = CliRunner().invoke(app, words.format(talk, folder).split())
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def annotation(talk: Path) -> hs.Annotation:
    return hs.annotate(talk, smooth="box:0.3", interpolate=1, every=2)


def sidecar(path: Path) -> dict[str, Any]:
    """A sidecar without what is measured, and without the options as they were written on the command line."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("options", None)
    assert content.pop("timing")["elapsed"] > 0
    return content


def test_saved_files_are_those_of_the_command_line(annotation: hs.Annotation, by_cli: Path, tmp_path: Path) -> None:
    saved = annotation.save(tmp_path, formats=("csv", "parquet", "jsonl"))
    assert set(saved) == {"csv", "parquet", "jsonl", "raw", "sidecar"}
    assert {path.name for path in by_cli.iterdir()} == {path.name for path in saved.values()}
    for kind, path in saved.items():
        if kind != "sidecar":
            assert path.read_bytes() == (by_cli / path.name).read_bytes(), kind
    assert sidecar(saved["sidecar"]) == sidecar(by_cli / "talk.json")
    assert list(json.loads(saved["sidecar"].read_text())) == list(json.loads((by_cli / "talk.json").read_text()))


def test_the_frame_is_the_saved_table_and_saves_as_the_same_bytes(
    annotation: hs.Annotation, by_cli: Path, tmp_path: Path
) -> None:
    for suffix in ("csv", "parquet", "jsonl"):
        pd.testing.assert_frame_equal(annotation.frame, table.load(by_cli / f"talk.{suffix}"))
        # Through the data frame, which is what is written from now on.
        saved = annotation.save(tmp_path / f"again.{suffix}")
        assert saved[suffix].read_bytes() == (by_cli / f"talk.{suffix}").read_bytes()
        assert {path.name for path in saved.values()} == {f"again.{suffix}", "again.raw.npz", "again.json"}
    assert (annotation.people, annotation.coverage) == (1, pytest.approx(19 / 25))
    assert repr(annotation) == "<Annotation 'talk': 25 rows, 25 frames, 1 person, a face in 76.0% of the frames>"


def test_defaults_are_those_of_the_command_line() -> None:
    groups = (
        cli_options.InputOptions, cli_options.FaceOptions, cli_options.ModelOptions, cli_options.SmoothingOptions,
        cli_options.RunningOptions,
    )  # fmt: skip
    declared = {field.name: getattr(group(), field.name) for group in groups for field in fields(group)}
    declared["thresholds"] = declared.pop("threshold")
    found = {name: parameter.default for name, parameter in inspect.signature(api.settings_of).parameters.items()}
    assert {name: found[name] or None for name in declared} == {name: value or None for name, value in declared.items()}
    assert set(found) == set(api.Options.__annotations__)
    assert set(api.ImageOptions.__annotations__) < set(found)
    assert list(inspect.signature(hs.annotate).parameters) == ["source", "progress", *found]


def test_options_that_are_given_are_recorded(annotation: hs.Annotation, tmp_path: Path) -> None:
    given = {"every": 2, "interpolate": 1, "smooth": "box:0.3"}
    assert annotation.meta["options"] == {k: {"value": v, "from": "Python"} for k, v in given.items()}
    (tmp_path / "recipe.json").write_text(json.dumps(annotation.meta))
    changed = annotation.changed(
        smooth={"expression": "none"}, thresholds={"AU12": 0.3}, recipe=tmp_path / "recipe.json"
    )
    given |= {"smooth": "expression=none", "threshold": ["AU12=0.3"], "recipe": "recipe.json"}
    assert changed.meta["options"] == {k: {"value": v, "from": "Python"} for k, v in given.items()}
    assert "options" not in hs.annotate_image(clips.blank(), every=1).meta  # type: ignore[call-arg]


def test_options_may_be_numbers_and_mappings() -> None:
    one = api.settings_of(
        blend={"expression": 0.3},
        smooth={"expression": "box:0.5"},
        thresholds={"AU12": 0.4},
        faces=2,
        start=1.5,
        end="0:03",
    )
    other = api.settings_of(
        blend="expression=0.3", smooth="expression=box:0.5", thresholds=["AU12=0.4"], faces="2", start="1.5", end=3.0
    )
    assert one == other
    assert (one.faces, one.sampling.start, one.sampling.end) == (2, 1.5, 3.0)
    assert one.recipe.blend["expression"] == 0.3 and one.recipe.thresholds["AU12"] == 0.4


def test_rows_come_one_by_one_and_are_those_of_the_unsmoothed_table(talk: Path) -> None:
    expected = hs.annotate(talk, every=5).frame
    seen: list[int] = []
    found = hs.rows(talk, every=5, smooth="box:1", progress=lambda stage, done, faces, total: seen.append(done))
    first = next(found)
    assert seen[-1] < 10  # the first row is there before the last frame is analysed
    every = [first, *found]
    pd.testing.assert_frame_equal(table.to_frame([{name: [row[name] for row in every] for name in first}]), expected)


def test_closing_the_iterator_stops_every_thread(talk: Path) -> None:
    found = hs.rows(talk)
    next(found)
    assert any(thread.name.startswith("hsemotion-") for thread in threading.enumerate())
    found.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("hsemotion-")] == []


def test_a_session_takes_one_source_after_another(talk: Path, annotation: hs.Annotation, nobody: Path) -> None:
    with hs.Session(smooth="box:0.3", interpolate=1, every=2) as session:
        found = session.rows(talk)
        next(found)
        with pytest.raises(hs.UsageError, match="still busy"):
            session.annotate(talk)
        found.close()
        assert session.annotate(nobody).coverage == 0
        pd.testing.assert_frame_equal(session.annotate(talk).frame, annotation.frame)
    with pytest.raises(hs.UsageError, match="not open"):
        session.annotate(talk)


def test_an_array_is_annotated_like_the_image_file(tmp_path: Path) -> None:
    image = clips.portrait()
    Image.fromarray(image).save(tmp_path / "face.png")
    from_array, from_file = hs.annotate_image(image), hs.annotate_image(tmp_path / "face.png")
    assert from_file.frame["face_detected"].tolist() == [1]
    pd.testing.assert_frame_equal(from_array.frame, from_file.frame)
    pd.testing.assert_frame_equal(hs.annotate(tmp_path / "face.png").frame, from_file.frame)
    assert from_array.meta["source"]["sha256"] == sha256(b"240 320\n" + image.tobytes()).hexdigest()
    saved = from_array.save(tmp_path / "one.csv")
    pd.testing.assert_frame_equal(hs.load(saved["csv"]).frame, from_file.frame)
    with pytest.raises(hs.UsageError, match="no overlay"):
        from_array.save(tmp_path, overlay=True)


def test_region_and_rotation_apply_to_arrays_as_to_files(tmp_path: Path) -> None:
    image = np.rot90(clips.portrait())
    Image.fromarray(image).save(tmp_path / "turned.png")
    options: Any = {"rotate": 270, "region": (60, 0, 200, 240)}
    from_array, from_file = (hs.annotate_image(each, **options) for each in (image, tmp_path / "turned.png"))
    assert from_file.frame["face_detected"].tolist() == [1]
    pd.testing.assert_frame_equal(from_array.frame, from_file.frame)
    for key in ("width", "height", "rotation"):
        assert from_array.meta["source"][key] == from_file.meta["source"][key]
    assert hs.annotate_image(image, rotate=270, region=(0, 0, 50, 240)).coverage == 0


def test_a_grey_array_is_annotated_like_the_grey_file(tmp_path: Path) -> None:
    grey = np.asarray(Image.fromarray(clips.portrait()).convert("L"))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    pd.testing.assert_frame_equal(hs.annotate_image(grey).frame, hs.annotate_image(tmp_path / "grey.png").frame)


def test_a_stream_of_arrays_is_read_once_with_times_by_its_rate() -> None:
    drawn = iter([clips.blank(64, 48)] * 3)
    source = ArraySource(drawn, fps=10)
    assert [(frame.index, frame.time) for frame in source.frames()] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert next(drawn, None) is None and list(source.frames()) == []
    with pytest.raises(hs.UsageError, match="there is no image"):
        ArraySource([])


IMAGE = np.zeros((32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (IMAGE.tolist(), r"a list is not a NumPy array; convert it with numpy\.asarray"),
        (IMAGE.astype(np.float32), r"not float32; these lie between 0 and 1, .*\(image \* 255\)\.round\(\)"),
        (IMAGE + np.float64(200), r"not float64; convert them with image\.clip\(0, 255\)\.round\(\)"),
        (IMAGE.astype(np.uint16), r"not uint16; convert 16 bits with \(image // 257\)"),
        (IMAGE.astype(bool), r"not bool; convert a mask"),
        (IMAGE.astype(np.int64), r"not int64; convert them with image\.clip"),
        (np.zeros((32, 48, 4), np.uint8), r"not \(32, 48, 4\); leave the alpha channel out with image\[\.\.\., :3\]"),
        (
            np.zeros((3, 32, 48), np.uint8),
            r"not \(3, 32, 48\); move the channels last with image\.transpose\(1, 2, 0\)",
        ),
        (np.zeros((32, 48, 1), np.uint8), r"drop the last axis"),
        (np.zeros((2, 32, 48, 3), np.uint8), r"one image at a time"),
        (np.zeros(9, np.uint8), r"not \(9,\); reshape it"),
        (np.zeros((0, 48, 3), np.uint8), r"48 x 0 pixels"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_advice(image: Any, sentence: str) -> None:
    with pytest.raises(hs.UsageError, match=f"^image: .*{sentence}"):
        hs.annotate_image(image)


def test_advice_for_arrays_gives_images() -> None:
    image = clips.portrait(64, 48)
    for converted in (
        (image / 255 * 255).round().astype(np.uint8),
        (image.astype(np.uint16) * 257 // 257).astype(np.uint8),
        image.transpose(2, 0, 1).transpose(1, 2, 0),
        np.dstack([image, image[..., 0]])[..., :3],
    ):
        assert np.array_equal(next(ArraySource([converted]).frames()).image, image)


def test_a_loaded_table_is_saved_with_edited_cells(by_cli: Path, tmp_path: Path) -> None:
    loaded = hs.load(by_cli / "talk.csv")
    assert loaded.meta == json.loads((by_cli / "talk.json").read_text())
    same = loaded.save(tmp_path / "same")
    for kind in ("csv", "raw"):
        assert same[kind].read_bytes() == (by_cli / same[kind].name).read_bytes()
    loaded.frame.loc[3, "valence"] = 0.123456789
    loaded.frame.loc[4, "expression"] = pd.NA
    edited = hs.load(loaded.save(tmp_path / "edited")["csv"]).frame
    assert edited.loc[3, "valence"] == 0.123457 and edited.loc[4, "expression"] is pd.NA
    before = table.load(by_cli / "talk.csv")
    assert (edited.compare(before).index == [3, 4]).all()


def test_the_sidecar_says_whether_cells_were_edited(by_cli: Path, tmp_path: Path) -> None:
    def edited(annotation: hs.Annotation, name: str) -> object:
        return json.loads(annotation.save(tmp_path / name)["sidecar"].read_text()).get("edited")

    loaded = hs.load(by_cli / "talk.csv")
    assert loaded.coverage and not loaded.edited and edited(loaded, "read") is None
    kept = loaded.frame["valence"].iloc[3]
    loaded.frame.loc[3, "valence"] = kept + 0.5
    assert loaded.edited and edited(loaded, "cell") is True
    loaded.frame.loc[3, "valence"] = kept
    assert not loaded.edited and edited(loaded, "back") is None
    loaded.frame = loaded.frame.drop(index=0)
    assert edited(loaded, "row") is True
    again = hs.load(tmp_path / "row" / "talk.csv")
    assert again.edited and edited(again, "again") is True
    assert not again.changed(blend=0.5).edited
    assert edited(again.changed(blend=0.5), "computed") is None


def test_edited_cells_of_a_new_annotation_are_saved_in_every_format(talk: Path, tmp_path: Path) -> None:
    fresh = hs.annotate(talk, end=0.2)
    fresh.frame.loc[1, "arousal"] = -0.25
    fresh.frame = fresh.frame.drop(index=0)
    for path in (paths := fresh.save(tmp_path, formats="csv,parquet,jsonl")).values():
        if path not in (paths["raw"], paths["sidecar"]):
            frame = hs.load(path).frame
            assert frame.loc[0, "arousal"] == -0.25 and len(frame) == 4
            pd.testing.assert_frame_equal(frame, fresh.frame.reset_index(drop=True))


def test_a_frame_that_is_no_table_any_more_is_not_saved(by_cli: Path, tmp_path: Path) -> None:
    for change, sentence in (
        (lambda frame: frame.assign(mood=1), "a column 'mood', which tables do not have"),
        (lambda frame: frame.drop(columns="AU12_c"), "lost the column 'AU12_c'"),
        (lambda frame: frame.assign(valence="high"), "the column valence holds a str"),
        (lambda frame: frame.assign(face_id=0.5), "the column face_id holds 0.5"),
    ):
        loaded = hs.load(by_cli / "talk.csv")
        loaded.frame = change(loaded.frame)
        with pytest.raises(hs.UsageError, match=sentence):
            loaded.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_changed_is_what_smooth_writes(by_cli: Path, talk: Path, tmp_path: Path) -> None:
    words = f"smooth {by_cli / 'talk.csv'} -o {tmp_path} --smooth gaussian:0.1 --threshold AU12=0.3 -q"
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    changes: dict[str, Any] = {"smooth": "gaussian:0.1", "thresholds": {"AU12": 0.3}}
    changed = hs.load(by_cli / "talk.csv").changed(**changes)
    saved = changed.save(tmp_path / "mine")
    for kind in ("csv", "raw"):
        assert saved[kind].read_bytes() == (tmp_path / saved[kind].name).read_bytes()
    assert sidecar(saved["sidecar"]) == sidecar(tmp_path / "talk.json")
    direct = hs.annotate(talk, every=2).changed(interpolate=1, **changes)
    pd.testing.assert_frame_equal(direct.frame, changed.frame)


def test_a_table_alone_can_be_loaded_and_saved_but_not_changed(by_cli: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.csv").write_bytes((by_cli / "talk.csv").read_bytes())
    alone = hs.load(str(tmp_path / "alone.csv"))
    assert alone.meta == {} and alone.problem == ""
    assert set(alone.save(tmp_path / "copy")) == {"csv"}
    with pytest.raises(hs.InputError, match=r"alone\.raw\.npz is not there"):
        alone.changed(smooth="none")
    (tmp_path / "alone.raw.npz").write_bytes((by_cli / "talk.raw.npz").read_bytes())
    with pytest.raises(hs.InputError, match=r"the sidecar alone\.json is not there"):
        hs.load(tmp_path / "alone.csv").changed(smooth="none")


def test_files_of_the_user_are_not_replaced(annotation: hs.Annotation, tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text("my,notes\n")
    with pytest.raises(hs.UsageError, match="not recognised as written by hsemotion"):
        annotation.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.csv"]
    annotation.save(tmp_path, overwrite=True)
    assert hs.load(tmp_path / "talk.csv").frame.equals(annotation.frame)
    with pytest.raises(hs.UsageError, match=r"ends in one of \.csv, \.parquet, \.jsonl"):
        annotation.save(tmp_path / "talk.xlsx")
    with pytest.raises(hs.UsageError, match=r"ends in one of \.parquet"):
        annotation.save(tmp_path / "other.csv", formats="parquet")


def test_an_overlay_is_that_of_the_command_line(talk: Path, tmp_path: Path) -> None:
    saved = hs.annotate(talk, end=0.4).save(tmp_path / "api", overlay=True)
    words = f"annotate {talk} --end 0.4 -o {tmp_path / 'cli'} --overlay -q"
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    assert saved["overlay"].read_bytes() == (tmp_path / "cli" / "talk.overlay.mp4").read_bytes()
    assert sidecar(saved["sidecar"]) == sidecar(tmp_path / "cli" / "talk.json")


def test_wrong_input_raises_the_errors_of_the_family(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(hs.InputError, match="no such file"):
        hs.annotate(tmp_path / "none.mp4")
    with pytest.raises(hs.InputError, match="no such file"):
        hs.rows(tmp_path / "none.mp4")  # at once, not with the first row
    with pytest.raises(hs.UsageError, match="--every 0"):
        hs.annotate(talk, every=0)
    with pytest.raises(hs.UsageError, match="--start 9 is after"):
        list(hs.rows(talk, start=9))
    with pytest.raises(TypeError, match="smoth"):
        hs.annotate(talk, smoth="box:1")  # type: ignore[call-arg]
    with pytest.raises(hs.UsageError, match="not an image; use annotate"):
        hs.annotate_image(talk)
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(talk.read_bytes())
    with pytest.raises(hs.UsageError, match=r"a folder with 2 sources, such as one\.mp4"):
        hs.annotate(tmp_path)
    assert issubclass(hs.InputError, hs.HsemotionError) and issubclass(hs.ModelUnavailable, hs.HsemotionError)


def test_a_video_cut_short_warns(talk: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    clips.write(cut, [clips.portrait(shift=k) for k in range(50)], options={"g": "1"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 5])
    with pytest.warns(hs.HsemotionWarning, match=r"cut\.mkv: .*the \d+ frames before that are written"):
        short = hs.annotate(cut, every=10)
    assert short.problem
    with pytest.warns(hs.HsemotionWarning, match=r"cut\.mkv: "):
        assert len(list(hs.rows(cut, every=10))) == len(short.frame)


def test_the_callers_threads_of_opencv_are_as_before() -> None:
    import cv2

    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        with hs.Session():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_importing_loads_nothing_heavy() -> None:
    script = (
        "import sys, hsemotion_cli as hs\n"
        "assert {'annotate', 'rows', 'load', 'InputError', '__version__'} <= set(dir(hs))\n"
        "try: hs.anotate\n"
        "except AttributeError as error: print(error)\n"
        "hs.InputError\n"
        "heavy = {'numpy', 'pandas', 'cv2', 'av', 'onnxruntime', 'typer', 'hsemotion_cli.api'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
        "hs.annotate\n"
        "print(*sorted({'pandas', 'torch', 'typer', 'rich'} & set(sys.modules)))\n"
        "from hsemotion_cli import *\n"
        "print(load.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["module 'hsemotion_cli' has no attribute 'anotate'", "", "", "load"]
    assert all(getattr(hs, name) is not None for name in hs.__all__)


SNIPPET = """
import numpy as np

import hsemotion_cli as hs

talk: hs.Annotation = hs.annotate("talk.mp4", smooth={"expression": "box:0.5"}, faces=1)
shape: tuple[int, int] = talk.frame.shape
written: str = talk.changed(thresholds={"AU12": 0.4}).save("out", formats=["csv"])["csv"].name
for row in hs.rows("talk.mp4", every=2):
    print(row["valence"])
with hs.Session(device="cpu") as session:
    session.annotate_image(np.zeros((9, 9, 3), np.uint8))
try:
    hs.load("talk.csv")
except hs.InputError as error:
    print(error)
hs.annotate("talk.mp4", evry=2)
hs.annotate_image("face.png", smooth="box:1")
hs.annotate(3)
"""
WRONG = [16, 17, 18]
"""Lines of the snippet that a type checker refuses."""


@pytest.mark.slow
def test_the_interface_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert (Path(hs.__file__).parent / "py.typed").is_file()
    (tmp_path / "snippet.py").write_text(SNIPPET.lstrip())
    words = "--strict --follow-imports silent --ignore-missing-imports --no-error-summary --config-file= --cache-dir"
    command = [sys.executable, "-m", "mypy", *words.split(), str(tmp_path / "cache"), "snippet.py"]
    paths = {**os.environ, "MYPYPATH": str(Path(hs.__file__).parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [int(line.split(":")[1]) for line in found] == WRONG, done.stdout + done.stderr
