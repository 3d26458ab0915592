"""An option that has no effect on what was given is refused, with its name and a reason, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import clips
import cv2
import pytest
import tables
import tifffiles
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

from hsemotion_cli.cli import app
from hsemotion_cli.commands import catalogue
from hsemotion_cli.commands.signature import option_facts
from hsemotion_cli.commands.unread_options import not_read
from hsemotion_cli.errors import UsageError
from hsemotion_cli.exports.catalogue import FORMATS
from hsemotion_cli.media.source import DecodeOptions
from hsemotion_cli.media.video import open_source, source_class

KINDS = ("VideoFile", "ImageSequence", "AnimatedImage", "TiffStack", "PhotoFolder")
VALUES = {
    "image-fps": ("25",), "stream": ("0",), "video-fps": ("25",), "deinterlace": ("on",), "rotate": ("90",),
    "region": ("0,0,64,64",), "crops": (), "start": ("0",), "end": ("9",), "fps": ("5",), "every": ("1",), "clock": (),
}  # fmt: skip
"""Option -> its value on the command line."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(done: Result, option: str) -> bool:
    """Whether a command ended with a sentence about this option."""
    sentence = " ".join(done.output.split())
    return done.exit_code == 2 and f"--{option}" in sentence and "leave it out." in sentence


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a source class -> a source that it reads, with two different images."""
    root = tmp_path_factory.mktemp("sources")
    images = [clips.corners(), clips.corners()[::-1].copy()]
    clips.write(root / "clip.mp4", images)
    for folder, stems in {"numbered": ("00001", "00002"), "photos": ("ann", "bob")}.items():
        (root / folder).mkdir()
        for stem, image in zip(stems, images, strict=True):
            cv2.imwrite(str(root / folder / f"{stem}.png"), image)
    (root / "stack.tif").write_bytes(tifffiles.stack(images))
    first, second = map(Pillow.fromarray, images)
    first.save(root / "moves.webp", save_all=True, append_images=[second], duration=40)
    names = ("clip.mp4", "numbered", "moves.webp", "stack.tif", "photos")
    return dict(zip(KINDS, (root / name for name in names), strict=True))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [tables.face(k, k / 25) for k in range(50)]
    return tables.write_table(tmp_path_factory.mktemp("tables") / "talk.csv", rows)


def test_every_kind_of_source_is_here(sources: dict[str, Path]) -> None:
    assert {name: source_class(path).__name__ for name, path in sources.items()} == {name: name for name in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_reads_all_options_but_those_that_are_refused(
    kind: str, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a source reads of its options while it is opened and decoded, watched from outside."""
    path, seen = sources[kind], set[str]()
    options = DecodeOptions()
    whole = object.__getattribute__

    def watched(self: DecodeOptions, name: str) -> Any:
        seen.add(name)
        return whole(self, name)

    monkeypatch.setattr(DecodeOptions, "__getattribute__", watched)
    list(open_source(path, options).frames())
    monkeypatch.undo()
    fields = ("image_fps", "stream", "video_fps", "deinterlace", "rotate", "region")  # --clock is read of the result
    unread = {name.replace("_", "-") for name in fields if name not in seen}
    assert unread == {name for name in not_read(path) if name.replace("-", "_") in fields}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["annotate", "batch", "extract", "render", "submit"])
def test_commands_refuse_what_a_source_does_not_read(
    command: str, kind: str, sources: dict[str, Path], table: Path, tmp_path: Path
) -> None:
    path = sources[kind]
    (tmp_path / "list.txt").write_text("image_location\nclip/00001.jpg\n")
    wanted: dict[str, tuple[object, ...]] = {
        "annotate": (path, "-o", tmp_path / "out"),
        "batch": (path, "-o", tmp_path / "out", "--dry-run"),
        "extract": (path, "-o", tmp_path / "out"),
        "render": (path, table, "-o", tmp_path / "out.mp4"),
        "submit": (path, "--track", "expr", "--list", tmp_path / "list.txt", "-o", tmp_path / "out.txt"),
    }
    options = set(option_facts(catalogue.function(catalogue.COMMANDS[command]))) & set(VALUES)
    assert options >= {"image-fps", "stream", "video-fps", "deinterlace"}
    for option in sorted(options & set(not_read(path))):
        done = run(command, *wanted[command], f"--{option}", *VALUES[option])
        assert refused(done, option), (option, done.output)
    assert {each.name for each in tmp_path.iterdir()} == {"list.txt"}


@pytest.mark.parametrize("option", ["crops", "image-fps", "stream", "video-fps", "deinterlace", "rotate", "region"])
def test_submit_on_tables_refuses_what_is_for_videos(option: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("image_location\ntalk/00001.jpg\n")
    common = ("--list", tmp_path / "list.txt", f"--{option}", *VALUES[option])
    for track in ("expr", "emi"):
        done = run("submit", table, "--track", track, "-o", tmp_path / "out.txt", *common)
        assert refused(done, option), done.output
    done = run("submit", "--track", "expr", "--validate", tmp_path / "out.txt", *common)
    assert refused(done, option), done.output


def test_one_source_that_reads_an_option_is_enough(sources: dict[str, Path], tmp_path: Path) -> None:
    both = (sources["VideoFile"], sources["ImageSequence"])
    done = run("batch", *both, "-o", tmp_path, "--dry-run", "--image-fps", "25", "--deinterlace", "on")
    assert done.exit_code == 0, done.output
    done = run("batch", tmp_path / "gone.mp4", "-o", tmp_path, "--dry-run", "--image-fps", "25")
    assert not refused(done, "image-fps"), "a source that cannot be opened is reported itself"


def test_defaults_of_the_user_that_do_not_apply_are_no_fault(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSEMOTION_IMAGE_FPS", "25")
    assert run("batch", sources["VideoFile"], "-o", tmp_path, "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    "option", [("--faces", "2"), ("--min-face", "40"), ("--det-threshold", "0.5"), ("--fov", "60")]
)
def test_given_crops_need_no_option_about_finding_faces(
    option: tuple[str, str], sources: dict[str, Path], tmp_path: Path
) -> None:
    done = run("annotate", sources["ImageSequence"], "-o", tmp_path / "out", "--crops", *option)
    assert refused(done, option[0].removeprefix("--")), done.output
    assert not (tmp_path / "out").exists()


LINES: dict[str, tuple[str, str]] = {
    "extract-model": ("extract CLIP -o OUT --audio --model mp-blendshapes", "model"),
    "extract-faces": ("extract CLIP -o OUT --audio --faces largest", "faces"),
    "extract-detector": ("extract CLIP -o OUT --audio --detector fast", "detector"),
    "extract-image-fps": ("extract CLIP -o OUT --audio --image-fps 25", "image-fps"),
    "extract-backend": ("extract CLIP -o OUT --audio --backend openvino", "backend"),
    "extract-weights": ("extract CLIP -o OUT --weights x", "weights"),
    "batch-memory": ("batch CLIP -o OUT --dry-run --workers 1 --memory 2", "memory"),
    "evaluate-part": ("evaluate TABLE --truth FILE --track ce --part train", "part"),
    "evaluate-seed": ("evaluate TABLE --truth FOLDER --track expr --bootstrap 0 --seed 1", "seed"),
    "tune-part": ("tune TABLE --truth FILE --track expr --part train -o OUT/r.toml", "part"),
    "agree-seed": ("agree TABLE --coding FILE -o OUT --bootstrap 0 --seed 1", "seed"),
    "agree-map": ("agree TABLE --coding TABLE -o OUT --map a=smile", "map"),
    "agree-tier": ("agree TABLE --coding TABLE -o OUT --tier a", "tier"),
    "summary-correct": ("summary TABLE -o OUT.csv --correct z", "correct"),
    "calibrate-person": ("calibrate TABLE --coding FILE -o OUT.toml --person ann", "person"),
    "calibrate-map": ("calibrate TABLE --neutral 0-1 -o OUT.toml --map a=smile", "map"),
    "calibrate-keep-all": ("calibrate TABLE --neutral 0-1 -o OUT.toml --keep-all", "keep-all"),
    "calibrate-seed": ("calibrate TABLE --neutral 0-1 -o OUT.toml --seed 1", "seed"),
    "people-videos": ("people CLIP -o OUT.csv --videos FOLDER", "videos"),
    "bench-people": ("bench CLIP --people 2", "people"),
    "bench-height": ("bench CLIP --height 480", "height"),
    "bench-seconds": ("bench CLIP --seconds 1", "seconds"),
    "bench-minutes": ("bench --minutes 3", "minutes"),
    "train-heads-val-share": ("train heads FOLDER --truth FILE --val-truth FILE --val-share 0.3 -o OUT.safetensors",
                              "val-share"),
    "train-finetune-workers": ("train finetune FILE --samples FILE --workers 2 -o OUT", "workers"),
}  # fmt: skip
"""Case -> command line, and the option in it that has no effect beside the others."""


@pytest.mark.parametrize("case", LINES)
def test_options_without_effect_are_refused(case: str, sources: dict[str, Path], table: Path, tmp_path: Path) -> None:
    line, option = LINES[case]
    (tmp_path / "list.csv").write_text("recording,onset,offset,label\ntalk,0,1,smile\n")
    words: dict[str, Path] = {
        "CLIP": sources["VideoFile"], "TABLE": table, "FILE": tmp_path / "list.csv", "FOLDER": table.parent,
    }  # fmt: skip
    arguments = [str(words.get(word, word)).replace("OUT", str(tmp_path / "out")) for word in line.split()]
    done = run(*arguments)
    assert refused(done, option), done.output
    assert {path.name for path in tmp_path.iterdir()} <= {"list.csv", "out"}
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_export_refuses_what_a_format_does_not_use(name: str, table: Path, tmp_path: Path) -> None:
    """An option is refused exactly where giving it changes no byte of the files."""

    def exported(folder: str, *options: object) -> dict[str, bytes] | None:
        done = run("export", table, "--to", name, "-o", tmp_path / folder, "-q", *options)
        if done.exit_code == 2:
            assert refused(done, str(options[0]).removeprefix("--")), done.output
            return None
        assert done.exit_code == 0, done.output
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file() and "export" not in path.name]
        return {str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in files}

    plain = exported("plain")
    assert plain
    for number, option in enumerate([("--rate", 7), ("--media", table.parent), ("--min-duration", 5)]):
        assert exported(str(number), *option) != plain, option


def test_report_needs_the_folder_of_the_videos_of_a_folder_of_tables(sources: dict[str, Path], tmp_path: Path) -> None:
    tables.write_table(tmp_path / "tables" / "talk.csv", [tables.face(0, 0.0)], sidecar=False)
    done = run("report", tmp_path / "tables", "-o", tmp_path / "out", "--video", sources["VideoFile"])
    assert done.exit_code == 2 and "is a folder of tables" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_forgetting_people_takes_no_other_option(tmp_path: Path) -> None:
    done = run("people", "--gallery", tmp_path, "--forget", "ann", "--videos", tmp_path)
    assert done.exit_code == 2 and "nothing else" in " ".join(done.output.split())


def test_calls_from_python_are_checked_alike(sources: dict[str, Path], tmp_path: Path) -> None:
    """``call`` counts an option as given where its value is not the default."""
    from hsemotion_cli.commands import annotate
    from hsemotion_cli.commands.signature import call

    command: Callable[..., Any] = annotate.run
    with pytest.raises(UsageError, match="--image-fps: it is the frame rate of a folder of numbered images"):
        call(command, videos=[sources["VideoFile"]], out=tmp_path / "out", image_fps=25.0)
