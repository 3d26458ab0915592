"""Does memory stay flat? Peak resident memory of annotating a short and a long 720p clip, and their ratio.

One minute of a moving portrait is encoded once; the long clip repeats its packets. Each clip is annotated by a process
of its own, whose peak is what the operating system says when it ends.
Run: python scripts/bench_memory.py [--minutes 1 10] [--overlay]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from hsemotion_cli.media.images import read_image

STILL = Path(__file__).parent.parent / "sample_videos" / "stills" / "astronaut.png"
RATE = 25


def main() -> None:
    """Make the clips, annotate them, print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs=2, default=[1, 10])
    parser.add_argument("--overlay", action="store_true")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        minute = folder / "minute.mp4"
        draw(minute)
        for minutes in options.minutes:
            clip = folder / f"{minutes}min.mp4"
            repeat(minute, clip, minutes)
            extra = ["--overlay"] if options.overlay else []
            command = [sys.executable, "-m", "hsemotion_cli", "annotate", str(clip), "-o", str(folder), "-q", *extra]
            began = time.perf_counter()
            process = subprocess.Popen(command)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"annotate ended with status {status}")
            rows = sum(1 for _ in (folder / f"{minutes}min.csv").open()) - 1
            peaks.append(usage.ru_maxrss / 1024)
            seconds = time.perf_counter() - began
            print(f"{minutes:>3} min: {rows} rows, peak {peaks[-1]:.0f} MiB, {rows / seconds:.0f} rows/s", flush=True)
    print(f"ratio of peaks: {peaks[1] / peaks[0]:.3f}")


def draw(path: Path) -> None:
    """One minute of 1280 x 720: the portrait sways and comes closer."""
    portrait = read_image(STILL)
    assert portrait is not None, STILL
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for k in range(60 * RATE):
            t = k / RATE
            matrix = cv2.getRotationMatrix2D((225, 140), 6 * np.sin(t), 1.6 + 0.2 * np.sin(0.7 * t))
            matrix[:, 2] += (415 + 60 * np.sin(0.9 * t), 220 + 30 * np.sin(1.1 * t))
            picture = cv2.warpAffine(portrait, matrix, (1280, 720), borderMode=cv2.BORDER_REPLICATE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), format="rgb24")))
        container.mux(stream.encode())


def repeat(source: Path, path: Path, times: int) -> None:
    """The same packets several times, one after the other."""
    with av.open(str(path), "w") as output:
        stream = None
        for k in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                assert video.time_base is not None
                shift = round(k * 60 / video.time_base)
                for packet in container.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    output.mux(packet)


if __name__ == "__main__":
    main()
