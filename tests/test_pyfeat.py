"""py-feat reads our files. It needs torch, xgboost and more, so it is looked for but never required."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tables
from typer.testing import CliRunner

from hsemotion_cli.cli import app

PYTHON = os.environ.get("HSEMOTION_FEAT_PYTHON") or (sys.executable if importlib.util.find_spec("feat") else "")
"""A Python that has py-feat."""

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_pyfeat.py"


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not PYTHON:
        pytest.skip("py-feat is not installed; HSEMOTION_FEAT_PYTHON may name a Python that has it")
    folder = tmp_path_factory.mktemp("feat")
    angles = {"head_pitch": 10.0, "head_yaw": -5.0, "head_roll": 2.0, "gaze_pitch": 3.0, "gaze_yaw": 4.0, "blink": 1}
    rows = [tables.face(k, k / 25, face, **angles) for k in range(10) for face in (0, 3)] + [tables.nobody(10, 0.4)]
    tables.write_table(folder / "talk.csv", rows)
    done = CliRunner().invoke(app, ["export", f"{folder}/talk.csv", "--to", "openface,pyfeat", "-o", str(folder), "-q"])
    assert done.exit_code == 0, done.output
    command = [PYTHON, str(SCRIPT), str(folder / "talk.openface.csv"), str(folder / "talk.fex.csv")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(printed.stdout.splitlines()[-1])
    return found


def test_read_openface_takes_our_csv(read: dict[str, Any]) -> None:
    openface = read["openface"]
    assert (openface["detector"], openface["rows"]) == ("OpenFace", 21)
    assert openface["time"] == {"frame": 1, "timestamp": 0.0}
    assert {"confidence", "success", "pose_Rx", "gaze_angle_x", "AU12_c", "AU45_c"} <= set(openface["columns"])


def test_read_feat_takes_our_csv_for_one_of_its_second_detector(read: dict[str, Any]) -> None:
    fex = read["pyfeat"]
    first = tables.face(0, 0.0)
    assert (fex["detector"], fex["rows"]) == ("Detectorv2", 21)
    assert fex["emotions"]["Happy"] == first["p_happiness"] and fex["emotions"]["Neutral"] == first["p_neutral"]
    assert sum(fex["emotions"].values()) == pytest.approx(1)
    assert fex["aus"]["AU12"] == first["AU12_p"] and len(fex["aus"]) == 12
    assert fex["faceboxes"]["FaceRectX"] == first["x"] and fex["faceboxes"]["FaceScore"] == first["det_score"]
    assert fex["poses"]["Pitch"] == pytest.approx(math.radians(10), abs=1e-6) and fex["poses"]["X"] is None
    assert read["people"] == {"face 0": 10, "face 3": 10}
