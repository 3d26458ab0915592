"""Where the data lies, and clips that many tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
from hypothesis import settings

# No test is timed: one example may take long where other processes use the cores.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True, scope="session")
def no_defaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The defaults of the user who runs the tests have no effect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSEMOTION_CONFIG", str(tmp_path_factory.mktemp("config") / "config.toml"))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this system lacks; see the markers in pyproject.toml."""
    lacking = {
        "posix": (os.name != "posix", "needs what Windows lacks"),
        "linux": (not sys.platform.startswith("linux"), "needs Linux"),
    }
    for item in items:
        for name, (lacks, reason) in lacking.items():
            if lacks and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_videos() -> list[Path]:
    """Real clips that the project may not ship."""
    folder = SHARED / "data" / "videos"
    if not folder.is_dir():
        pytest.skip("needs the labelled clips of ../shared/data/videos, which are not here")
    return sorted(path for path in folder.rglob("*") if path.suffix in {".mp4", ".mov"})


@pytest.fixture(scope="session")
def samples() -> Path:
    """The clips that the project ships."""
    return ROOT / "sample_videos"


@pytest.fixture(scope="session")
def astronaut(samples: Path) -> np.ndarray:
    """A portrait, 512 x 512 pixels, RGB."""
    return clips.still(samples / "stills" / "astronaut.png")


@pytest.fixture(scope="session")
def smile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of one face, with sound."""
    path = tmp_path_factory.mktemp("clips") / "smile.mp4"
    clips.write(path, [clips.portrait(shift=2 * k) for k in range(12)], audio="aac")
    return path


@pytest.fixture(scope="session")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames without a face."""
    path = tmp_path_factory.mktemp("clips") / "nobody.mp4"
    clips.write(path, [clips.blank()] * 6)
    return path
