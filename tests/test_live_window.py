"""The window, on a display of its own (Xvfb); what it shows is read back from the display's own memory."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
from test_live import run, table, wait_for

from hsemotion_cli.live.window import Window, why_no_window

pytest.importorskip("tkinter", reason="this Python lacks tkinter")

WIDTH, HEIGHT = 1200, 700


@pytest.fixture
def display(tmp_path: Path) -> Iterator[Path]:
    """Name of a display in DISPLAY's form, and the file that holds its screen (XWD)."""
    if (program := shutil.which("Xvfb")) is None:
        pytest.skip("needs Xvfb")
    read, write = os.pipe()
    command = [program, "-displayfd", str(write), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen([*command, "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as number:
        os.environ["DISPLAY"], before = f":{number.readline().strip()}", os.environ.get("DISPLAY")
    yield tmp_path / "Xvfb_screen0"
    os.environ.pop("DISPLAY")
    if before is not None:
        os.environ["DISPLAY"] = before
    server.terminate()
    server.wait()


def screen(path: Path) -> np.ndarray:
    """(height, width, 3) RGB of an X window dump."""
    data = path.read_bytes()
    header = struct.unpack(">25I", data[:100])
    size, width, height, row, colours = header[0], header[4], header[5], header[12], header[19]
    pixels = np.frombuffer(data, np.uint8, count=row * height, offset=size + colours * 12)
    return pixels.reshape(height, row // 4, 4)[:, :width, 2::-1]


def test_the_window_shows_the_image_the_overlay_and_the_figures(display: Path, tmp_path: Path) -> None:
    """No window manager runs there, so the window is in the upper left corner, without a frame."""
    clip, plain = tmp_path / "v.mp4", clips.portrait(640, 480)
    clips.write(clip, [plain] * 600, rate=10)
    command = ["live", "--camera", clip, "-o", tmp_path / "out", "--name", "w", "--seconds", "60"]
    live = subprocess.Popen([sys.executable, "-m", "hsemotion_cli", *map(str, command)], stderr=subprocess.PIPE)
    wait_for(lambda: np.abs(screen(display)[400:480, :640].astype(int) - plain[400:]).mean() < 4, 100)
    shown = screen(display)
    drawn = (np.abs(shown[:480, :640].astype(int) - plain) > 60).any(axis=2)
    assert 0.002 < drawn.mean() < 0.5 and not drawn[:80].any()  # box and label, and nothing far from the face
    assert (shown[:480, 640:900] > 200).any()  # scores beside the image
    line = shown[485:505, :640]
    assert (line > 200).any() and np.median(line) < 40  # light letters on a dark ground
    live.terminate()
    errors = live.communicate(timeout=100)[1].decode()
    assert live.returncode == 0, errors
    assert table(tmp_path / "out" / "w.csv")


def test_a_key_closes_the_window_and_an_image_too_large_is_made_to_fit(display: Path) -> None:
    assert why_no_window() == ""
    window = Window("test", lambda: "figures")
    window.show(clips.portrait(1600, 1200), [{"frame": 0, "time": 0.0, "face_id": None}])
    window.update()
    window.update()
    assert window._photo.width() <= 0.9 * WIDTH and window._photo.height() <= 0.9 * HEIGHT
    window._root.focus_force()
    window._root.event_generate("<Escape>")
    window.update()
    assert window.closed
    window.update()  # does nothing any more
    window.destroy()


def test_without_a_display_there_is_a_sentence_and_a_table(
    smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    found = run("live", "--camera", smile, "-o", tmp_path, "--name", "w")
    assert found.exit_code == 0 and "no window is shown: there is no display" in found.output
    assert table(tmp_path / "w.csv")
