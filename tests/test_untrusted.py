"""Files that somebody else made: they take no more than they are worth, and lead nowhere."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hsemotion_cli.abaw import lists
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, ModelUnavailable
from hsemotion_cli.formats import npz, raw_scores, schema, sidecar
from hsemotion_cli.media.image_size import declared_size
from hsemotion_cli.media.images import ImageSequence, read_image
from hsemotion_cli.media.source import MAX_PIXELS, fits
from hsemotion_cli.media.video import VideoFile, open_source
from hsemotion_cli.models import engines, heads
from hsemotion_cli.postprocess.compound import COMPOUNDS
from hsemotion_cli.runtime import atomic_files
from hsemotion_cli.tasks import EXPRESSIONS
from hsemotion_cli.training import config, dataset, dataset_readers
from hsemotion_cli.training.head_card import head_card


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


# --- bombs: little that declares much ---------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0) + bytes(40)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(60)


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(cv2.imencode(".jpg", clips.portrait(64, 48))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(width: int, height: int) -> bytes:
    entries = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 16))
    return b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in entries)


def webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + bytes(20)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("png", png(100_000, 100_000)),
        ("png", png(1 << 20, 1)),
        ("bmp", bmp(100_000, 100_000)),
        ("jpg", jpeg(65_500, 65_500)),
        ("tif", tiff(100_000, 100_000)),
        ("tif", tiff(16_384, 16_384)),
        ("webp", webp(16_384, 16_384)),
    ],
)
def test_an_image_that_declares_too_much_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, data: bytes
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("a decoder was asked"))
    path = tmp_path / f"1.{suffix}"
    path.write_bytes(data)
    for source in (path, tmp_path):
        with pytest.raises(InputError, match=rf"1\.{suffix}: its images are declared as \d+ x \d+ pixels"):
            ImageSequence(source, 30)
    assert dataset.decode_image(np.frombuffer(data, np.uint8)) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jpeg"])
def test_what_an_image_declares_is_what_it_has(tmp_path: Path, suffix: str) -> None:
    for k, (width, height) in enumerate(((1, 1), (37, 53), (640, 3), (300, 301))):
        path = tmp_path / f"{k}{suffix}"
        cv2.imwrite(str(path), clips.portrait(width, height))
        assert declared_size(path.read_bytes()) == (width, height)
        picture = read_image(path)
        assert picture is not None
        assert picture.shape == (height, width, 3)
        for length in range(0, min(path.stat().st_size, 200), 7):
            declared_size(path.read_bytes()[:length])  # never an error


def y4m(folder: Path, header: str, frames: int = 1, size: tuple[int, int] = (64, 48)) -> Path:
    path = folder / "clip.y4m"
    body = b"FRAME\n" + bytes(size[0] * size[1] * 3 // 2)
    path.write_bytes(f"YUV4MPEG2 {header}\n".encode() + body * frames)
    return path


@pytest.mark.parametrize("header", ["W12000 H12000 F25:1", "W40000 H100 F25:1", "W64 H48 F25:1 A100000:1"])
def test_a_video_that_declares_too_much_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"clip\.y4m: its images are declared as \d+ x \d+ pixels"):
        open_source(y4m(tmp_path, header))


def test_dimensions_beyond_all_decoders_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.y4m: "):
        open_source(y4m(tmp_path, "W100000 H100000 F25:1"))


@pytest.mark.parametrize("rate", ["1000000000:1", "1:1000000000", "0:0"])
def test_absurd_frame_rates_only_make_absurd_times(tmp_path: Path, rate: str) -> None:
    source = open_source(y4m(tmp_path, f"W64 H48 F{rate}", frames=3))
    times = [frame.time for frame in source.frames()]
    assert len(times) == 3
    assert times == sorted(times)


def test_what_fits_is_16k_and_no_more() -> None:
    assert fits(15_360, 8_640)
    assert not fits(0, 5)
    assert MAX_PIXELS * 3 < 1 << 29


@pytest.mark.parametrize("bomb", ["shape", "ratio"])
def test_raw_scores_that_declare_too_much_are_refused(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "talk.raw.npz"
    if bomb == "ratio":  # 128 MB in 128 kB
        np.savez_compressed(path, index=np.zeros(1 << 24, np.int64))
    else:  # 8 TiB in nothing
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({1 << 40},), }}".ljust(117) + "\n"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("index.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode())
    with pytest.raises(InputError, match=r"would unpack to|declares more than it holds"):
        raw_scores.read(path)
    with pytest.raises(InputError, match=r"would unpack to|declares more than it holds"):
        npz.arrays(path, ["index"], "FER+")


def test_a_sidecar_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text('{"recipe":' * 100_000)
    with pytest.raises(InputError, match="not a sidecar"):
        sidecar.read(tmp_path / "talk.json")


# --- files that name other files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile clip.mp4\n"),
        ("list.mpd", "<MPD><Period><BaseURL>{clip}</BaseURL></Period></MPD>"),
        ("list.sdp", "v=0\nm=video 5004 RTP/AVP 96\n"),
    ],
)
def test_a_play_list_reads_no_other_file(tmp_path: Path, name: str, content: str) -> None:
    clips.write(tmp_path / "clip.mp4", [clips.portrait(64, 48)] * 3)
    (tmp_path / name).write_text(content.format(clip=tmp_path / "clip.mp4"))
    with pytest.raises(InputError, match="not a readable video"):
        VideoFile(tmp_path / name)


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "{absolute}"])
def test_a_table_of_labels_names_only_what_lies_beside_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "secret.jpg"), clips.portrait(64, 48))
    name = name.format(absolute=tmp_path / "secret.jpg")
    (folder / "labels.csv").write_text(f"image,label\n{name},neutral\n")
    text = f'name = "n"\narchitecture = "mobilefacenet"\n[[source]]\nkind = "folder"\npath = "{folder}"\n'
    (tmp_path / "plan.toml").write_text(text + "[[stage]]\nepochs = 1\n")
    made = config.read(tmp_path / "plan.toml")
    with pytest.raises(InputError, match=r"labels\.csv, line 2: the image .* is not in"):
        dataset_readers._folder(made.sources[0], made)


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_a_graph_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    np.arange(12, dtype=np.float32).tofile("numbers.bin")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[3, 4], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="numbers.bin")
    constant = [onnx.helper.make_node("Constant", [], ["w"], value=weight)] if where == "attribute" else []
    bias = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "b")
    graph = onnx.helper.make_graph(
        [*constant, onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 4])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 3])],
        [bias] if constant else [weight, bias],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(ModelUnavailable, match="stores weights in other files"):
        engines.OnnxEngine(model.SerializeToString(), ("y", "x"), 1)


def test_a_link_in_the_output_is_replaced_and_not_written_through(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("smile.csv", "smile.json", "smile.raw.npz"):
        (out / name).symlink_to(tmp_path / "precious.txt")
        atomic_files.temporary(out / name).symlink_to(tmp_path / "precious.txt")
    command = ["annotate", smile, "-o", out, "--every", "6", "--model", "mp-blendshapes"]
    refused = invoke(*command)
    assert refused.exit_code == 2 and "not recognised as written by hsemotion" in refused.stderr
    assert (out / "smile.csv").is_symlink() and (tmp_path / "precious.txt").read_text() == "mine"
    done = invoke(*command, "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert {path.name: path.is_symlink() for path in out.iterdir()} == dict.fromkeys(
        ("smile.csv", "smile.json", "smile.raw.npz"), False
    )


# --- what is written and printed --------------------------------------------------------------------------------------


def test_a_table_holds_no_text_of_others(smile: Path, tmp_path: Path) -> None:
    video = tmp_path / "=HYPERLINK([bold]x[red]\x1b[31m).mp4"
    video.write_bytes(smile.read_bytes())
    done = invoke("annotate", video, "-o", tmp_path / "out", "--every", "3", "--model", "mp-blendshapes")
    assert done.exit_code == 0, done.stderr
    assert "[bold]x[red]\\x1b[31m" in done.stdout.replace("\n", "").replace(" ", ""), "shown as it is, and not obeyed"
    assert "\x1b" not in done.stdout + done.stderr
    (table,) = (tmp_path / "out").glob("*.csv")
    texts = {column.name for column in schema.COLUMNS if column.type == "text"}
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 4
    for row in rows:
        for name, cell in row.items():
            if name in texts:
                assert cell in {"", *EXPRESSIONS, *COMPOUNDS}
            elif cell:
                float(cell)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t"])
def test_a_name_that_would_be_a_formula_is_not_submitted(tmp_path: Path, first: str) -> None:
    (tmp_path / "list.txt").write_text(f"a/00001.jpg,0,0\n{first}1+1/00001.jpg,0,0\n")
    with pytest.raises(InputError, match=r"line 2: .* would be a formula in a spreadsheet"):
        lists.read(tmp_path / "list.txt", TRACKS["va"])
    (tmp_path / "clips.txt").write_text(f"Filename\n{first}00012\n")
    with pytest.raises(InputError, match=r"line 2: .* would be a formula in a spreadsheet"):
        lists.read(tmp_path / "clips.txt", TRACKS["emi"])


def test_a_message_cannot_command_a_terminal(tmp_path: Path) -> None:
    done = invoke("annotate", tmp_path / "a\x1b]0;x\x07\u202e\n.mp4", "-o", tmp_path / "out")
    assert done.exit_code == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()
    (tmp_path / "r.json").write_text('{"models": ["\x7f\\u001b[2J"]}')
    done = invoke("annotate", tmp_path / "x.mp4", "--recipe", tmp_path / "r.json", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.rstrip("\n").isprintable()


def test_a_page_shows_names_as_they_are() -> None:
    hostile = "x`\n\n# <script>|[a](b)"
    base = heads.Base(hostile, None, None, 2, 0)
    part = heads.Part("features", "tanh", ("valence", "arousal"), ((np.zeros((2, 2)), np.zeros(2)),))
    facts = {
        "terms": hostile,
        "data": {hostile: hostile},
        "plan_sha256": "0",
        "plan": {"seed": 0, "plans": {"valence_arousal": {"l2": 0}}},
        "rows": {},
        "videos": {},
        "epochs": {"valence_arousal": {"kept": 1, "of": 1}},
        "validation": {},
    }
    lines = head_card(heads.Head(hostile, "", "mtl", base, {"valence_arousal": part}, facts)).split("\n")
    assert sum(line.startswith("#") for line in lines) == 1
    for line in lines:
        outside = "".join(line.replace("\\`", "").split("`")[::2]) if "hsemotion annotate" not in line else ""
        assert "<script>" not in outside.replace("\\<script\\>", ""), line
        assert "[a](" not in outside.replace("\\[a\\](", ""), line


def test_memory_that_runs_out_is_reported(smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hsemotion_cli.media import discovery

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(discovery, "discover", exhausted)
    done = invoke("annotate", smile, "-o", tmp_path)
    assert done.exit_code == 3
    assert "not enough memory" in done.stderr
    assert "a bug" not in done.stderr


def test_a_folder_or_image_that_cannot_be_read_reports_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1\.png: cannot be read"):
        read_image(tmp_path / "1.png")
    (tmp_path / "1.png").mkdir()
    with pytest.raises(InputError, match=r"1\.png: cannot be read"):
        read_image(tmp_path / "1.png")
    with pytest.raises(InputError, match="gone: cannot be read"):
        ImageSequence(tmp_path / "gone", 30)


@pytest.mark.parametrize("name", ["..", "../a", "a/../b", "/etc", "a\\b", "."])
def test_a_name_in_a_list_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "pictures.txt").write_text(f"a/00001.jpg\n{name}/00001.jpg\n")
    with pytest.raises(InputError, match="line 2"):
        lists.read(tmp_path / "pictures.txt", TRACKS["va"])
    (tmp_path / "videos.txt").write_text(f"a\n{name}\n")
    with pytest.raises(InputError, match="line"):
        lists.read(tmp_path / "videos.txt", TRACKS["va"])


def test_every_promise_names_a_test_that_is_there() -> None:
    root = Path(__file__).parent.parent
    text = (root / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    promises = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| guarantee")]
    assert all("`tests/" in line for line in promises)
    for file, test in named:
        assert f"def {test}(" in (root / file).read_text(), f"{file}::{test}"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("x", "1e999"),
        ("x", "9" * 400),
        ("frame", "2.5"),
        ("frame", "null"),
        ("w", '"wide"'),
        ("expression", "7"),
        ("y", "[]"),
    ],
)
def test_a_cell_of_another_type_is_named(smile: Path, tmp_path: Path, name: str, cell: str) -> None:
    row = {column.name: None for column in schema.COLUMNS} | {"frame": 0, "time": 0.0}
    text = json.dumps(row)
    table = tmp_path / "t.jsonl"
    table.write_text(re.sub(rf'"{name}": [^,}}]+', lambda _: f'"{name}": {cell}', text) + "\n")
    done = invoke("render", smile, table, "-o", tmp_path / "o.mp4")
    assert done.exit_code == 4, done.stderr
    assert "t.jsonl: not a table made by annotate" in done.stderr
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("name", ["round", "round.mp4", "7.png"])
@pytest.mark.parametrize("command", ["batch", "annotate"])
def test_a_link_round_in_a_circle_is_passed_over(tmp_path: Path, command: str, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).symlink_to(folder / name)
    done = invoke(command, folder, "-o", tmp_path / "out")
    assert done.exit_code == 4, done.stderr
    assert "in this folder" in done.stderr


def test_an_image_that_grows_in_mid_video_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k, size in enumerate([(64, 48)] * 3 + [(40_000, 16)]):
            packet = av.Packet(
                cv2.imencode(".jpg", clips.portrait(64, 48) if k < 3 else clips.blank(*size))[1].tobytes()
            )
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, k, k, Fraction(1, 25)
            container.mux(packet)
    seen = []
    with pytest.raises(InputError, match="declared as 40000 x 16 pixels"):
        for frame in open_source(tmp_path / "clip.avi").frames():
            seen.append(frame.index)
    assert seen == [0, 1, 2]


def test_an_endless_key_is_quoted_in_part(tmp_path: Path) -> None:
    for name, option in (("recipe.toml", "--recipe"), ("plan.toml", "")):
        (tmp_path / name).write_text("x" * 100_000 + " = 1\n")
        words = ["annotate", "x.mp4", option, tmp_path / name] if option else ["train", "finetune", tmp_path / name]
        done = invoke(*words, "-o", tmp_path / "out")
        assert done.exit_code == 2
        assert name in done.stderr
        assert len(done.stderr) < 1500


@pytest.mark.parametrize("recipe", ["7", "[]", '{"models": ["none-such"]}', '{"models": [7]}', "null"])
def test_a_sidecar_with_another_recipe_is_named(smile: Path, tmp_path: Path, recipe: str) -> None:
    assert invoke("annotate", smile, "-o", tmp_path, "--every", "6", "--model", "mp-blendshapes").exit_code == 0
    content = json.loads((tmp_path / "smile.json").read_text())
    (tmp_path / "smile.json").write_text(json.dumps({**content, "recipe": json.loads(recipe)}))
    done = invoke("smooth", tmp_path / "smile.csv", "-o", tmp_path / "out")
    assert done.exit_code == 4, done.stderr
    assert str(tmp_path / "smile.") in done.stderr
    assert "a bug" not in done.stderr
