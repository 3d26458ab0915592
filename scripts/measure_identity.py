"""Measures identification and tracking of people on synthetic and composed data.

python scripts/measure_identity.py pairs ../shared/data/muxspace      # crops and weights, on pairs of images
python scripts/measure_identity.py threshold ../shared/data/muxspace  # merges and splits by threshold
python scripts/measure_identity.py clips                              # idF1, switches, merges, splits on clips
python scripts/measure_identity.py many                               # 10,000 tracks: seconds and memory
"""

from __future__ import annotations

import argparse
import csv
import math
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hsemotion_cli.domain import Face, Image, Sighting
from hsemotion_cli.faces import crops, identity_network, tracking
from hsemotion_cli.faces.detector import FaceDetector, with_crops
from hsemotion_cli.faces.identify import Recorded, identify
from hsemotion_cli.faces.linking import link, seen_together
from hsemotion_cli.faces.track_embeddings import TrackEmbeddings
from hsemotion_cli.media.images import read_image

STILLS = Path(__file__).resolve().parent.parent / "sample_videos" / "stills"


# --- pairs of images --------------------------------------------------------------------------------------------


def faces_of(folder: Path, most: int = 8) -> Iterator[tuple[str, Image, NDArray[np.float32]]]:
    """(subject, image, five points) of people with two images or more, at most ``most`` of each."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["subject"]]
    count, taken = Counter(row["subject"] for row in rows), Counter[str]()
    with FaceDetector(blendshapes=False) as finder:
        for row in rows:
            taken[row["subject"]] += 1
            if count[row["subject"]] < 2 or taken[row["subject"]] > most:
                continue
            image = read_image(folder / "images" / row["image"])
            if image is None:
                continue
            face = finder.find_in_crop(image)
            if face.landmarks is not None and face.points is not None:
                yield row["subject"], image, face.points


def pairs(folder: Path) -> None:
    """AUC, balanced accuracy and true acceptances of all pairs, for several crops."""
    found = list(faces_of(folder))
    subject = np.array([name for name, _, _ in found])
    one, other = np.triu_indices(len(subject), 1)
    same = subject[one] == subject[other]
    print(f"{len(subject)} images of {len(set(subject.tolist()))} people, {same.sum():,} of {len(same):,} pairs alike")
    for scale, up in ((1.0, 0.0), (0.9, 0.0), (0.95, 0.0), (1.05, 0.0), (1.0, 3.0), (1.0, 6.0)):
        template = (crops.ARCFACE_TEMPLATE - 55.5) * scale + 55.5 - (0, up)
        cut = [crops.warped(image, crops.similarity(p.astype(np.float64), template), 112) for _, image, p in found]
        means = identity_network.embed(cut)
        similar = (means @ means.T)[one, other]
        alike, unlike = similar[same], np.sort(similar[~same])
        auc = np.searchsorted(unlike, alike).mean() / len(unlike)
        limits = [unlike[-int(len(unlike) * share) - 1] for share in (1e-3, 1e-4)]
        shares = ", ".join(f"{(alike >= limit).mean():.3f} from {limit:.3f}" for limit in limits)
        print(f"scale {scale:.2f}, {up:g} px higher: AUC {auc:.5f}, found at 1e-3 and 1e-4 false: {shares}", flush=True)


def threshold(folder: Path, rounds: int = 200) -> None:
    """Merges and splits of meetings of four people, each in six tracks of one image or of three."""
    found = list(faces_of(folder))
    means = identity_network.embed([crops.aligned(image, points, 112) for _, image, points in found])
    by_subject = defaultdict(list)
    for k, (name, _, _) in enumerate(found):
        by_subject[name].append(k)
    print("threshold: share of people merged with another, tracks too many for each person (splits), exact meetings")
    for images in (1, 3):
        for limit in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
            random = np.random.default_rng(0)
            merged = split = exact = 0
            for _ in range(rounds):
                truth, tracks = meeting(by_subject, means, images, random)
                group = link(tracks, np.ones(len(tracks)), np.empty((0, 2), np.int64), threshold=limit)
                sets = [set(truth[group == g].tolist()) for g in set(group.tolist())]
                wrong = set().union(*(each for each in sets if len(each) > 1))
                merged += len(wrong)
                split += sum(len(set(group[truth == person].tolist())) - 1 for person in range(4))
                exact += not wrong and len(sets) == 4
            print(
                f"{images} images, {limit:.2f}: merged {merged / rounds / 4:.3f}, splits {split / rounds / 4:.3f}, "
                f"exact {exact / rounds:.3f}",
                flush=True,
            )


def meeting(
    by_subject: dict[str, list[int]], means: NDArray[np.float32], images: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(person of each track, mean of each track): four people with six images or more, in six tracks each."""
    names = [name for name, images_ in by_subject.items() if len(images_) >= 6]
    truth, tracks = [], []
    for person, name in enumerate(random.choice(names, 4, replace=False)):
        for _ in range(6):
            mean = means[random.choice(by_subject[str(name)], images, replace=False)].mean(axis=0)
            truth.append(person)
            tracks.append(mean / np.linalg.norm(mean))
    return np.array(truth), np.array(tracks, np.float32)


# --- clips whose truth is known by construction -----------------------------------------------------------------


WIDTH, HEIGHT, RATE = 640, 360, 25
Placed = tuple[int, float, float, float]
"""Person, centre x and y, and height of the image of the face, in pixels."""


def scenarios() -> dict[str, list[tuple[list[Placed], list[tuple[int, int]], bool]]]:
    """Name -> for each frame who is where (behind first), bars (left, right) before them, and whether it is a cut."""

    def frames(count: int, where, bars=lambda _: []):  # type: ignore[no-untyped-def]
        return [(where(k), bars(k), False) for k in range(count)]

    def cut(*scenes):  # type: ignore[no-untyped-def]
        return [
            (who, bars, k == 0 and n > 0) for n, scene in enumerate(scenes) for k, (who, bars, _) in enumerate(scene)
        ]

    def still(*people: Placed, count: int = 25):  # type: ignore[no-untyped-def]
        return frames(count, lambda k: [(p, x + 6 * math.sin(k / 9 + p), y, h) for p, x, y, h in people])

    cross = frames(75, lambda k: [(0, 80 + 6.4 * k, 185, 150), (1, 560 - 6.4 * k, 175, 150)])
    back = frames(
        100, lambda k: [(0, 150 + 140 * math.sin(k / 16), 180, 140), (1, 490 - 140 * math.sin(k / 16), 180, 140)]
    )
    near = frames(
        90, lambda k: [(0, 250 + 70 * math.sin(k / 12), 180, 130), (1, 390 - 70 * math.sin(k / 12), 180, 130)]
    )
    away = still((0, 200, 180, 150), (1, 440, 180, 150)) + still((1, 440, 180, 150), count=23)
    moved = still((0, 200, 180, 150)) + still(count=22) + still((0, 300, 180, 150))
    swap = still((0, 200, 180, 150)) + still(count=20) + still((1, 205, 180, 150))
    return {
        "crossing": cross,
        "turning back": back,
        "close together": near,
        "absent for 1 s": away + still((0, 200, 180, 150), (1, 440, 180, 150)),
        "absent, back elsewhere": moved,
        "another one in the same place": swap,
        "zoom": frames(50, lambda k: [(0, 220 + k, 180, 90 * 1.03**k), (1, 500, 180, 90)]),
        "a bar passes": frames(
            90, lambda k: [(0, 200, 180, 150), (1, 440, 180, 150)], lambda k: [(8 * k - 60, 8 * k + 40)]
        ),
        "behind a post": frames(80, lambda k: [(0, 60 + 6.5 * k, 180, 130)], lambda k: [(260, 400)]),
        "cuts": cut(
            still((0, 320, 180, 200)), still((1, 320, 180, 200)), still((0, 200, 180, 150), (1, 440, 180, 150)),
            still((1, 200, 180, 120)), still((0, 330, 190, 220)), still((1, 320, 180, 200)), still((0, 320, 180, 200)),
        ),
        "mirror twins": cut(
            still((0, 200, 180, 150), (3, 440, 180, 150)), still((3, 200, 180, 150), (0, 440, 180, 150))
        ),
    }  # fmt: skip


def portraits() -> list[Image]:
    """Two people, and the mirror image of each, by which twins are made: 2 of person 1, 3 of person 0."""
    one, two = (read_image(STILLS / name) for name in ("astronaut.png", "grace_hopper.jpg"))
    assert one is not None
    assert two is not None
    one, two = one[20:260, 105:345], two[20:400, 75:455]
    return [np.ascontiguousarray(each) for each in (one, two, two[:, ::-1], one[:, ::-1])]


def drawn(people: list[Image], placed: list[Placed], bars: list[tuple[int, int]]) -> Image:
    """One frame: portraits on a plain background, then bars."""
    canvas = np.full((HEIGHT, WIDTH, 3), (96, 104, 98), np.uint8)
    for person, x, y, height in placed:
        image = people[person]
        scale = height / image.shape[0]
        matrix = np.array([[scale, 0, x - scale * image.shape[1] / 2], [0, scale, y - height / 2]])
        inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, (WIDTH, HEIGHT))
        shown = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        canvas[inside > 127] = shown[inside > 127]
    for left, right in bars:
        canvas[:, max(left, 0) : max(right, 0)] = (60, 50, 40)
    return canvas


def sightings(people: list[Image], script) -> list[Sighting]:  # type: ignore[no-untyped-def]
    """What the detector finds, with crops."""
    found = []
    with FaceDetector(blendshapes=False) as finder:
        for k, (placed, bars, is_cut) in enumerate(script):
            image = drawn(people, placed, bars)
            faces = tuple(with_crops(face, image, [identity_network.CROP]) for face in finder.find(image))
            found.append(Sighting(k, k / RATE, faces, cut=is_cut))
    return found


def truth_of(face: Face, placed: list[Placed]) -> int:
    """The person whose portrait a face lies in, the one in front first; -1 for none."""
    x, y, width, height = face.box
    for person, cx, cy, size in reversed(placed):
        if abs(x + width / 2 - cx) < size * 0.3 and abs(y + height / 2 - cy) < size * 0.45:
            return person
    return -1


def clips() -> None:
    """Identification of clips whose ids are known: plain tracking, and linked people."""
    people, total = portraits(), Counter[str]()
    print(f"{'clip':32s} {'faces':>5s} | ids: idF1 switches fragments | people: idF1 switches merges splits")
    for name, script in scenarios().items():
        found = sightings(people, script)
        embeddings = TrackEmbeddings()
        followed = list(embeddings.watch(tracking.follow(found)))
        rows = [(s.index, f, f.track or 0, truth_of(f, script[s.index][0])) for s in followed for f in s.faces]
        row, ids, truth = (np.array([each[k] for each in rows], np.int64) for k in (0, 2, 3))
        (who,) = identify([Recorded(embeddings.result(), seen_together(row, ids))])
        names = {person: k for k, person in enumerate(sorted(set(who.person.tolist())))}
        at = who.place(ids)
        person = np.array(
            [names[str(who.person[k])] if who.person[k] else 1000 + i for k, i in zip(at, ids, strict=True)]
        )
        plain, linked = scores(row, truth, ids), scores(row, truth, person)
        print(
            f"{name:32s} {len(ids):5d} | {plain['idf1']:9.3f} {plain['switches']:8d} {plain['splits']:9d} | "
            f"{linked['idf1']:12.3f} {linked['switches']:8d} {linked['merges']:6d} {linked['splits']:6d}",
            flush=True,
        )
        total.update({f"plain {k}": v for k, v in plain.items()} | {f"linked {k}": v for k, v in linked.items()})
    count = len(scenarios())
    print({key: round(value / count, 4) if "idf1" in key else value for key, value in total.items()})


def scores(row: NDArray[np.int64], truth: NDArray[np.int64], ids: NDArray[np.int64]) -> dict[str, float]:
    """idF1 (Ristani et al. 2016) over the faces; switches; merges: people too many in an id; splits: ids too many."""
    people, own = np.unique(truth, return_inverse=True)
    keys, given = np.unique(ids, return_inverse=True)
    table = np.zeros((len(people), len(keys)), np.int64)
    np.add.at(table, (own, given), 1)
    one, other = linear_sum_assignment(table, maximize=True)
    switches = 0
    for person in people.tolist():
        order = np.argsort(row[truth == person], kind="stable")
        switches += int((np.diff(ids[truth == person][order]) != 0).sum())
    merges = int((np.maximum((table > 0).sum(axis=0) - 1, 0)).sum())
    splits = int((np.maximum((table > 0).sum(axis=1) - 1, 0)).sum())
    return {"idf1": table[one, other].sum() / len(ids), "switches": switches, "merges": merges, "splits": splits}


# --- many tracks ------------------------------------------------------------------------------------------------


def many(count: int = 10_000, hours: float = 2.0, people: int = 4) -> None:
    """Link the tracks of two hours: seconds, memory, and what came of it."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(people, 192))
    truth = random.integers(0, people, count)
    means = centres[truth] + 0.8 * random.normal(size=(count, 192))
    means = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    start = random.uniform(0, hours * 3600 * RATE, count).astype(np.int64)
    frame = (start[:, None] + np.arange(25)).ravel()
    ids = np.repeat(np.arange(count), 25)
    order = np.lexsort((ids, frame))
    together = seen_together(frame[order], ids[order])
    apart = together[truth[together[:, 0]] != truth[together[:, 1]]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    group = link(means, random.uniform(0.5, 6, count), apart)
    seconds = time.perf_counter() - begun
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    found = scores(frame, np.repeat(truth, 25), np.repeat(group, 25)[: len(frame)])
    print(
        f"{count:,} tracks of {people} people, {len(apart):,} pairs apart: {seconds:.1f} s, {more:.0f} MB more, "
        f"{group.max() + 1} people, {found['merges']} merges"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("pairs", "threshold", "clips", "many"))
    parser.add_argument("folder", type=Path, nargs="?", help="muxspace, with labels.csv and images")
    given = parser.parse_args()
    if given.what in ("pairs", "threshold"):
        if given.folder is None:
            parser.error(f"{given.what}: give the folder of muxspace")
        {"pairs": pairs, "threshold": threshold}[given.what](given.folder)
    else:
        {"clips": clips, "many": many}[given.what]()


if __name__ == "__main__":
    main()
