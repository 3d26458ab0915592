"""What a training run leaves for people: images that show the log and the matrix, and a page that holds the facts."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from numpy.typing import NDArray
from PIL import Image

from hsemotion_cli.errors import ModelUnavailable, OutputError
from hsemotion_cli.models import model_file, registry
from hsemotion_cli.models.cards import HALF, IMAGENET, NetworkSpec, network_card
from hsemotion_cli.models.weights import checksums
from hsemotion_cli.reporting import score_plots
from hsemotion_cli.tasks import ACTION_UNITS
from hsemotion_cli.training import config
from hsemotion_cli.training import figures as training_figures
from hsemotion_cli.training.model_card import model_card

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")

Pixels = NDArray[np.int64]


# --- images -------------------------------------------------------------------------------------------------


def a_log(rows: int = 6, stages: tuple[int, ...] = (), part: str = "calibration") -> list[dict[str, Any]]:
    """A log as a run notes it; ``stages`` are the rows of each but the last."""
    ends = np.cumsum(stages)
    log: list[dict[str, Any]] = []
    for k in range(rows):
        t = (k + 1) / rows
        row = {"stage": int(np.searchsorted(ends, k, side="right")), "epoch": k + 1.0, "step": 100 * (k + 1)}
        row |= {"rate": 2e-3 * (1.01 - t), "loss": 3 - t, "expression": 1.8 - t / 2, "valence_arousal": 0.6 - t / 4}
        row |= {"action_units": 0.6 - t / 4 + 0.1, f"{part}_accuracy": 0.5 + t / 3, f"{part}_f1": 0.4 + t / 4}
        row |= {f"{part}_ccc_valence": 0.6 - t / 9, f"{part}_ccc_arousal": 0.3 + t / 9, f"{part}_au_f1": 0.2 + t / 9}
        log.append({**row, "seconds": 60.0 * k})
    return log


def changed(log: list[dict[str, Any]], row: int, **values: Any) -> list[dict[str, Any]]:
    return [{**entry, **values} if k == row % len(log) else entry for k, entry in enumerate(log)]


def pixels(path: Path) -> Pixels:
    with Image.open(path) as picture:
        picture.verify()  # the checksums of all chunks
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"), np.int64)


def of_colour(picture: Pixels, colour: str) -> NDArray[np.bool_]:
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.abs(picture - wanted).max(axis=2) <= 3


def drawn(tmp_path: Path, log: list[dict[str, Any]], name: str = "curves.png") -> Pixels:
    pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    score_plots.curves(log, tmp_path / name, "a run")
    return pixels(tmp_path / name)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    """The curves of ``a_log()``."""
    return drawn(tmp_path_factory.mktemp("usual"), a_log())


def test_curves_are_a_plot_of_the_expected_size_and_the_same_every_time(tmp_path: Path) -> None:
    first = drawn(tmp_path, a_log(2), "1.png")
    assert first.shape == (score_plots.CURVES_SIZE[1], score_plots.CURVES_SIZE[0], 3)
    drawn(tmp_path, a_log(2), "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"1.png", "2.png"}


@pytest.mark.parametrize(
    ("column", "value", "top", "bottom"),
    [
        ("loss", 2.75, 0.04, 0.43),
        ("expression", 1.3, 0.04, 0.43),
        ("valence_arousal", 0.3, 0.04, 0.43),
        ("action_units", 0.9, 0.04, 0.43),
        ("calibration_accuracy", 0.6, 0.43, 0.81),
        ("calibration_f1", 0.7, 0.43, 0.81),
        ("calibration_ccc_valence", 0.4, 0.43, 0.81),
        ("calibration_ccc_arousal", 0.6, 0.43, 0.81),
        ("calibration_au_f1", 0.5, 0.43, 0.81),
        ("rate", 0.0015, 0.81, 0.97),
    ],
)
def test_each_column_is_drawn_in_its_own_panel(
    tmp_path: Path, usual: Pixels, column: str, value: float, top: float, bottom: float
) -> None:
    other = drawn(tmp_path, changed(a_log(), 3, **{column: value}))
    difference = np.abs(usual - other).max(axis=2) > 64
    height, width = difference.shape
    rows, columns = np.nonzero(difference)
    assert len(rows) > 100
    assert rows.min() > top * height
    assert rows.max() < bottom * height
    # Between the rows beside the changed one, of six; the legend's last values are the same.
    assert 0.4 * width < columns.min() < columns.max() < 0.7 * width


@pytest.mark.parametrize("rising", [True, False])
def test_steps_run_to_the_right_and_losses_upwards(tmp_path: Path, rising: bool) -> None:
    values = [0.2, 0.6, 1.0] if rising else [1.0, 0.6, 0.2]
    picture = drawn(tmp_path, [{"step": 10 * k, "expression": value} for k, value in enumerate(values)])
    rows, columns = np.nonzero(of_colour(picture, "#0072B2")[:, :850])
    slope = np.polyfit(columns, rows, 1)[0]
    assert (slope < -0.2) if rising else (slope > 0.2)


def test_what_a_run_does_not_train_is_not_drawn(tmp_path: Path, usual: Pixels) -> None:
    log = [{key: value for key, value in row.items() if "au" not in key and "action" not in key} for row in a_log()]
    part = drawn(tmp_path, log)
    assert of_colour(usual, "#009E73").sum() > 500
    assert not of_colour(part, "#009E73").any()
    assert of_colour(part, "#0072B2").sum() > 500


@pytest.mark.parametrize("part", ["calibration", "validation"])
def test_one_row_shows_its_values(tmp_path: Path, part: str) -> None:
    picture = drawn(tmp_path, a_log(1, part=part))
    for colour in ("#222222", "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00"):
        assert of_colour(picture[:, :925], colour).sum() > 20  # beside the legend


def test_numbers_that_are_none_leave_gaps(tmp_path: Path, usual: Pixels) -> None:
    gaps = [
        drawn(tmp_path, changed(a_log(), 3, expression=nothing, calibration_f1=nothing, rate=nothing))
        for nothing in (math.nan, math.inf, None, "")
    ]
    assert all((gap == gaps[0]).all() for gap in gaps)
    # Two of the five lines between six rows are gone; what else there is is as it was.
    for colour, least, most in (("#0072B2", 0.4, 0.8), ("#666666", 0.4, 0.8), ("#D55E00", 0.98, 1.02)):
        share = of_colour(gaps[0], colour)[:, :900].sum() / of_colour(usual, colour)[:, :900].sum()
        assert least < share < most


def test_a_log_read_from_its_file_gives_the_same_plot(tmp_path: Path) -> None:
    text = [{key: str(value) for key, value in row.items()} for row in a_log(stages=(2,))]
    assert (drawn(tmp_path, text) == drawn(tmp_path, a_log(stages=(2,)))).all()


@pytest.mark.parametrize(
    "log",
    [
        [],
        [{}],
        [{"step": 0, "loss": 0.0, "rate": 0.0}],
        [{"step": "", "loss": 1.0}],
        [{"step": 5, "stage": 0, "loss": math.nan, "calibration_f1": math.nan, "rate": math.nan}],
        [{"step": 1, "stage": "x", "loss": -1.0}, {"step": 2, "loss": 1.0, "new_task": 4.0}],
        [{"step": 1, "stage": 0, "loss": 1e-9}, {"step": 1, "stage": 1, "loss": 1e9, "rate": 1e-12}],
        [{"step": 1, "calibration_f1": 0.1, "validation_f1": 0.2}],
    ],
)
def test_odd_logs_are_drawn_without_a_warning(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    assert drawn(tmp_path, log).shape[:2] == score_plots.CURVES_SIZE[::-1]


def test_losses_of_very_different_sizes_can_all_be_seen(tmp_path: Path) -> None:
    """On an axis from 0 the small one would lie flat on the ground."""
    log = [{"step": k, "attention": 90.0, "expression": value} for k, value in enumerate([0.8, 0.4, 0.1])]
    rows, columns = np.nonzero(of_colour(drawn(tmp_path, log), "#0072B2")[:, :850])
    assert rows[columns > 700].mean() - rows[columns < 200].mean() > 40


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn while a test runs."""
    figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib to draw")
    found: list[Any] = []
    save = figure.Figure.savefig

    def kept(self: Any, *arguments: Any, **named: Any) -> None:
        found.append(self)
        save(self, *arguments, **named)

    monkeypatch.setattr(figure.Figure, "savefig", kept)
    return found


def test_only_where_one_stage_follows_another_is_a_line(tmp_path: Path, figures: list[Any]) -> None:
    score_plots.curves(a_log(12, stages=(3, 6)), tmp_path / "curves.png", "a run")
    for axes in figures[0].axes:
        lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
        assert lines == [[300, 300], [900, 900]]


def changed_columns(one: Pixels, other: Pixels) -> list[int]:
    """Where two images differ inside the panel of the rate, in which nothing is written: thin lines only."""
    columns = np.flatnonzero((one != other).any(axis=2)[890:1000].any(axis=0))
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 8) + 1) if len(columns) else []
    assert all(len(group) <= 6 for group in groups)
    return [int(group.mean()) for group in groups]


def test_a_line_marks_where_a_stage_ends(tmp_path: Path, usual: Pixels) -> None:
    assert (usual == drawn(tmp_path, a_log(stages=(6,)))).all()  # one stage, nothing to tell apart
    after = {rows: drawn(tmp_path, a_log(12, stages=(rows,))) for rows in (3, 6, 9)}
    third, sixth = changed_columns(after[3], after[6])
    assert changed_columns(after[6], after[9]) == pytest.approx([sixth, 2 * sixth - third], abs=2)
    assert sixth - third > 150
    assert changed_columns(after[3], drawn(tmp_path, a_log(12, stages=(3, 6)))) == pytest.approx(
        [2 * sixth - third], abs=2
    )
    # The line stands where the stage's last row is.
    marks = drawn(tmp_path, [*a_log(12)[:3], {"step": 1200}, {"step": 1200, "stage": 1}])
    columns = np.flatnonzero(of_colour(marks, "#666666")[850:1000].any(axis=0))
    assert columns.max() - 8 <= third <= columns.max()


def matrix(counts: Any, tmp_path: Path, classes: tuple[str, ...] | None = None, **more: Any) -> Pixels:
    pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    names = classes or CLASSES[: len(counts)]
    score_plots.confusion({"confusion": counts, **more}, names, tmp_path / "matrix.png", "a run: a set")
    return pixels(tmp_path / "matrix.png")


def fields(picture: Pixels) -> NDArray[np.int64]:
    """(2, 2, 3): the colours of the fields of a matrix of two classes, beside what is written in them."""
    height, width = picture.shape[:2]
    return np.array([[picture[int(y * height), int(x * width)] for x in (0.2, 0.7)] for y in (0.2, 0.7)])


def test_a_matrix_has_truth_in_rows_and_their_shares_as_colours(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    picture = matrix([[30, 10], [0, 2000]], tmp_path)
    assert picture.shape == (score_plots.CONFUSION_SIZE[1], score_plots.CONFUSION_SIZE[0], 3)
    blues = matplotlib.colormaps["Blues"]
    expected = [[blues(share)[:3] for share in row] for row in ([0.75, 0.25], [0.0, 1.0])]
    assert np.abs(fields(picture) - 255 * np.array(expected)).max() <= 2
    assert (fields(matrix([[3, 1], [0, 0]], tmp_path))[1] == 0xEE).all()


def test_a_matrix_shows_counts_classes_and_figures(tmp_path: Path) -> None:
    pictures = [
        matrix([[1, 1], [1, 1]], tmp_path),
        matrix([[2, 2], [2, 2]], tmp_path),
        matrix([[1, 1], [1, 1]], tmp_path, ("fear", "anger")),
        matrix([[1, 1], [1, 1]], tmp_path, accuracy=0.5),
        matrix([[1, 1], [1, 1]], tmp_path, accuracy=0.5, f1=0.5),
    ]
    for one, other in itertools.combinations(pictures, 2):
        assert (one != other).any()
    assert (matrix([[1, 1], [1, 1]], tmp_path, f1=math.nan) == pictures[0]).all()


def test_a_matrix_is_found_among_all_tasks(tmp_path: Path) -> None:
    alone = matrix([[1, 2], [3, 4]], tmp_path)
    every = {"rows": {"expression": 10}, "expression": {"confusion": [[1, 2], [3, 4]]}, "valence_arousal": {}}
    score_plots.confusion(every, CLASSES[:2], tmp_path / "all.png", "a run: a set")
    assert (pixels(tmp_path / "all.png") == alone).all()


@pytest.mark.parametrize("found", [{}, {"confusion": []}, {"confusion": [[1, 2]]}, {"confusion": [[1], [2, 3]]}])
def test_what_is_no_matrix_of_the_classes_is_refused(tmp_path: Path, found: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a set: no confusion matrix of 2 x 2 counts"):
        score_plots.confusion(found, ("a", "b"), tmp_path / "matrix.png", "a set")
    assert not list(tmp_path.iterdir())


# --- how they look --------------------------------------------------------------------------------------------


def texts(figure: Any) -> list[tuple[str, Any]]:
    """What is written upright or sideways in a figure, and the box around it in pixels."""
    from matplotlib.text import Text

    beyond = set()  # labels of ticks outside of an axis, which are never drawn
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            beyond |= set() if low <= tick.get_loc() <= high else {tick.label1, tick.label2}
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    drawn = [text for text in found if text not in beyond and text.get_rotation() in (0.0, 90.0)]
    return [(text.get_text(), text.get_window_extent()) for text in drawn]


def overlapping(boxes: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@pytest.mark.parametrize("stages", [(), (10,), (1, 20), (2, 2, 2, 2, 2, 2), (1, 1, 1, 1, 160)])
def test_nothing_is_written_over_anything_else_in_the_curves(
    tmp_path: Path, figures: list[Any], stages: tuple[int, ...]
) -> None:
    log = [{**row, "attention": 200.0 / (k + 1), "step": 4300 * k} for k, row in enumerate(a_log(240, stages))]
    score_plots.curves(log, tmp_path / "curves.png", "a network whose name is long, " * 5)
    (figure,) = figures
    boxes = texts(figure)
    assert len(boxes) > 30
    assert overlapping(boxes) == []
    width, height = score_plots.CURVES_SIZE
    for text, box in boxes:
        assert 0 <= box.x0 < box.x1 <= width, text
        assert 0 <= box.y0 < box.y1 <= height, text
    for axes in figure.axes[:2]:
        assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1


@pytest.mark.parametrize(("count", "largest"), [(2, 9), (8, 99), (8, 99_999), (9, 9_999_999)])
def test_every_count_stays_in_its_field(tmp_path: Path, figures: list[Any], count: int, largest: int) -> None:
    names = (*CLASSES, "other")[:count]
    found = {"confusion": [[largest] * count] * count, "accuracy": 0.5, "f1": 0.5}
    score_plots.confusion(found, names, tmp_path / "matrix.png", "a network: a set with a long name " * 3)
    axes = figures[0].axes[0]
    field = (axes.bbox.width / count, axes.bbox.height / count)
    assert len(axes.texts) == count * count
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width < field[0]
        assert box.height < field[1]
    assert overlapping(texts(figures[0])) == []


# --- how they are written -------------------------------------------------------------------------------------


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    score_plots.curves(a_log(1), tmp_path / "curves.png", r"$\frac$")
    score_plots.confusion({"confusion": [[1, 0], [0, 1]]}, (r"$\frac$", "$_$"), tmp_path / "matrix.png", r"$\frac$")
    assert len(list(tmp_path.iterdir())) == 2


def test_an_image_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib to draw")
    path = tmp_path / "curves.png"
    path.write_text("what was there")
    with monkeypatch.context() as patch:
        patch.setattr(figure.Figure, "savefig", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_plots.curves(a_log(), path, "a run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OutputError, match=r"curves\.png: could not be written \(No space left on device\)"):
            score_plots.curves(a_log(), path, "a run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
    assert path.read_text() == "what was there"
    with pytest.raises(OutputError, match="could not be written"):
        score_plots.curves(a_log(), tmp_path / "missing" / "curves.png", "a run")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'hsemotion-cli\[plot\]'"):
        score_plots.curves(a_log(), tmp_path / "curves.png", "a run")
    with pytest.raises(ModelUnavailable, match="matplotlib"):
        score_plots.confusion({"confusion": [[1]]}, ("a",), tmp_path / "matrix.png", "a run")
    assert not list(tmp_path.iterdir())


def test_no_display_no_global_state_and_no_settings_of_the_machine(tmp_path: Path) -> None:
    expected = drawn(tmp_path, a_log(2))
    (tmp_path / "matplotlibrc").write_text("savefig.bbox: tight\ntext.usetex: True\nsavefig.dpi: 30\nfont.size: 30\n")
    script = (
        "import sys\nfrom pathlib import Path\nfrom hsemotion_cli.reporting import score_plots\n"
        "print({'matplotlib', 'torch'} & set(sys.modules))\n"
        "import matplotlib\nbefore = dict(matplotlib.rcParams)\n"
        "import test_report\nscore_plots.curves(test_report.a_log(2), Path(sys.argv[1]), 'a run')\n"
        "print(before == dict(matplotlib.rcParams), before['text.usetex'], 'matplotlib.pyplot' in sys.modules)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "TkAgg"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "other.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["set()", "True True False"], done.stderr
    assert (pixels(tmp_path / "other.png") == expected).all()


# --- the page -------------------------------------------------------------------------------------------------

MARKDOWN = MarkdownIt("commonmark").enable("table")


def the_plan(folder: Path = Path("/somewhere/secret"), **more: Any) -> config.TrainingConfig:
    sources = (
        config.DatasetSource("ferplus", folder / "ferplus.npz", "ferplus", units="blendshapes", terms="for research"),
        config.DatasetSource("folder", folder / "lab", "lab", weight=0.25, terms='"ours" | \\ all'),
    )
    stages = (
        config.StageConfig(0.5, 1e-5, scope="head", sources=("lab",)),
        config.StageConfig(3.0, 2e-3, 32, balance=0.3),
    )
    default = {"size": 48, "start": folder / "start.safetensors", "luminance": True, "paper_name": "A small one"}
    return config.TrainingConfig("small-net", "mobilefacenet_first", sources, stages, **{**default, **more})


def test_a_card_says_what_was_done_after_the_last_step_and_what_it_was_chosen_by() -> None:
    facts = the_facts()
    assert "fitted again" not in model_card(facts) and "Settings were chosen" not in model_card(facts)
    facts["plan"] |= {"refit": {"weight_decay": 1e-3, "class_power": 0.5}, "chosen_on": ["rafdb", "expw"]}
    page = model_card(facts)
    assert "fitted again on the final embeddings" in page and "to the power of -0.500." in page
    assert "by looking at results on rafdb, expw, so figures on these sets are optimistic." in page


def test_a_card_says_what_a_run_began_with() -> None:
    facts = the_facts()
    assert "Initial weights" not in model_card(facts)
    facts["start"] = {"file": "first.safetensors", "sha256": "ab" * 32}
    assert f"- Initial weights: first.safetensors, SHA-256 {'ab' * 32}\n" in model_card(facts)
    facts["start"] |= {"plan_sha256": "cd" * 32, "commit": "e" * 40, "start": {"file": "faces.json"}}
    assert (
        f"- Initial weights: first.safetensors, SHA-256 {'ab' * 32}, trained by the plan with SHA-256 {'cd' * 32}, "
        f"at commit {'e' * 40}\n- Initial weights of that training: faces.json\n"
    ) in model_card(facts)
    facts["start"] = {"file": "gone.safetensors"}
    assert "- Initial weights: gone.safetensors\n" in model_card(facts)


def the_facts() -> dict[str, Any]:
    """Facts as a finished run has them."""
    todo = the_plan()
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 7, 900)  # no face shows contempt
    said = np.where(rng.random(900) < 0.6, truth, rng.integers(0, 8, 900))
    found = training_figures.EvaluationFigures(
        rows={"expression": 900, "valence_arousal": 1234, "action_units": 1100},
        expression=training_figures.expression(truth, said, todo.classes),
        valence_arousal={"valence": 0.61234, "arousal": -0.0002},
        action_units={unit: float(rng.random()) for unit in ACTION_UNITS} | {"mean": 0.45678},
    )
    spec = NetworkSpec(
        ("mobilefacenet_first",), 48, *IMAGENET, todo.classes, True, 512, "fc", action_units=ACTION_UNITS
    )  # fmt: skip
    own = network_card("small-net", "A small one", "face-48", "Apache-2.0", "FER+ and ours", "Somebody 2024", spec)
    rows = [
        ("ferplus", "train", 26_111, 25_000, "for research"),
        ("ferplus", "validation", 3_497, 3_400, "for research"),
        ("lab", "train", 812, 800, '"ours" | \\ all'),
    ]
    return {
        "card": {**asdict(own), "path": None},
        "plan": todo.to_json(),
        "plan_sha256": todo.digest(),
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"hsemotion": "0.4.0", "torch": "2.13.0+cpu"},
        "device": "cpu",
        "seconds": 12_345.6,
        "steps": 3_464,
        "data": [dict(zip(("source", "part", "pictures", "with_face", "terms"), row, strict=True)) for row in rows],
        "figures": {"ferplus validation": asdict(found), "lab | 2": {**asdict(found), "action_units": {}}},
        "calibration": {
            "part": "calibration",
            "temperature": 1.23456,
            "shift": {name: 0.1 * k - 0.35 for k, name in enumerate(todo.classes)},
        },
        "au_thresholds": {unit: round(0.1 * k, 1) for k, unit in enumerate(ACTION_UNITS)},
    }


def plain(token: Token) -> str:
    """What a reader sees of a line."""
    return "".join(child.content for child in token.children or ())


@functools.cache
def read(page: str) -> dict[str, list[list[list[str]]]]:
    """Heading -> the tables below it, as rows of cells."""
    found: dict[str, list[list[list[str]]]] = {"": []}
    heading, tokens = "", MARKDOWN.parse(page)
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            heading = plain(token)
            found[heading] = []
        elif token.type == "table_open":
            found[heading].append([])
        elif token.type == "tr_open":
            found[heading][-1].append([])
        elif before.type in ("th_open", "td_open"):
            found[heading][-1][-1].append(plain(token))
    return found


def table(page: str, heading: str, first: str) -> dict[str, dict[str, str]]:
    """A table by the names of its rows and columns."""
    (found,) = [rows for rows in read(page)[heading] if rows[0][0] == first]
    return {row[0]: dict(zip(found[0][1:], row[1:], strict=True)) for row in found[1:]}


def prose(page: str) -> list[list[str]]:
    """The page's lines between blocks of code, block by block."""
    return [block.split("\n") for block in re.split(r"^```.*?^```$", page, flags=re.MULTILINE | re.DOTALL)]


def as_decimal(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")


def check_numbers(page: str, facts: Mapping[str, Any]) -> None:
    """Every figure of the facts is on the page, at its place."""
    for name, found in facts["figures"].items():
        heading = " ".join(name.split())
        main = table(page, "Evaluation", "measured on")[heading]
        expression, affect, units = (found[task] for task in ("expression", "valence_arousal", "action_units"))
        assert main["accuracy"] == as_decimal(expression["accuracy"])
        assert main["macro F1"] == as_decimal(expression["f1"])
        each = table(page, heading, "expression")
        for label, row in expression["classes"].items():
            cells = each[" ".join(label.split())]
            assert [cells[k] for k in ("precision", "recall", "F1")] == [
                as_decimal(row[k]) for k in ("precision", "recall", "f1")
            ]
            assert cells["support"] == f"{int(row['support']):,}"
        (confused,) = [rows for rows in read(page)[heading] if rows[0][0] == "truth"]
        names = [" ".join(label.split()) for label in expression["classes"]]
        assert confused[0][1:] == [row[0] for row in confused[1:]] == names
        assert [row[1:] for row in confused[1:]] == [[f"{n:,}" for n in row] for row in expression["confusion"]]
        for column, key in (("CCC valence", "valence"), ("CCC arousal", "arousal")):
            assert main[column] == as_decimal(affect[key])
            assert table(page, heading, "dimension")[key]["CCC"] == as_decimal(affect[key])
        if units:
            assert main["action unit F1"] == as_decimal(units["mean"])
            for unit, value in units.items():
                cells = table(page, heading, "action unit")[unit]
                assert cells["F1"] == as_decimal(value)
                if unit != "mean":
                    assert cells["threshold"] == as_decimal(facts["au_thresholds"][unit])
        counts = ", ".join(f"{n:,}" for n in found["rows"].values())
        assert counts == ", ".join(re.findall(r"[\d,]*\d", next(line for line in page.split("\n") if counts in re.sub(
            r"expression |valence and arousal |action units ", "", line))))  # fmt: skip
    assert f"Temperature: {as_decimal(facts['calibration']['temperature'])}." in page
    for name, value in facts["calibration"].get("shift", {}).items():
        assert table(page, "Calibration", "expression")[" ".join(name.split())]["added"] == as_decimal(value)
    for unit, value in facts["au_thresholds"].items():
        assert table(page, "Calibration", "action unit")[unit]["threshold"] == as_decimal(value)
    (rows,) = read(page)["Training data"]
    for row, given_row in zip(rows[1:], facts["data"], strict=True):
        assert row == [
            " ".join(given_row["source"].split()),
            given_row["part"],
            f"{given_row['pictures']:,}",
            f"{given_row['with_face']:,}",
        ]
    assert f"- Steps: {facts['steps']:,}\n" in page
    assert f"- Seconds: {facts['seconds']:,.1f} " in page


def check_tables(page: str) -> int:
    """How many tables there are: with a rule below their head, and as many cells in each row. No parser of Markdown."""
    count = 0
    for lines in prose(page):
        for is_table, group in itertools.groupby(lines, lambda line: line.startswith("|")):
            if is_table:
                rows = list(group)
                cells = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}
                assert len(cells) == 1, rows
                assert re.fullmatch(r"\|( (---|--:) \|)+", rows[1])
                assert len(rows) > 2
                count += 1
            else:
                assert all("|" not in line.replace("\\|", "") for line in group)
    return count


def check_all_tables(page: str) -> None:
    """They are tables to a parser as well."""
    assert check_tables(page) == sum(len(tables) for tables in read(page).values())


def test_the_page_of_a_run_says_everything() -> None:
    facts = the_facts()
    page = model_card(facts)
    check_numbers(page, facts)
    check_all_tables(page)
    for text in (
        "# small-net\n",
        "hsemotion annotate VIDEO --model small-net",
        "- Architecture: mobilefacenet_first\n",
        "- Crop: face-48: ",
        "- Input: 48 x 48 pixels",
        "minus 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225",
        "it uses brightness only",
        "- Terms of ferplus: for research\n",
        f"- SHA-256 of the plan: {facts['plan_sha256']}\n",
        "- Commit: 0123456789abcdef0123456789abcdef01234567\n",
        "- Versions: hsemotion 0.4.0, torch 2.13.0+cpu\n",
        "(3.4 hours)",
        "hsemotion train finetune small-net.toml\n",
        "## Licence\n\nApache-2.0\n",
        "## Citation\n\nSomebody 2024\n",
    ):
        assert text in page, text
    outputs = read(page)["Outputs"][0][1:]
    assert [row[0] for row in outputs] == ["1 to 8", "9 to 10", "11 to 22"]
    assert [row[2] for row in outputs] == [", ".join(CLASSES), "valence, arousal", ", ".join(ACTION_UNITS)]
    assert "None" not in page
    assert not re.search(r"\bnan\b", page)
    assert page.endswith("\n")
    assert "\n\n\n" not in page


NAMES = st.text(r"ab|\`*_<>[]()#&;!~-+.$é🙂 ", min_size=1, max_size=12).map(lambda name: name.strip() or "x")
NUMBERS = st.floats(-1, 1) | st.just(math.nan)
COUNTS = st.integers(0, 10**7)


@st.composite
def all_facts(draw: st.DrawFn) -> dict[str, Any]:
    facts = the_facts()
    count = draw(st.integers(1, 5))
    flat = st.lists(NAMES, min_size=count, max_size=count, unique_by=lambda s: " ".join(s.split()))
    classes, sets, sources = draw(flat), draw(flat), draw(flat)
    # A heading of the page itself would make this test look at the wrong tables.
    own = ["Evaluation", "Calibration", "Training data"]
    sets = [name for name in sets if " ".join(name.split()) not in own] or ["a set"]
    facts["figures"] = {
        name: {
            "rows": {"expression": draw(COUNTS), "valence_arousal": draw(COUNTS)},
            "expression": {
                "accuracy": draw(NUMBERS),
                "f1": draw(NUMBERS),
                "classes": {
                    label: {key: draw(NUMBERS) for key in ("precision", "recall", "f1")}
                    | {"support": float(draw(COUNTS))}
                    for label in classes
                },
                "confusion": [[draw(COUNTS) for _ in classes] for _ in classes],
            },
            "valence_arousal": {"valence": draw(NUMBERS), "arousal": draw(NUMBERS)},
            "action_units": {unit: draw(NUMBERS) for unit in (*ACTION_UNITS[:2], "mean")},
        }
        for name in sets
    }
    facts["calibration"] = {"temperature": draw(st.floats(0, 9))}
    if draw(st.booleans()):
        facts["calibration"]["shift"] = {name: draw(NUMBERS) for name in classes}
    facts["data"] = [
        {"source": name, "part": "train", "pictures": draw(COUNTS), "with_face": draw(COUNTS), "terms": draw(NAMES)}
        for name in sources
    ]
    facts["steps"], facts["seconds"] = draw(COUNTS), draw(st.floats(0, 1e7))
    facts["card"] |= {key: draw(NAMES) for key in ("name", "paper_name", "licence", "citation", "training_data")}
    return facts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(all_facts())
def test_every_number_is_at_its_place_whatever_things_are_called(facts: dict[str, Any]) -> None:
    page = model_card(facts)
    check_all_tables(page)
    check_numbers(page, facts)


@settings(max_examples=80, deadline=None)
@given(st.text(min_size=1, max_size=20))
@example("a|b")
@example("a\\|b\\")
@example("a\n## b\n\n| c |")
@example("<script>alert(1)</script><!-- ")
@example("[a](http://b) ![c](d) `e` *f* _g_ __h__ ~~i~~ &amp; &#35;")
@example("# a #")
@example("snake_case_name")
def test_a_name_is_shown_as_it_is(name: str) -> None:
    facts = the_facts()
    facts["card"] |= {"name": name, "licence": "see " + name}
    facts["figures"] = {"of " + name: facts["figures"]["ferplus validation"]}
    facts["au_thresholds"] = {"of " + name: 0.5}
    page = model_card(facts)
    tokens = MARKDOWN.parse(page)
    shown = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    headings = [plain(token) for before, token in itertools.pairwise(tokens) if before.type == "heading_open"]
    assert headings[0] == (shown or "")
    assert headings[1:] == [
        "Intended use and limits", "Network and input", "Outputs", "Training data",
        "How the labels were made", "Training", "Evaluation", f"of {shown}".strip(), "Calibration", "Reproduction",
        "Licence", "Citation",
    ]  # fmt: skip
    assert [row[0] for row in read(page)["Calibration"][-1]] == ["action unit", f"of {shown}".strip()]
    assert f"see {shown}".strip() in [plain(token) for token in tokens if token.type == "inline"]
    every = [child.type for token in tokens for child in token.children or ()]
    assert "html_inline" not in every
    assert "link_open" not in every
    assert "html_block" not in [token.type for token in tokens]
    check_all_tables(page)


def test_a_plain_name_needs_no_signs() -> None:
    facts = the_facts()
    facts["card"]["name"] = "mbf_va_mtl-2"
    assert model_card(facts).startswith("# mbf_va_mtl-2\n")


# --- what is not known ----------------------------------------------------------------------------------------


def test_nothing_is_invented() -> None:
    page = model_card({})
    assert not re.search(r"\d", page)
    assert not read(page)["A trained network"]
    assert list(read(page)) == ["", "A trained network", "Intended use and limits"]
    assert "must not be used" in page


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("plan", {"Reproduction", "How the labels were made"}),
        ("data", set()),
        ("figures", {"Evaluation", "ferplus validation", "lab | 2"}),
        ("calibration", set()),
        ("au_thresholds", set()),
        ("card", {"Outputs", "How the labels were made", "Licence", "Citation", "small-net"}),
        ("versions", set()),
        ("commit", set()),
    ],
)
def test_what_is_missing_is_left_out(key: str, gone: set[str]) -> None:
    facts, whole = the_facts(), read(model_card(the_facts()))
    nothings: tuple[Any, ...] = ("missing", None, {})
    for nothing in nothings:
        less = {name: value for name, value in facts.items() if name != key}
        page = model_card(less if nothing == "missing" else {**less, key: nothing})
        check_all_tables(page)
        assert set(whole) - set(read(page)) == gone
        assert "None" not in page
        assert "\n\n\n" not in page


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def test_any_single_fact_can_be_missing() -> None:
    """Whatever key is taken out, or None, there is a page whose tables are sound."""
    facts = the_facts()
    del facts["figures"]["lab | 2"]
    for path in leaves(facts):
        if len(path) and isinstance(path[-1], str):
            for absent in (True, False):
                less = copy.deepcopy(facts)
                inner: Any = less
                for key in path[:-1]:
                    inner = inner[key]
                if absent:
                    del inner[path[-1]]
                else:
                    inner[path[-1]] = None
                page = model_card(less)
                check_tables(page)
                assert "None" not in page, path


# --- what it says ---------------------------------------------------------------------------------------------


def test_the_plan_on_the_page_is_the_plan(tmp_path: Path) -> None:
    todo = the_plan(tmp_path, citation='A "quoted" \\ text\twith\x7f signs, ünïcode 🙂', average=1e-7)
    page = model_card({"plan": todo.to_json()})
    assert str(tmp_path) not in page  # folders that do not exist
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "copy.toml").write_text(block, encoding="utf-8")
    again = config.read(tmp_path / "copy.toml")
    assert again == todo
    assert again.digest() == todo.digest()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner.filter(lambda v: v is not None and not isinstance(v, dict)), max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: without_none(value) for key, value in data.items() if value is not None}
    return [without_none(value) for value in data] if isinstance(data, list) else data


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), PLAIN, max_size=4))
def test_plain_data_become_the_same_toml(data: dict[str, Any]) -> None:
    data = {key: value for key, value in data.items() if key not in ("start", "source", "sources", "stage", "stages")}
    page = model_card({"plan": {**data, "name": "x"}})
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert tomllib.loads(block) == without_none({**data, "name": "x"})


def test_the_page_says_how_labels_were_made() -> None:
    facts = the_facts()
    page = model_card(facts)
    assert "- ferplus: expressions are the votes of its ten raters as class shares" in page
    assert "valence and arousal were not rated: they are a linear map of those shares" in page
    assert page.count("what mp-blendshapes predicts") == 1  # of FER+, not of the other one
    assert "- lab: expression, valence and arousal, and action units: from its table of labels" in page
    assert "Expression targets are class shares." in page

    facts["plan"] = replace(the_plan(), loss=config.LossConfig(targets="majority")).to_json()
    assert "Expression targets are the majority class alone." in model_card(facts)

    facts["plan"]["sources"][1]["units"] = "blendshapes"
    seen = model_card(facts)
    assert "- lab: expression, and valence and arousal: from its table of labels, as far as available; action" in seen
    assert seen.count("what mp-blendshapes predicts") == 2

    facts["plan"]["sources"][1]["units"] = facts["plan"]["sources"][0]["units"] = "labels"
    assert "mp-blendshapes" not in model_card(facts)

    facts["card"]["network"] |= {"valence_arousal": False, "action_units": ()}
    assert "linear map" not in model_card(facts)

    for source in facts["plan"]["sources"]:
        source["kind"] = "packed"
    packed = model_card(facts)
    assert "- lab: as stored in the packed file." in packed
    assert "ten raters" not in packed
    facts["data"][2]["labels"] = "coded by hand"
    assert "- lab: coded by hand" in model_card(facts)


def test_the_page_says_what_it_must_not_be_used_for() -> None:
    page = model_card(the_facts())
    limits = page.split("## Intended use and limits")[1].split("\n## ")[0]
    for words in ("**as shown**", "must not be used", "decisions about people", "inner states", "feels", "identify"):
        assert words in limits


def test_the_page_warns_of_figures_on_what_was_chosen_with() -> None:
    facts = the_facts()
    assert "too" not in model_card(facts).split("## Evaluation")[1].split("|")[0]
    facts["calibration"]["part"] = "validation"
    assert "The calibration was chosen on the validation part too" in model_card(facts)
    facts["plan"]["keep"] = "best"
    assert "The calibration and the epoch were chosen on the validation part too" in model_card(facts)


def test_the_page_names_the_commit() -> None:
    facts = the_facts()
    assert "git checkout 0123456789abcdef0123456789abcdef01234567\n" in model_card(facts)
    facts["commit"] += "-dirty"
    page = model_card(facts)
    assert "-dirty (with uncommitted changes)" in page
    assert "git checkout 0123456789abcdef0123456789abcdef01234567\n" in page


def test_other_networks_are_described_as_they_are() -> None:
    spec = NetworkSpec(("ddamfn",), 112, *HALF, ("happiness",), False, 512, "fc")
    own = network_card("d", "D", "aligned-112", "MIT", "data.", "", spec)
    page = model_card({"card": asdict(own), "plan": {"luminance": False}, "pictures": {"Curves": "a b.png"}})
    assert [row[:2] for row in read(page)["Outputs"][0][1:]] == [["1", "expression"]]
    assert "- Crop: aligned-112: rotated, scaled and shifted so that" in page
    assert "- Luminance: no" in page
    assert "## Citation" not in page
    assert "\ndata.\n" in page
    images = [c for t in MARKDOWN.parse(page) for c in t.children or () if c.type == "image"]
    assert [(image.content, image.attrs["src"]) for image in images] == [("Curves", "a%20b.png")]


def test_the_page_of_the_shipped_network_is_what_its_weights_give() -> None:
    path = registry.ASSETS / "mt-mobilefacenet.safetensors"
    card, facts = model_file.read_card(path)
    page = (Path(__file__).parent.parent / "docs" / "models" / "mt-mobilefacenet.md").read_text(encoding="utf-8")
    # What scripts/measure_groups.py measured, on images that the training does not know; of these weights, if at all.
    groups = re.findall("<!-- groups: begin -->.*?<!-- groups: end -->\n", page, flags=re.DOTALL)
    assert all(f"SHA-256 {checksums(path)[0]}" in text or "Not measured yet" in text for text in groups)
    page = page.replace("".join(groups), "")
    plotted = dict(re.findall(r"^!\[(.*?)\]\(<(.*?)>\)$", page, flags=re.MULTILINE))
    assert len(plotted) == 3
    assert page == model_card({"card": {**asdict(card), "path": None}, "pictures": plotted, **facts})
