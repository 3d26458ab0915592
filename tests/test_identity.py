"""Who is who: embeddings, linking of tracks, names given by hand, galleries."""

from __future__ import annotations

import csv
import json
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Sighting
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.faces import crops, identity_network
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.faces.identify import Known, Recorded, identify
from hsemotion_cli.faces.linking import link, seen_together, similarities
from hsemotion_cli.faces.track_embeddings import KEPT, TrackEmbedding, TrackEmbeddings
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.formats.gallery import FILE, enrolled, forget, read_gallery, write_gallery
from hsemotion_cli.postprocess.recipe import Smoothing
from hsemotion_cli.postprocess.smoothing import smooth
from hsemotion_cli.timeline import NOBODY, People, Timeline

STILLS = Path(__file__).parent.parent / "sample_videos" / "stills"
NO_PAIRS = np.empty((0, 2), np.int64)


def around(centres: Sequence[int], spread: float = 0.02, seed: int = 0) -> np.ndarray:
    """(n, 192) unit vectors near the given axes."""
    random = np.random.default_rng(seed)
    found = np.eye(192)[list(centres)] + spread * random.normal(size=(len(centres), 192))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def exact(means: np.ndarray, weights: np.ndarray, apart: set[tuple[int, int]], threshold: float) -> list[set[int]]:
    """The definition, one merger after the other, over all pairs of groups and of tracks."""
    groups = [{k} for k in range(len(means))]
    while True:
        best = (threshold, -1, -1)
        for a in range(len(groups)):
            for b in range(a):
                if any((min(i, j), max(i, j)) in apart for i in groups[a] for j in groups[b]):
                    continue
                pairs = [(weights[i] * weights[j], float(means[i] @ means[j])) for i in groups[a] for j in groups[b]]
                best = max(best, (sum(w * s for w, s in pairs) / sum(w for w, _ in pairs), a, b))
        if best[1] < 0:
            return groups
        groups[best[2]] |= groups.pop(best[1])


# --- the network ------------------------------------------------------------------------------------------------


def crop_of(image: np.ndarray) -> np.ndarray:
    with FaceDetector(blendshapes=False) as finder:
        face = max(finder.find(image), key=lambda face: face.box[2])
    assert face.points is not None
    return crops.cut(image, face.box, face.points, [identity_network.CROP])[identity_network.CROP]


def test_images_of_one_person_are_alike_and_of_two_are_not() -> None:
    one, other = (clips.still(STILLS / name) for name in ("astronaut.png", "grace_hopper.jpg"))
    small = cv2.resize(one, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    dark = (one * 0.6).astype(np.uint8)
    found = identity_network.embed([crop_of(each) for each in (one, small, dark, other)])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    similar = found @ found[0]
    assert similar[1] > 0.85
    assert similar[2] > 0.8
    assert similar[3] < 0.3


def test_one_face_gives_the_same_embedding_in_any_batch() -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (112, 112, 3)).astype(np.uint8) for _ in range(19)]
    whole = identity_network.embed(images)
    assert whole.shape == (19, 192)
    np.testing.assert_allclose(identity_network.embed(images[17:18])[0], whole[17], atol=1e-5)
    assert identity_network.embed([]).shape == (0, 192)


def test_the_network_is_loaded_only_where_people_are_identified(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", [clips.portrait()] * 3)
    code = (
        "import sys; from hsemotion_cli.cli import app; from hsemotion_cli.faces import identity_network as n\n"
        "try: app([*sys.argv[1:]], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "print(n._session.cache_info().currsize)"
    )
    for more, loaded in (([], "0"), (["--identify"], "1")):
        command = ["annotate", str(tmp_path / "a.mp4"), "-o", str(tmp_path / f"o{loaded}"), "--quiet", *more]
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        assert done.stdout.strip().splitlines()[-1] == loaded, done.stderr


# --- linking ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 14), st.integers(0, 10_000))
def test_linking_is_average_linkage_with_pairs_that_stay_apart(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    means = around(random.integers(0, 4, count).tolist(), 0.05, seed)
    weights = random.uniform(0.1, 3, count)
    every = [(a, b) for b in range(count) for a in range(b)]
    # Which of two equal similarities comes first is left to rounding: links are in float32, the check in float64.
    assume(np.diff(np.sort([means[a] @ means[b] for a, b in every])).min(initial=1) > 1e-6)
    apart = {pair for pair in every if random.random() < 0.15}
    group = link(means, weights, np.array(sorted(apart), np.int64).reshape(-1, 2))
    wanted = exact(means, weights, apart, 0.5)
    assert {frozenset(np.flatnonzero(group == g).tolist()) for g in set(group.tolist())} == set(map(frozenset, wanted))
    order = random.permutation(count)
    place = np.argsort(order)
    moved = np.array([(place[a], place[b]) for a, b in apart], np.int64).reshape(-1, 2)
    again = link(means[order], weights[order], moved)[place]
    assert len(set(zip(group.tolist(), again.tolist(), strict=True))) == len(set(group.tolist()))


def test_people_seen_in_one_frame_are_never_one_person() -> None:
    means = np.repeat(around([0]), 4, axis=0)  # twins
    group = link(means, np.ones(4), np.array([(0, 1), (2, 3)]))
    assert group[0] != group[1]
    assert group[2] != group[3]
    assert len(set(group.tolist())) == 2


def test_named_tracks_keep_their_names() -> None:
    means = around([0, 0, 1, 1, 2, 2])
    # One name for two faces that differ, two names for two that do not.
    group = link(means, np.ones(6), NO_PAIRS, ["Ann", "Ben", "Zoe", "", "Zoe", ""])
    assert group[0] != group[1]
    assert group[2] == group[4]
    assert len(set(group.tolist())) >= 3


def test_equal_similarities_come_to_an_end() -> None:
    means = np.eye(6, 192, dtype=np.float32) + 1  # each as similar to each
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert link(means, np.ones(6), NO_PAIRS).tolist() == [0] * 6


def test_similarities_leave_the_track_itself_out() -> None:
    means = np.eye(3, 192, dtype=np.float32)
    means[1, :2] = (0.8, 0.6)
    own, second = similarities(means, np.ones(3), np.array([0, 0, 1]))
    np.testing.assert_allclose(own, [0.8, 0.8, np.nan], atol=1e-6)
    np.testing.assert_allclose(second, [0, 0, 0.6 / np.sqrt(1.8**2 + 0.36) * 0], atol=1e-6)


def test_pairs_of_one_frame_are_found() -> None:
    row = np.array([0, 0, 0, 1, 2, 2, 3])
    face = np.array([0, 1, 4, 1, 1, 2, 4])
    assert seen_together(row, face).tolist() == [[0, 1], [0, 4], [1, 2], [1, 4]]
    assert seen_together(row[:1], face[:1]).shape == (0, 2)


def track(key: int, mean: np.ndarray | None, weight: float = 1.0) -> TrackEmbedding:
    return TrackEmbedding(key, mean, weight if mean is not None else 0.0)


def test_people_are_numbered_by_first_appearance_and_names_always_count() -> None:
    means = around([2, 1, 2, 1, 3])
    tracks = [track(k, mean) for k, mean in enumerate(means)] + [track(5, None)]
    (who,) = identify([Recorded(tracks, NO_PAIRS)])
    assert who.person.tolist() == ["person 1", "person 2", "person 1", "person 2", "person 3", ""]
    assert who.score[0] > 0.9 > 0.3 > who.second[0]
    assert np.isnan(who.score[[4, 5]]).all()
    (who,) = identify([Recorded(tracks, NO_PAIRS, {0: "Ann", 3: "Ben", 5: "person 1"})])
    assert who.person.tolist() == ["Ann", "Ben", "Ann", "Ben", "person 2", "person 1"]


def test_people_are_linked_across_recordings_and_recognised_from_a_gallery() -> None:
    means = around([0, 1, 0, 2])
    one, other = (
        Recorded([track(0, means[0]), track(1, means[1])], np.array([[0, 1]])),
        Recorded([track(0, means[2]), track(1, means[3])], np.array([[0, 1]])),
    )
    first, second = identify([one, other])
    assert (first.person.tolist(), second.person.tolist()) == (["person 1", "person 2"], ["person 1", "person 3"])
    known = Known(("Zoe", "Ann"), around([2, 0], seed=1), np.ones(2, np.float32))
    first, second = identify([one, other], known)
    assert (first.person.tolist(), second.person.tolist()) == (["Ann", "person 1"], ["Ann", "Zoe"])


def test_embeddings_of_a_track_are_bounded_and_small_faces_leave_none() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (112, 112, 3)).astype(np.uint8)
    crop = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    points = np.array([[0, 0], [30, 0], [15, 15], [5, 30], [25, 30]], np.float32)

    def sightings(scale: float):  # type: ignore[no-untyped-def]
        for k in range(600):
            yield Sighting(
                k, k / 20, (Face((0, 0, 60, 60), 0.9, points * scale, crops={identity_network.CROP: crop}, track=7),)
            )

    kept = TrackEmbeddings()
    assert len(list(kept.watch(sightings(1)))) == 600
    assert len(kept._open[7].best) <= KEPT
    (found,) = kept.result()
    assert found.face_id == 7
    assert found.mean is not None
    assert 0 < found.weight <= KEPT
    np.testing.assert_allclose(found.mean, identity_network.embed([crop])[0], atol=1e-4)
    none = TrackEmbeddings()
    list(none.watch(sightings(0.1)))
    assert none.result()[0].mean is None


# --- names in timelines -----------------------------------------------------------------------------------------


def timeline(face_id: Sequence[int], people: People | None, step: float = 0.04) -> Timeline:
    n = len(face_id)
    scores = {"m": {"valence_arousal": np.linspace(-1, 1, 2 * n).reshape(n, 2).astype(np.float32)}}
    return Timeline(
        np.arange(n), np.arange(n) * np.float64(step), np.arange(n), np.array(face_id), np.full(n, 0.9, np.float32),
        np.ones((n, 4), np.float32), scores, who=people,
    )  # fmt: skip


def test_smoothing_goes_on_where_a_person_has_another_id() -> None:
    who = NOBODY.named({0: "Ann", 1: "Ann", 2: "Ben"})
    values = np.array([[0.0], [0], [1], [1], [5], [5]])
    box = Smoothing.parse("box:3f")
    ids = [0, 0, 1, 1, 2, 2]
    linked = smooth(timeline(ids, who), values, box, 0.5)[:, 0]
    plain = smooth(timeline(ids, None), values, box, 0.5)[:, 0]
    np.testing.assert_allclose(linked, [0, 1 / 3, 2 / 3, 1, 5, 5])
    np.testing.assert_allclose(plain, [0, 0, 1, 1, 5, 5])


def test_a_name_for_two_faces_of_one_frame_keeps_them_apart() -> None:
    who = NOBODY.named({0: "Ann", 1: "Ann"})
    both = Timeline(
        np.arange(2), np.arange(2.0), np.array([0, 0, 1]), np.array([0, 1, 0]), np.ones(3, np.float32),
        np.ones((3, 4), np.float32), {}, who=who,
    )  # fmt: skip
    assert len(set(both.person.tolist())) == 2


def test_raw_scores_keep_people_but_no_embeddings(tmp_path: Path) -> None:
    who = NOBODY.named({0: "Ann", 3: "Jörg, the =second"})
    given = timeline([0, 0, 3], who)
    with (tmp_path / "a.raw.npz").open("wb") as file:
        raw_scores.write(given, file)
    found = raw_scores.read(tmp_path / "a.raw.npz").who
    assert found is not None
    assert found.person.tolist() == ["Ann", "Jörg, the =second"]
    assert found.face_id.tolist() == [0, 3]
    with np.load(tmp_path / "a.raw.npz") as data:
        assert not [name for name in data.files if data[name].ndim == 2 and data[name].shape[1] == 192]


# --- galleries --------------------------------------------------------------------------------------------------


def test_a_gallery_is_private_and_forgets(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    means = around([0, 1, 1])
    write_gallery(folder, Known(("Ann", "Ben", "Ben"), means, np.ones(3, np.float32)))
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert read_gallery(folder).name == ("Ann", "Ben", "Ben")
    assert forget(folder, ["Ben"]) == ["Ben"]
    assert read_gallery(folder).name == ("Ann",)
    assert means[1].tobytes() not in (folder / FILE).read_bytes()
    with pytest.raises(UsageError, match=r"Zoe: not in .* which has Ann"):
        forget(folder, ["Zoe"])
    assert forget(folder, ["Ann"]) == ["Ann"]
    assert not (folder / FILE).exists()
    with pytest.raises(InputError, match="no gallery here"):
        read_gallery(folder)


def test_a_gallery_keeps_the_best_images(tmp_path: Path) -> None:
    many = Known(("Ann",) * 40, around([0] * 40), np.arange(1, 41, dtype=np.float32))
    kept = enrolled(Known(("Ben",), around([1]), np.ones(1, np.float32)), many)
    assert kept.name == ("Ben", *["Ann"] * 32)
    assert kept.weight[1:].min() == 9


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"\x93NUMPY"])
def test_a_damaged_gallery_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="not a gallery, or damaged"):
        read_gallery(tmp_path)


# --- the command line -------------------------------------------------------------------------------------------


def scenes(path: Path) -> None:
    """Ann, Grace, both, Ann, no face, Ann: a cut at every change."""
    ann, grace = (clips.still(STILLS / name) for name in ("astronaut.png", "grace_hopper.jpg"))
    ann, grace = ann[20:270, 100:350], grace[0:420, 60:480]

    def shown(*people: np.ndarray) -> list[np.ndarray]:
        panels = [cv2.resize(each, (240, 240), interpolation=cv2.INTER_AREA) for each in people]
        panels += [np.full((240, 240, 3), 90, np.uint8)] * (2 - len(panels))
        return [np.hstack(panels)] * 12

    clips.write(path, [*shown(ann), *shown(grace), *shown(grace, ann), *shown(), *shown(ann)])


def run(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["face_id"]]


def test_annotate_links_ids_across_cuts_and_smooth_takes_names(tmp_path: Path) -> None:
    scenes(tmp_path / "talk.mp4")
    run("annotate", tmp_path / "talk.mp4", "-o", tmp_path / "out", "--identify", "--quiet")
    found = rows(tmp_path / "out" / "talk.csv")
    assert {row["person"] for row in found} == {"person 1", "person 2"}
    assert len({row["face_id"] for row in found}) >= 4
    left = [row for row in found if 24 <= int(row["frame"]) < 36 and float(row["x"]) < 200]
    last = [row for row in found if int(row["frame"]) >= 48]
    assert {row["person"] for row in left} == {"person 2"}
    assert {row["person"] for row in last} == {"person 1"}
    assert all(float(row["person_score"]) > 0.7 for row in found)
    assert all(float(row["person_second"]) < 0.4 for row in found)
    content = json.loads((tmp_path / "out" / "talk.json").read_text())
    assert content["identity"]["people"] == 2
    ids = {row["face_id"] for row in left}
    names = "".join(f"talk,{face},Grace\n" for face in ids)
    (tmp_path / "people.csv").write_text("recording,face_id,person\n" + names + "other,0,Nobody\n")
    run("smooth", tmp_path / "out" / "talk.csv", "-o", tmp_path / "new", "--people", tmp_path / "people.csv", "--quiet")
    after = rows(tmp_path / "new" / "talk.csv")
    assert {row["person"] for row in after if row["face_id"] in ids} == {"Grace"}
    assert {row["person"] for row in after if row["face_id"] not in ids} == {"person 1", "person 2"}


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", [clips.blank()] * 2)
    for more, message in (
        (["--identify", "--crops"], "--identify: with --crops"),
        (["--gallery", str(tmp_path)], "--gallery: needs --identify; give both"),
        (["--identify", "--gallery", str(tmp_path)], "no gallery here"),
    ):
        result = CliRunner().invoke(app, ["annotate", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "o"), *more])
        assert result.exit_code != 0
        assert message in " ".join(result.output.split())


def test_people_links_across_recordings_and_a_gallery_recognises_and_forgets(tmp_path: Path) -> None:
    scenes(tmp_path / "one.mp4")
    scenes(tmp_path / "two.mp4")
    run("annotate", tmp_path / "one.mp4", "-o", tmp_path / "out", "--quiet", "--identify")
    run("annotate", tmp_path / "one.mp4", "-o", tmp_path / "out", "--quiet")  # its own files are replaced
    out = tmp_path / "people.csv"
    run("people", tmp_path / "out", tmp_path / "two.mp4", "-o", out)
    found = rows(out)
    assert {row["person"] for row in found} == {"person 1", "person 2"}
    assert {row["recording"] for row in found} == {"one", "two"}
    by = {name: {row["face_id"]: row["person"] for row in found if row["recording"] == name} for name in ("one", "two")}
    assert by["one"] == by["two"]

    out.write_text(out.read_text().replace("person 1", "Ann").replace("person 2", "Grace"))
    named = ("people", tmp_path / "out", "--people", out, "--gallery", tmp_path / "team", "--enrol", "--quiet")
    run(*named)
    assert set(read_gallery(tmp_path / "team").name) == {"Ann", "Grace"}
    run(
        "annotate",
        tmp_path / "two.mp4",
        "-o",
        tmp_path / "new",
        "--identify",
        "--gallery",
        tmp_path / "team",
        "--quiet",
    )
    after = rows(tmp_path / "new" / "two.csv")
    assert {row["face_id"]: row["person"] for row in after} == {
        face: person.replace("person 1", "Ann").replace("person 2", "Grace") for face, person in by["two"].items()
    }
    run("people", "--gallery", tmp_path / "team", "--forget", "Ann")
    run(
        "annotate",
        tmp_path / "two.mp4",
        "-o",
        tmp_path / "new",
        "--identify",
        "--gallery",
        tmp_path / "team",
        "--quiet",
    )
    assert {row["person"] for row in rows(tmp_path / "new" / "two.csv")} == {"person 1", "Grace"}
    run("people", "--gallery", tmp_path / "team", "--forget", "all")
    assert not list((tmp_path / "team").iterdir())


def test_people_says_what_is_missing(tmp_path: Path) -> None:
    scenes(tmp_path / "one.mp4")
    run("annotate", tmp_path / "one.mp4", "-o", tmp_path / "out", "--quiet")
    (tmp_path / "one.mp4").rename(tmp_path / "moved.mp4")
    for more, message in (
        ([tmp_path / "out", "-o", tmp_path / "p.csv"], "its video one.mp4 was not found"),
        ([tmp_path / "out"], "give tables or videos, and -o"),
        (["--forget", "Ann"], "give it with --gallery"),
        ([tmp_path / "out", "--enrol"], "--enrol: give --gallery FOLDER"),
        (["--gallery", tmp_path, "--forget", "Ann"], "no gallery here"),
    ):
        result = CliRunner().invoke(app, ["people", *map(str, more)])
        assert result.exit_code != 0
        assert message in " ".join(result.output.split()), result.output
