"""MediaPipe's face networks in ONNX Runtime give the results of MediaPipe's own tasks."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known

from hsemotion_cli.faces import blazeface_detector, detector, mediapipe_detector, mediapipe_onnx
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.faces.mediapipe_detector import MediaPipeDetector
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source
from hsemotion_cli.models.registry import ASSETS

SCRIPTS = Path(__file__).parent.parent / "scripts"
SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(scope="module")
def tasks() -> Iterator[MediaPipeDetector]:
    with MediaPipeDetector() as finder:
        yield finder


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), borderValue=(90, 100, 110))


@pytest.fixture(scope="module")
def pictures(samples: Path, astronaut: np.ndarray) -> list[np.ndarray]:
    """Some thirty: faces of several people, turned, at the edge, two at once, and none."""
    found = [astronaut, clips.still(samples / "stills" / "grace_hopper.jpg"), clips.blank()]
    found += [turned(astronaut, degrees) for degrees in (-35, -12, 20, 40)]
    found += [np.ascontiguousarray(astronaut[:, k : k + 300]) for k in (120, 230)]
    for name, every in (("langer_pexels.mp4", 40), ("two_faces.mp4", 30)):
        found += [frame.image for frame in open_source(samples / name).frames(Sampling(every=every))]
    return found


def test_the_shipped_files_are_those_whose_origin_was_checked() -> None:
    with mediapipe_detector.bundle() as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == mediapipe_detector.BUNDLE_SHA256
    for name, sha256 in mediapipe_onnx.NETWORKS.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == sha256


def test_the_graphs_are_what_the_script_makes_of_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite", reason="only the script that makes the graphs needs it")
    monkeypatch.syspath_prepend(SCRIPTS)
    convert_landmarker = pytest.importorskip("convert_landmarker")
    import zipfile

    import onnx

    with zipfile.ZipFile(convert_landmarker.BUNDLE) as bundle:
        for source, (target, outputs) in convert_landmarker.NETWORKS.items():
            made = convert_landmarker.Conversion(bundle.read(source)).converted(outputs)
            assert made == onnx.load(ASSETS / target)
    sys.modules.pop("convert_landmarker", None)


def test_the_full_range_graph_is_what_tensorflow_lite_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SHARED / "models" / "face_detection_full_range.tflite"
    if not source.is_file():
        pytest.skip("needs the network file in ../shared/models, which is not here")
    pytest.importorskip("tflite", reason="only the script that makes the graphs needs it")
    monkeypatch.syspath_prepend(SCRIPTS)
    convert_landmarker = pytest.importorskip("convert_landmarker")
    import onnx

    made = convert_landmarker.full_range(source.read_bytes())
    assert made == onnx.load(ASSETS / mediapipe_onnx.FULL_RANGE)
    sys.modules.pop("convert_landmarker", None)
    lite = pytest.importorskip("ai_edge_litert.interpreter", reason="TensorFlow Lite's own runtime, to compare with")
    interpreter = lite.Interpreter(str(source))
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for _ in range(3):
        image = rng.uniform(-1, 1, (1, 192, 192, 3)).astype(np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        expected = {o["shape"][2]: interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()}
        boxes, scores = mediapipe_onnx._run(mediapipe_onnx.FULL_RANGE, image.transpose(0, 3, 1, 2).copy())
        assert np.abs(boxes - expected[16]).max() < 1e-3
        assert np.abs(scores - expected[1]).max() < 1e-3


def test_blazeface_sees_what_mediapipe_sees(tasks: MediaPipeDetector, pictures: list[np.ndarray]) -> None:
    seen = 0
    for picture in pictures:
        ours, theirs = mediapipe_onnx.detect(picture, 0.5), tasks.detect(picture, 0.5)
        assert len(ours) == len(theirs)
        for own, other in zip(ours, theirs, strict=True):
            # MediaPipe cuts off what is beyond whole pixels of boxes, and gives everything else as it is.
            assert np.abs(np.trunc(own.box) - other.box).max() <= 1
            assert np.abs(own.marks - other.marks).max() < 0.01 * own.box[2]
            assert own.score == pytest.approx(other.score, abs=0.005)
            assert own.share == pytest.approx(own.box[2] / max(picture.shape[:2]))
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("threshold", [0.2, 0.8])
def test_the_threshold_is_mediapipes(threshold: float, pictures: list[np.ndarray]) -> None:
    with MediaPipeDetector(threshold=threshold) as tasks:
        for picture in pictures[:12]:
            ours = [c.score for c in mediapipe_onnx.detect(picture, threshold)]
            assert ours == pytest.approx([c.score for c in tasks.detect(picture, threshold)], abs=0.005)


def test_landmarks_and_blendshapes_are_mediapipes(tasks: MediaPipeDetector, pictures: list[np.ndarray]) -> None:
    far, shapes = [], []
    with FaceDetector() as finder:
        for picture in pictures:
            ours, theirs = finder.find(picture), tasks.find(picture)
            assert len(ours) == len(theirs)
            for own, other in zip(ours, theirs, strict=True):
                far.append(np.abs(known(own.landmarks) - known(other.landmarks)).max() / own.box[2])
                shapes.append(np.abs(known(own.blendshapes) - known(other.blendshapes)).max())
    assert len(far) > 20
    # Interpolating between pixels rounds differently: a fraction of a pixel of 256.
    assert np.median(far) < 0.005 and max(far) < 0.02
    assert np.median(shapes) < 0.02 and max(shapes) < 0.12


@pytest.mark.slow
def test_also_on_clips_of_other_people(tasks: MediaPipeDetector, shared_videos: list[Path]) -> None:
    shapes = []
    with FaceDetector() as finder:
        for path in shared_videos:
            for frame in open_source(path).frames(Sampling(every=40)):
                ours, theirs = finder.find(frame.image), tasks.find(frame.image)
                assert len(ours) == len(theirs), path
                for own, other in zip(ours, theirs, strict=True):
                    assert detector.overlap(own.box, other.box) > 0.95
                    shapes.append(np.abs(known(own.blendshapes) - known(other.blendshapes)).max())
    assert len(shapes) > 30
    assert np.median(shapes) < 0.03


def test_without_anybody_who_reads_blendshapes_there_are_none(astronaut: np.ndarray) -> None:
    with FaceDetector(blendshapes=False) as without, FaceDetector() as finder:
        (one,), (other,) = without.find(astronaut), finder.find(astronaut)
    assert one.blendshapes is None and other.blendshapes is not None
    assert np.array_equal(known(one.landmarks), known(other.landmarks))


def test_an_image_without_a_face_has_no_landmarks() -> None:
    nothing = mediapipe_onnx.Candidate((100, 60, 90, 90), 0.9, np.array([(120, 90), (170, 90)] * 3, np.float32))
    assert mediapipe_onnx.landmarks(clips.blank(), nothing) is None


def test_a_large_face_is_not_looked_at_twice_by_the_fast_detector(
    astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    refine = blazeface_detector.refine_candidate

    def counting(
        finder: FaceDetector, image: np.ndarray, candidate: mediapipe_onnx.Candidate
    ) -> mediapipe_onnx.Candidate | None:
        looks.append(candidate.box[2])
        return refine(finder, image, candidate)

    monkeypatch.setattr(blazeface_detector, "refine_candidate", counting)
    with BlazeFaceDetector() as finder:
        (close,) = finder.find(np.ascontiguousarray(astronaut[20:260, 110:350]))
        assert not any(width > 60 for width in looks)
        (wide,) = finder.find(astronaut)
        assert any(width > 60 for width in looks)
    assert close.points is not None and wide.points is not None
    eyes = np.linalg.norm(wide.points[1] - wide.points[0])
    assert np.abs(close.points + np.array((110, 20)) - wide.points).max() < 0.2 * eyes


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_boxes_that_overlap_become_their_mean(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    scores = rng.uniform(0.5, 1, count)
    drawn = np.concatenate(
        [rng.random((count, 1, 2)), rng.uniform(0.1, 0.4, (count, 1, 2)), rng.random((count, 6, 2))], 1
    )
    # The same, box by box.
    left, expected = sorted(range(count), key=lambda k: -scores[k]), []
    while left:
        group = [k for k in left if k == left[0] or _overlap(drawn[left[0]], drawn[k]) > 0.3]
        weights = sum(scores[k] for k in group)
        expected.append((scores[left[0]], sum(scores[k] * drawn[k] for k in group) / weights))
        left = [k for k in left if k not in group]
    found = mediapipe_onnx._without_repeats(scores, drawn)
    assert [score for score, _ in found] == [score for score, _ in expected]
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return detector.overlap((*(one[0] - one[1] / 2), *one[1]), (*(other[0] - other[1] / 2), *other[1]))
