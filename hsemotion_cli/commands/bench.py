"""``hsemotion bench``: a clip -> how fast each way of annotating it is, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from .options import FaceOptions, ModelOptions, Only, OutputOptions, RunningOptions


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured."""

    panel: ClassVar[str] = "Benchmark"

    peer: Annotated[bool, typer.Option("--peer", help="Also run emotiefflib with MTCNN, which must be installed.")] = (
        False
    )
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Also run synthetic clips with more faces, other sizes and more length.")
    ] = False
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds; the median counts.")] = 3
    only: Annotated[
        str | None, typer.Option(metavar="NAME[,NAME]", help="Run only these variants.", show_default="all")
    ] = None
    people: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Faces in the synthetic clip.")] = 1
    height: Annotated[
        int, typer.Option(metavar="PIXELS", min=120, max=4320, help="Height of the synthetic clip, 16:9.")
    ] = 720
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, help="Length of the synthetic clip.")] = 12.0
    minutes: Annotated[
        float, typer.Option(metavar="MINUTES", min=1, help="With --scaling: length of the longest clip.")
    ] = 2.0


def run(
    bench: BenchOptions,
    faces: Annotated[FaceOptions, Only("detector", "detect_every", "min_face")],
    models: Annotated[ModelOptions, Only("model", "stride")],
    running: Annotated[RunningOptions, Only("batch_size", "backend", "device", "precision", "threads")],
    output: Annotated[OutputOptions, Only("quiet", "json", "log")],
    video: Annotated[
        Path | None, typer.Argument(metavar="VIDEO", help="A video; without one a clip is drawn.", show_default=False)
    ] = None,
) -> None:
    """Measure how fast this machine annotates, where the time goes, and what each shortcut gains and costs.

    hsemotion bench talk.mp4

    hsemotion bench --people 4 --model enet_b0_8_va_mtl=enet_b0_8_va_mtl.onnx --peer
    """
    from ..runtime import malloc

    malloc.settle()
    import dataclasses

    from ..pipeline import Settings
    from . import bench_run
    from .console import print_json
    from .settings import chosen_models, how_to_run
    from .unread_options import refuse

    if video is not None:
        refuse(["people", "height", "seconds"], "a video was given, so no clip is drawn")
    if not bench.scaling:
        refuse(["minutes"], "it is for --scaling")
    recipe, given = chosen_models(models.model, None, detector=faces.detector)
    offline = dataclasses.replace(running, offline=True)  # nothing is downloaded while the clock runs
    settings = Settings(
        recipe=recipe,
        detector=faces.detector,
        detect_every=faces.detect_every,
        stride=models.stride,
        min_face=faces.min_face,
        batch_size=running.batch_size,
        running=dataclasses.replace(how_to_run(offline, given), progress=None),
    )
    clip = bench_run.Clip(bench.people, bench.height, bench.seconds)
    report = bench_run.report(
        settings, video, clip, repeat=bench.repeat, only=bench.only, peer=bench.peer,
        minutes=bench.minutes if bench.scaling else None, quiet=output.quiet or output.json,
    )  # fmt: skip
    if output.json:
        print_json(report)
    else:
        bench_run.show(report)
