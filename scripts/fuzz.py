"""Mutated files of every kind that the program reads: does each end in a result or in one clear sentence?

Each case is made from a seed and its number alone, and runs in a process of its own, forked from one that has loaded
everything, with a limit on address space and on time. Outcomes:

  fine        it was read, and nothing was wrong with it
  early       it was read as far as it goes: packets or images could not be decoded, or it ended early
  refused     one sentence in one line that names the file
  unclear     a refusal that names no file, or is no sentence in one line
  traceback   any other exception
  memory      more memory asked for than the limit, or more used
  hang        not over in time
  crash       the process was ended by a signal

The last five are bad: their files are kept, and the exit code is 1.
Run: python scripts/fuzz.py [--cases 3000] [--seed 0] [--minutes 10] [--only KIND ...] [--keep FOLDER]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process with threads cannot be forked safely

import argparse
import csv
import io
import json
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import hsemotion_cli  # noqa: F401  (first: it turns off usage reports before onnxruntime is imported)

# isort: split
import av
import clips
import cv2
import numpy as np
import onnxruntime  # noqa: F401 (loaded once, not in each case)
import pandas as pd
import pillow_heif
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hsemotion_cli.abaw import lists, predictions, validation
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.batch import discovery, output_paths
from hsemotion_cli.commands import smooth
from hsemotion_cli.commands.signature import call
from hsemotion_cli.errors import HsemotionError
from hsemotion_cli.evaluation.ground_truth import read_compound, read_intensities, read_mtl, read_track
from hsemotion_cli.formats import features, npz, sidecar, table
from hsemotion_cli.media.audio import AudioFile
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VideoFile, open_source
from hsemotion_cli.models import checkpoints, engines, graph_file, heads, model_file, registry
from hsemotion_cli.overlay.video import render
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.training import config

MEMORY = 3 << 30
"""Bytes that a case may ask for beyond what the process has before it begins."""

SECONDS = 30.0
BAD = ("unclear", "traceback", "memory", "hang", "crash")
OUTCOMES = ("fine", "early", "refused", *BAD)

_ROOT = Path(__file__).parent.parent
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000, 1 << 20)
# Where the numbers are by which a reader lives: dimensions, rates, durations, counts, sizes of what follows.
_BOXES = (
    b"moov", b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"elst", b"stsd", b"avc1", b"mp4v", b"jpeg", b"avcC", b"esds",
    b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss", b"mdat", b"pasp", b"trak", b"minf", b"mp4a", b"dref",
    b"avih", b"strh", b"strf", b"idx1", b"LIST", b"movi", b"vprp",
    b"\xb0", b"\xba", b"\x23\xe3\x83", b"\x44\x89", b"\x2a\xd7\xb1", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"\xa3",
    b"\x18\x53\x80\x67", b"\x63\xa2", b"\x54\xb0", b"\x54\xba",
    b"IHDR", b"IDAT", b"\xff\xc0", b"\xff\xc2", b"\xff\xdb", b"\xff\xda", b"\xff\xe1", b"VP8 ", b"VP8X",
    b"RIFF", b"PAR1",
)  # fmt: skip
_WORDS = (
    "", "NaN", "inf", "-inf", "1e999", "-1", "0", "1e308", "9" * 400, "-0", "true", "null", "None", '"', "'", "[", "{",
    "[[" * 3000, '{"a":' * 3000, "\x00", "\x1b[31m", "../../etc/passwd", "/etc/passwd", "=1+1", ",", ",,,,", "\r", "\n",
    "\u202e", "%s", "x" * 20000, "0x10", "1_0", "٣", "1.5", "expression", "box:3f", "gaussian:1e-320",
    "abaw:1/99999999",
)  # fmt: skip


@dataclass
class Corpus:
    """Good files.

    Attributes:
        videos, images, weights: their bytes by name.
        results: what annotating a clip left, by name.
        texts: lists, truth, recipes, plans, by name.
    """

    videos: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    weights: dict[str, bytes] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


# --- good files -------------------------------------------------------------------------------------------------------


def draw(folder: Path) -> None:
    """Write the good files, a folder for each attribute of ``Corpus``."""
    for name in Corpus.__dataclass_fields__:
        (folder / name).mkdir()
    _draw_videos(folder / "videos")
    for suffix in ("jpg", "png", "bmp", "webp", "tif"):
        cv2.imwrite(str(folder / "pictures" / f"p.{suffix}"), clips.portrait(64, 48))
    _draw_images(folder / "pictures")
    clips.write(folder / "clip.mp4", [clips.portrait(96, 72, shift=k) for k in range(5)])
    settings = Settings(recipe=Recipe.of("mp-blendshapes"), formats=("csv", "parquet", "jsonl"))
    with Annotator(settings) as annotator:
        annotator.annotate(folder / "clip.mp4", folder / "results", "clip")
    (folder / "clip.mp4").rename(folder / "results" / "clip.mp4")
    _draw_texts(folder / "texts")
    _draw_weights(folder / "weights")


def _draw_images(folder: Path) -> None:
    """Images of other kinds, animated ones, and several pages."""
    frames = [Image.fromarray(clips.portrait(64, 48, shift=3 * k)) for k in range(4)]
    for name in ("p.gif", "p.avif", "p.jp2", "p.ppm", "p.pgm", "p.mpo"):
        frames[0].save(folder / name)
    for name in ("a.gif", "a.png", "a.webp", "a.avif", "a.tif"):
        timed: dict[str, Any] = {} if name == "a.tif" else {"duration": [40, 120, 500, 80]}
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **timed)
    for name, options in (("p.heic", {}), ("t.heic", {"tile_size": 64})):
        pillow_heif.from_pillow(frames[0].resize((128, 128))).save(folder / name, **options)


def _draw_videos(folder: Path) -> None:
    pictures = [clips.portrait(64, 48, shift=k) for k in range(6)]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("h264.mp4", {"audio": "aac", "options": {"g": "3", "threads": "1"}}),
        ("front.mp4", {"container_options": {"movflags": "+faststart"}, "rotate": 90}),
        ("parts.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "2"}}),
        ("mjpeg.mov", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("png.mov", {"codec": "png", "pixels": "rgb24"}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixels": "yuvj420p", "audio": "pcm_s16le"}),
        ("ffv1.mkv", {"codec": "ffv1", "pixels": "bgr0"}),
        ("h264.mkv", {"audio": "aac"}),
        ("vp8.webm", {"codec": "libvpx"}),
    ]
    for name, options in kinds:
        try:
            clips.write(folder / name, pictures, **options)
        except (av.error.FFmpegError, ValueError) as error:  # an encoder that this FFmpeg lacks
            print(f"no {name}: {error}", file=sys.stderr)
            (folder / name).unlink(missing_ok=True)
    for name, codec in (("mpeg4.mov", "mpeg4"), ("mpeg4.avi", "mpeg4"), ("mpeg2.ts", "mpeg2video"), ("flv.flv", "flv")):
        _old(folder / name, pictures, codec)


def _old(path: Path, pictures: Sequence[np.ndarray], codec: str) -> None:
    """A clip by an encoder that does not know the options of ``clips.write``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _draw_texts(folder: Path) -> None:
    units = ",".join(f"AU{k}" for k in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
    rows = "\n".join(f"a/{k:05d}.jpg,0.1,-0.2,{k % 8},{','.join('01'[k % 2] * 12)}" for k in range(1, 9))
    (folder / "mtl.txt").write_text(f"image,valence,arousal,expression,{units}\n{rows}\n")
    (folder / "track.txt").write_text("valence,arousal\n" + "0.5,-0.25\n" * 8)
    names = "Fearfully Surprised,Happily Surprised,Sadly Surprised,Disgustedly Surprised,Angrily Surprised"
    header = f"image_location,{names},Sadly Fearful,Sadly Angry"
    (folder / "compound.txt").write_text(header + "\n" + "".join(f"a/{k:05d}.jpg,{k % 7}\n" for k in range(1, 9)))
    kinds = "Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
    (folder / "split.csv").write_text(
        f"Filename,{kinds}\n" + "".join(f"{k:05d},0,0.1,0.2,1,0.5,0.3\n" for k in range(8))
    )
    (folder / "list.txt").write_text(
        f"{TRACKS['va'].header}\n" + "".join(f"a/{k:05d}.jpg,0.5,0.5\n" for k in range(1, 9))
    )
    (folder / "inputs.txt").write_text("clips/a.mp4\n/abs/b.mp4\n../c.mp4\na//./b.mp4\n")
    recipe = Recipe.of("mt-mobilefacenet", "mp-blendshapes").changed(smooth="gaussian:0.2", blend="0.6")
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=1))
    (folder / "recipe.toml").write_text(
        'models = ["mt-mobilefacenet", "mp-blendshapes"]\ninterpolate = 0.2\n[blend]\nexpression = 0.8\n'
        '[smoothing]\nexpression = "gaussian:0.5"\nvalence_arousal = "box:1.0"\n[thresholds]\nAU12 = 0.3\n'
    )
    shutil.copy(_ROOT / "plans" / "mobilefacenet.toml", folder / "plan.toml")


def _draw_weights(folder: Path) -> None:
    chance = np.random.default_rng(0)
    base = heads.Base("enet_b0_8_va_mtl", None, None, 6, 4)
    layer = (chance.normal(size=(2, 10)), chance.normal(size=2))
    part = heads.Part("both", "tanh", ("valence", "arousal"), (layer,))
    heads.write(heads.Head("h", "", "mtl", base, {"valence_arousal": part}, {}), folder / "head.safetensors", "")
    (folder / "head.md").unlink()
    for suffix in ("safetensors", "graph"):
        shutil.copy(registry.ASSETS / f"mt-mobilefacenet.{suffix}", folder / f"network.{suffix}")
    (folder / "network.onnx").write_bytes(graph_file.read_graph(folder / "network.safetensors") or b"")
    np.savez(folder / "packed.npz", images=np.zeros((2, 4, 4), np.uint8), votes=np.zeros((2, 8)))
    keys = {"frame": pa.array([0, 1]), "time": pa.array([0.0, 0.1]), "face_id": pa.array([0, 0])}
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    made = pa.table({**keys, "embedding": embedding}).replace_schema_metadata({"hsemotion": '{"model": "m"}'})
    pq.write_table(made, folder / "clip.features.parquet")
    try:
        import torch
    except ImportError:  # an extra
        return
    state = {"conv.weight": torch.zeros(2, 3, 3, 3), "fc.bias": torch.zeros(4)}
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "stream.pt", _use_new_zipfile_serialization=False)


# --- how they are changed ---------------------------------------------------------------------------------------------


def spoil(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """Bytes changed in one to four ways."""
    body = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if body:
            chance.choice(_WAYS)(body, chance, other)
    return bytes(body)


def _at(body: bytearray, chance: random.Random) -> int:
    """A place, more often near the beginning or the end, where headers are."""
    size = len(body)
    near = min(size, chance.choice((64, 1024, size)))
    at = chance.randrange(near)
    return at if chance.random() < 0.6 else size - 1 - at


def _flip(body: bytearray, chance: random.Random, other: bytes) -> None:
    for _ in range(chance.choice((1, 3, 30))):
        body[_at(body, chance)] ^= 1 << chance.randrange(8)


def _extreme(body: bytearray, chance: random.Random, other: bytes) -> None:
    size = chance.choice((1, 2, 4, 8))
    value = chance.choice(_EXTREMES) & ((1 << 8 * size) - 1)
    at = _at(body, chance)
    body[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _field(body: bytearray, chance: random.Random, other: bytes) -> None:
    """A number inside of a box or element whose name is known."""
    found = [
        match.start() + len(name) for name in _BOXES for match in re.finditer(re.escape(name), bytes(body[:200_000]))
    ]
    if not found:
        _extreme(body, chance, other)
        return
    at = max(chance.choice(found) + chance.randrange(-8, 48), 0)
    size = chance.choice((1, 2, 4, 4, 8))
    value = chance.choice((*_EXTREMES, chance.getrandbits(32))) & ((1 << 8 * size) - 1)
    body[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _cut(body: bytearray, chance: random.Random, other: bytes) -> None:
    del body[chance.randrange(len(body)) :]


def _drop(body: bytearray, chance: random.Random, other: bytes) -> None:
    at = _at(body, chance)
    del body[at : at + chance.choice((1, 4, 100, 5000))]


def _repeat(body: bytearray, chance: random.Random, other: bytes) -> None:
    at, size = _at(body, chance), chance.choice((1, 4, 100, 5000))
    body[at:at] = body[at : at + size] * chance.choice((1, 2, 50))


def _graft(body: bytearray, chance: random.Random, other: bytes) -> None:
    if other:
        start = chance.randrange(len(other))
        at, size = _at(body, chance), chance.choice((16, 300, 5000))
        body[at : at + size] = other[start : start + size]


def _noise(body: bytearray, chance: random.Random, other: bytes) -> None:
    at, size = _at(body, chance), chance.choice((4, 64, 1000))
    body[at : at + size] = chance.randbytes(size)


_WAYS = (_flip, _flip, _extreme, _extreme, _field, _field, _field, _cut, _drop, _repeat, _graft, _noise)


def garble(data: bytes, chance: random.Random) -> bytes:
    """A text changed word by word or line by line, now and then byte by byte."""
    if chance.random() < 0.2:
        return spoil(data, chance)
    text = data.decode()
    for _ in range(chance.choice((1, 1, 2, 5))):
        way = chance.randrange(5)
        lines = text.split("\n")
        if way == 0:
            words = list(re.finditer(r"[\w.+-]+|\S", text))
            if words:
                word = chance.choice(words)
                text = text[: word.start()] + chance.choice(_WORDS) + text[word.end() :]
        elif way == 1:
            lines[chance.randrange(len(lines))] = chance.choice(_WORDS)
            text = "\n".join(lines)
        elif way == 2:
            del lines[chance.randrange(len(lines))]
            text = "\n".join(lines)
        elif way == 3:
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
            text = "\n".join(lines)
        else:
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice(_WORDS) + text[at:]
    return text.encode("utf-8", "surrogatepass")


def odd_value(chance: random.Random) -> Any:
    """Something that does not belong into a cell."""
    return chance.choice(
        (
            None,
            -1,
            0,
            1 << 40,
            -(1 << 62),
            1e300,
            -1e300,
            float("nan"),
            float("inf"),
            "",
            "x",
            "neutral",
            [],
            {},
            [1],
            True,
        )
    )


def bent_json(data: bytes, chance: random.Random) -> bytes:
    """JSON with one to three values replaced, at any depth."""
    content = json.loads(data)
    for _ in range(chance.choice((1, 1, 3))):
        spots: list[tuple[Any, Any]] = []
        waiting = [content]
        while waiting:
            inside = waiting.pop()
            pairs = (
                inside.items() if isinstance(inside, dict) else enumerate(inside) if isinstance(inside, list) else ()
            )
            for key, value in pairs:
                spots.append((inside, key))
                waiting.append(value)
        if spots:
            inside, key = chance.choice(spots)
            if isinstance(inside, dict) and chance.random() < 0.2:
                del inside[key]
            else:
                inside[key] = odd_value(chance)
    return json.dumps(content).encode()


def bent_table(suffix: str, results: dict[str, bytes], chance: random.Random) -> bytes:
    """A table with odd values in its cells, or columns of another type."""
    rows = [json.loads(line) for line in results["clip.jsonl"].splitlines()]
    names = list(rows[0])
    for _ in range(chance.choice((1, 2, 10))):
        name, value = chance.choice(names), odd_value(chance)
        # Boxes and frames decide where something is drawn, and are changed more often.
        name = chance.choice(("frame", "x", "y", "w", "h", "face_id", "expression", name))
        for row in chance.choice((rows, [chance.choice(rows)])):
            row[name] = value
    if suffix == "jsonl":
        lines = [json.dumps(row) for row in rows]
        if chance.random() < 0.2:
            lines.insert(
                chance.randrange(len(lines) + 1), chance.choice(("1", "[]", '"frame"', "null", "{}", "[" * 9999))
            )
        return "\n".join(lines).encode()
    if suffix == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in rows])
        return text.getvalue().encode()
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row[name] for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns[name] = pa.array([str(row[name]) for row in rows])
    file = io.BytesIO()
    try:
        pq.write_table(pa.table(columns), file)
    except pa.ArrowException:  # a type that Parquet does not have
        return results["clip.parquet"]
    return file.getvalue()


def bent_archive(data: bytes, chance: random.Random) -> bytes:
    """Raw scores whose arrays have other shapes, types or values."""
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    for _ in range(chance.choice((1, 2))):
        name = chance.choice(list(arrays))
        value = arrays[name]
        kind = chance.randrange(7)
        if kind == 0:
            arrays[name] = value[: len(value) // 2]
        elif kind == 1:
            arrays[name] = value.astype(chance.choice((np.int8, np.float64, np.complex64, "U5", "datetime64[s]")))
        elif kind == 2:
            arrays[name] = np.full(value.shape, chance.choice((np.nan, np.inf, -1e30, 1e30)))
        elif kind == 3:
            arrays[name] = value[..., None]
        elif kind == 4:
            del arrays[name]
        elif kind == 5:
            arrays[chance.choice(("scores/a", "scores/a/b", "scores/a/b/c", "x", "scores/mp-blendshapes/none"))] = value
        else:
            arrays[name] = np.full(value.shape, chance.choice((-1, 0, 1 << 62, -(1 << 62))), np.int64)
        if not arrays:
            break
    file_ = io.BytesIO()
    np.savez_compressed(file_, **arrays)
    return file_.getvalue()


def declared(chance: random.Random, folder: Path) -> Path:
    """Images of a few bytes that declare a great many pixels, and archives that unpack to far more than they are."""
    width, height = chance.choice(
        ((100_000, 100_000), (65_500, 65_500), (1 << 30, 1), (20_000, 20_000), (16_384, 16_384))
    )
    kind = chance.choice(("png", "bmp", "tif", "jpg", "npz", "shape"))
    if kind == "png":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        import zlib

        def chunk(name: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

        zeros = zlib.compress(bytes(1 << 22))
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")
    elif kind == "bmp":
        data = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(60)
    elif kind == "tif":
        entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
        entries += [(278, 4, height), (279, 4, 16)]
        body = b"".join(struct.pack("<HHII", tag, type_, 1, value) for tag, type_, value in entries)
        data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(100)
    elif kind == "jpg":
        data = cv2.imencode(".jpg", clips.portrait(64, 48))[1].tobytes()
        at = data.index(b"\xff\xc0")
        data = data[: at + 5] + struct.pack(">HH", min(height, 65535), min(width, 65535)) + data[at + 9 :]
    elif kind == "npz":
        file = io.BytesIO()
        np.savez_compressed(file, index=np.zeros(1 << 27, np.int64))  # 1 GiB in 1 MB
        data = file.getvalue()
    else:
        import zipfile

        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            head = (
                f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({1 << chance.choice((33, 40, 62))},), }}".ljust(
                    117
                )
            )
            archive.writestr("index.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + head.encode() + b"\n")
        data = file.getvalue()
    path = folder / f"bomb.{'raw.npz' if kind in ('npz', 'shape') else kind}"
    path.write_bytes(data)
    return path


# --- what is done with them: each makes the files of a case, and gives what shall be called with them -----------------

Case = Callable[[], str]
"""Reads the files of a case; returns "fine" or "early"."""


def _watch(path: Path) -> str:
    source = open_source(path)
    for frame in source.frames():
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
    report = source.report
    damaged = bool(report.failures or report.corrupt or report.ended_early)
    if isinstance(source, VideoFile) and source.info.audio:
        survey = AudioFile(path).survey()
        damaged |= bool(survey.failures or survey.ended_early)
    return "early" if damaged else "fine"


def video(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    name, other = chance.choice(list(corpus.videos)), chance.choice(list(corpus.videos.values()))
    path = folder / name
    path.write_bytes(spoil(corpus.videos[name], chance, other))
    return lambda: _watch(path)


def image(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    name, other = chance.choice(list(corpus.pictures)), chance.choice(list(corpus.pictures.values()))
    path = folder / name
    path.write_bytes(spoil(corpus.pictures[name], chance, other))
    return lambda: _watch(path)


def bomb(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    path = declared(chance, folder)
    if path.suffix != ".npz":
        return lambda: _watch(path)
    (folder / "bomb.json").write_bytes(corpus.results["clip.json"])
    return lambda: _called(lambda: predictions.load(path))


def pipeline(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """All of annotate, with the overlay."""
    path = folder / "clip.mp4"
    path.write_bytes(spoil(corpus.results["clip.mp4"], chance))
    settings = Settings(recipe=Recipe.of("mp-blendshapes"), overlay=True, sampling=Sampling(every=2))

    def run() -> str:
        with Annotator(settings) as annotator:
            summary = annotator.annotate(path, folder / "out", "clip")
        return "early" if summary.problem or summary.frames["decode_failures"] else "fine"

    return run


def _results(corpus: Corpus, folder: Path) -> None:
    for name, data in corpus.results.items():
        (folder / name).write_bytes(data)


def drawn(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """A table that ``render`` draws."""
    _results(corpus, folder)
    suffix = chance.choice(("csv", "parquet", "jsonl"))
    path = folder / f"clip.{suffix}"
    if chance.random() < 0.6:
        path.write_bytes(bent_table(suffix, corpus.results, chance))
    else:
        data = corpus.results[path.name]
        path.write_bytes(spoil(data, chance) if suffix == "parquet" else garble(data, chance))
    return lambda: _called(lambda: render(folder / "clip.mp4", table.read_frames(path), folder / "o.mp4"))


def scored(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """Raw scores and a sidecar that ``smooth``, ``evaluate``, ``tune`` and ``submit`` read."""
    _results(corpus, folder)
    path = folder / chance.choice(("clip.json", "clip.raw.npz"))
    bent = bent_json if path.suffix == ".json" else bent_archive
    data = corpus.results[path.name]
    path.write_bytes(bent(data, chance) if chance.random() < 0.7 else spoil(data, chance))

    def run() -> None:
        options = {"smooth": "gaussian:0.1", "interpolate": 0.5, "quiet": True}
        call(smooth.run, table=folder / "clip.csv", out=folder / "out", **options)
        predictions.predict(predictions.load(folder / "clip.raw.npz"), Recipe.of("mp-blendshapes")).in_affwild2("none")
        sidecar.read(folder / "clip.json")

    return lambda: _called(run)


def listed(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """Truth, lists and submissions of the challenges."""
    readers: dict[str, Sequence[Callable[[Path], object]]] = {
        "mtl.txt": (read_mtl, lambda path: lists.read(path, TRACKS["mtl"])),
        "track.txt": (lambda path: read_track(path.parent, "va"),),
        "compound.txt": (read_compound,),
        "split.csv": (read_intensities, lambda path: lists.read(path, TRACKS["emi"])),
        "list.txt": (lambda path: lists.read(path, TRACKS["va"]), lambda path: validation.read(path, TRACKS["va"])),
    }
    name = chance.choice(list(readers))
    path = folder / name
    path.write_bytes(garble(corpus.texts[name], chance))
    reader = chance.choice(readers[name])
    return lambda: _called(lambda: reader(path))


def recipe(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    name = chance.choice(("recipe.json", "recipe.toml"))
    path, data = folder / name, corpus.texts[name]
    path.write_bytes(
        bent_json(data, chance) if name == "recipe.json" and chance.random() < 0.5 else garble(data, chance)
    )
    return lambda: _called(lambda: Recipe.read(path))


def training_plan(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    path = folder / "plan.toml"
    path.write_bytes(garble(corpus.texts["plan.toml"], chance))
    return lambda: _called(lambda: config.read(path))


def inputs(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """A list of inputs for ``batch``, with tricks in its paths."""
    path = folder / "inputs.txt"
    tricks = (
        "../" * chance.randrange(9) + "x",
        "/" * chance.randrange(9) + "x",
        "~",
        "..",
        ".",
        "-",
        "@x",
        "a\0b",
        "x/" * 3000,
    )
    path.write_bytes(garble(corpus.texts["inputs.txt"], chance) + "\n".join(chance.choices(tricks, k=5)).encode())

    def run() -> str:
        named = discovery.read_list(path.read_bytes())
        # Whatever else is on this machine is not searched.
        path.write_text(
            "\0".join(line for line in named if not os.path.isdir(line.partition("\0")[0])), errors="surrogateescape"
        )
        found = discovery.find([], [path], discovery.Search(folder / "out"))
        for line in named:
            place = Path("/out", *output_paths.safe(line))
            assert os.path.normpath(place).startswith("/out"), line
        assert all(not task.place.startswith("/") and ".." not in task.place.split("/") for task in found.tasks)
        return "fine"

    return run


def weights(corpus: Corpus, chance: random.Random, folder: Path) -> Case:
    """Heads, networks, checkpoints, graphs, features."""
    card = registry.card("mt-mobilefacenet")

    def graph(path: Path) -> None:
        engines.start(card, backend="onnx", device="cpu", offline=True, path=path, threads=1)

    def own(path: Path) -> None:
        model_file.read_card(path)
        model_file.verify(path)
        checkpoints.read(path)

    def told(path: Path) -> None:
        path.with_suffix(".safetensors").write_bytes(corpus.weights["network.safetensors"])
        graph_file.read_graph(path.with_suffix(".safetensors"))

    readers: dict[str, Callable[[Path], object]] = {
        "head.safetensors": heads.read,
        "network.safetensors": own,
        "network.onnx": graph,
        "network.graph": told,
        "zip.pt": checkpoints.read,
        "stream.pt": checkpoints.read,
        "clip.features.parquet": features.read,
        "packed.npz": lambda path: npz.arrays(path, ("images", "votes"), "FER+"),
    }
    name = chance.choice([name for name in readers if name in corpus.weights])
    path = folder / name
    path.write_bytes(spoil(corpus.weights[name], chance))
    return lambda: _called(lambda: readers[name](path))


def _called(function: Callable[[], object]) -> str:
    function()
    return "fine"


KINDS: dict[str, tuple[int, Callable[[Corpus, random.Random, Path], Case]]] = {
    "video": (45, video),
    "image": (10, image),
    "bomb": (3, bomb),
    "pipeline": (2, pipeline),
    "drawn": (12, drawn),
    "scored": (8, scored),
    "listed": (6, listed),
    "recipe": (4, recipe),
    "training_plan": (3, training_plan),
    "inputs": (2, inputs),
    "weights": (5, weights),
}
"""Kind -> its share in a hundred, and what makes a case of it."""


# --- running them -----------------------------------------------------------------------------------------------------


@dataclass
class Running:
    """A case in its process.

    Attributes:
        began: by ``time.monotonic``.
    """

    kind: str
    number: int
    folder: Path
    began: float


def child(corpus: Corpus, kind: str, chance: random.Random, folder: Path) -> None:
    """Do one case in this process and end it; says what came of it in ``outcome.txt``."""
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        run = KINDS[kind][1](corpus, chance, folder)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, hard))
        outcome, text = _tried(run, folder)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        (folder / "outcome.txt").write_text(f"{outcome}\n{text}", errors="backslashreplace")
    finally:
        os._exit(0)  # nothing of the parent's is to be cleaned up here


def _tried(run: Case, folder: Path) -> tuple[str, str]:
    """The outcome, and the output."""
    try:
        return run(), ""
    except HsemotionError as error:
        return "refused" if _clear(str(error), folder) else "unclear", str(error)
    except BaseException as error:
        short = isinstance(error, MemoryError) or "Insufficient memory" in str(error) or "bad_alloc" in str(error)
        return "memory" if short else "traceback", traceback.format_exc()


def _clear(text: str, folder: Path) -> bool:
    """Whether this is one sentence that names the file it is about."""
    return "\n" not in text and text.endswith((".", ".)")) and 10 < len(text) < 2000 and str(folder) in text


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def fuzz(
    corpus: Corpus,
    work: Path,
    keep: Path,
    *,
    seed: int,
    first: int,
    cases: int,
    minutes: float,
    jobs: int,
    kinds: list[str],
) -> tuple[Counter[tuple[str, str]], int]:
    """Run the cases; returns how often each (kind, outcome) came about, and the most memory of one in bytes."""
    counts: Counter[tuple[str, str]] = Counter()
    running: dict[int, Running] = {}
    most, number, end = 0, first, time.monotonic() + 60 * minutes
    while running or (number < first + cases and time.monotonic() < end):
        while len(running) < jobs and number < first + cases and time.monotonic() < end:
            chance = random.Random(f"{seed} {number}")
            kind = chance.choices(kinds, [KINDS[name][0] for name in kinds])[0]
            folder = work / f"{number:06d}-{kind}"
            folder.mkdir()
            process = os.fork()
            if not process:
                child(corpus, kind, chance, folder)
            running[process] = Running(kind, number, folder, time.monotonic())
            number += 1
        for process, case in list(running.items()):
            done, status, usage = os.wait4(process, os.WNOHANG)
            late = not done and time.monotonic() - case.began > SECONDS
            if late:
                os.kill(process, signal.SIGKILL)
                _, status, usage = os.wait4(process, 0)
            if done or late:
                del running[process]
                used = usage.ru_maxrss << 10
                most = max(most, used)
                outcome = _outcome(case, status, late, used)
                counts[case.kind, outcome] += 1
                if outcome in BAD:
                    place = keep / f"{outcome}-{case.folder.name}"
                    shutil.copytree(case.folder, place, dirs_exist_ok=True, symlinks=True)
                    print(f"{outcome}: {place}", flush=True)
                shutil.rmtree(case.folder)
        time.sleep(0.002)
    return counts, most


def _outcome(case: Running, status: int, late: bool, used: int) -> str:
    if late:
        return "hang"
    if os.WIFSIGNALED(status):
        (case.folder / "outcome.txt").write_text(f"crash\n{signal.Signals(os.WTERMSIG(status)).name}")
        return "crash"
    if not (case.folder / "outcome.txt").exists():
        (case.folder / "outcome.txt").write_text(f"crash\nexit code {os.WEXITSTATUS(status)}")
        return "crash"
    said = (case.folder / "outcome.txt").read_text().partition("\n")[0]
    return "memory" if used > MEMORY else said


def load(folder: Path) -> Corpus:
    """The good files, drawn by another process, so that no threads of theirs are in this one."""
    process = os.fork()
    if not process:
        try:
            draw(folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        sys.exit("the good files could not be drawn")
    return Corpus(
        **{
            name: {path.name: path.read_bytes() for path in sorted((folder / name).iterdir())}
            for name in Corpus.__dataclass_fields__
        }
    )


def main() -> None:
    """Draw good files, run the cases, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no case after that")
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to do one again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=KINDS, help="only these kinds; the numbers then mean other cases")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder for the files of bad cases")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        (Path(name) / "good").mkdir()
        (Path(name) / "cases").mkdir()
        corpus = load(Path(name) / "good")
        counts, most = fuzz(
            corpus, Path(name) / "cases", options.keep, seed=options.seed, first=options.first, cases=options.cases,
            minutes=options.minutes, jobs=options.jobs, kinds=options.only or list(KINDS),
        )  # fmt: skip
    frame = pd.DataFrame(0, index=[*KINDS, "all"], columns=OUTCOMES)
    for (kind, outcome), count in counts.items():
        frame.loc[kind, outcome] = count
    frame.loc["all"] = frame.sum()
    print(f"| kind | cases | {' | '.join(OUTCOMES)} |\n|---|---|{'---|' * len(OUTCOMES)}")
    for kind, row in frame[frame.sum(axis=1) > 0].iterrows():
        print(f"| {kind} | {row.sum()} | {' | '.join(map(str, row))} |")
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s, most memory of a case {most / 1e6:.0f} MB")
    sys.exit(any(outcome in BAD for _, outcome in counts))


if __name__ == "__main__":
    main()
