"""``hsemotion plot``: figures hold what the table holds, in print quality, and nothing is lost or left out unseen."""

from __future__ import annotations

import json
import math
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_tables import face, write_table
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.formats.events import read_events
from hsemotion_cli.formats.ownership import is_ours
from hsemotion_cli.palette import EXPRESSION_COLOURS
from hsemotion_cli.reporting.figures import circumplex, comparison, cooccurrence, mosaic, shares, style, timeline
from hsemotion_cli.reporting.figures.binning import columns_of
from hsemotion_cli.reporting.figures.material import read_material
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

GAP = range(20, 30)


def to_hex(colour: Any) -> str:
    """A colour of matplotlib as in the palette."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in tuple(colour)[:3])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """50 frames of one face, which is away in ten of them."""
    frames = [(k, k / 25, [] if k in GAP else [face(0, k)]) for k in range(50)]
    return write_table(tmp_path / "talk.csv", frames)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write_table(tmp_path / "pair.csv", [(k, k / 25, [face(0, k), face(1, k)]) for k in range(30)])


def plot(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["plot", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures as they are when they have been drawn."""
    found: list[Any] = []
    original = style.page

    @contextmanager
    def page(*given: Any) -> Any:
        with original(*given) as figure:
            yield figure
        found.append(figure)

    for module in (timeline, circumplex, shares, cooccurrence, comparison):
        monkeypatch.setattr(module, "page", page)
    return found


def test_curves_are_the_tables_values_and_break_at_the_gap(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "talk.pdf")
    frame = pd.read_csv(table)
    for name in ("valence", "arousal"):
        axes = next(axes for axes in drawn[0].axes if axes.get_ylabel() == name)
        curve = next(line for line in axes.lines if line.get_gid() == f"{name}-0")
        np.testing.assert_allclose(curve.get_ydata(), frame[name].to_numpy(), atol=1e-9)
        assert np.isnan(curve.get_ydata()[list(GAP)]).all()
        np.testing.assert_allclose(curve.get_xdata(), frame["time"] + 0.02, atol=1e-6)


def test_the_ribbon_stacks_the_probabilities_and_leaves_the_gap_empty(
    table: Path, drawn: list[Any], tmp_path: Path
) -> None:
    plot(table, "-o", tmp_path / "talk.svg", "--strips", "expression")
    frame = pd.read_csv(table)
    total = np.zeros(50)
    layers = drawn[0].axes[0].patches
    assert [layer.get_label() for layer in layers] == [n for n in EXPRESSIONS if n != "other"]
    for layer in layers:
        values, _, base = layer.get_data()
        expected = frame[f"p_{layer.get_label()}"].to_numpy()
        np.testing.assert_allclose(values - base, expected, atol=1e-9)
        assert to_hex(layer.get_facecolor()) == EXPRESSION_COLOURS[layer.get_label()]
        assert np.isnan(values[list(GAP)]).all()
        total += np.nan_to_num(expected)
    seen = np.setdiff1d(np.arange(50), GAP)
    np.testing.assert_allclose(total[seen], 1, atol=1e-5)


def test_the_heat_map_is_the_probabilities_of_action_units(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    import matplotlib

    plot(table, "-o", tmp_path / "talk.png", "--strips", "action_units")
    axes = drawn[0].axes[0]
    shapes, shown = axes.collections[0], np.full((12, 50), np.nan)
    colours = matplotlib.colormaps["cividis"](np.linspace(0, 1, 64))
    for path, colour in zip(shapes.get_paths(), shapes.get_facecolors(), strict=True):
        level = np.abs(colours - colour).sum(axis=1).argmin() / 63
        for left, top, right, bottom in np.round(path.vertices.reshape(-1, 5, 2)[:, [0, 2]].reshape(-1, 4), 9):
            first, last = (round(25 * edge) for edge in (left, right))
            assert bottom == top + 1 and np.isnan(shown[int(top), first:last]).all(), "no cell is drawn twice"
            shown[int(top), first:last] = level
    expected = pd.read_csv(table)[[f"{unit}_p" for unit in ACTION_UNITS]].to_numpy().T
    np.testing.assert_allclose(shown, expected, atol=0.5 / 63 + 1e-6)
    assert (axes.get_ylim(), [text.get_text() for text in axes.get_yticklabels()][:3]) == ((12, 0), ["1", "2", "4"])


@pytest.mark.parametrize("kind", ["timeline", "circumplex", "shares", "cooccurrence"])
def test_vector_files_hold_no_pixels(table: Path, tmp_path: Path, kind: str) -> None:
    for suffix in ("svg", "pdf"):
        plot(table, "-o", tmp_path / f"a.{suffix}", "--kind", kind)
    assert "<image" not in (tmp_path / "a.svg").read_text()
    assert b"/Subtype /Image" not in (tmp_path / "a.pdf").read_bytes()


def step_values(patch: Any, base: float) -> np.ndarray:
    """(n,) heights of a step patch above a level; nan where it is not drawn."""
    return np.asarray(patch.get_data()[0], float) - base


def test_presence_is_a_line_in_the_row_of_its_action_unit(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "talk.png", "--strips", "action_units")
    frame = pd.read_csv(table)
    patches = [patch for patch in drawn[0].axes[0].patches if hasattr(patch, "get_data")]
    assert len(patches) == len(ACTION_UNITS)
    for k, (unit, patch) in enumerate(zip(ACTION_UNITS, patches, strict=True)):
        on = ~np.isnan(step_values(patch, k))
        np.testing.assert_array_equal(on, frame[f"{unit}_c"] == 1)
        assert 0 < np.nanmax(patch.get_data()[2]) - k < np.nanmax(step_values(patch, k)) <= 1, "inside its own row"


def test_coverage_is_dark_where_seen_and_hatched_where_interpolated(drawn: list[Any], tmp_path: Path) -> None:
    seen_ = [[face(0, k)] for k in range(10)]
    bridged = [[face(0, k, interpolated=1, face_detected=0)] for k in range(10, 20)]
    frames = [(k, k / 25, faces) for k, faces in enumerate([*seen_, *bridged, *([] for _ in range(10))])]
    plot(write_table(tmp_path / "talk.csv", frames), "-o", tmp_path / "talk.png", "--strips", "coverage")
    seen, hatched = (patch for patch in drawn[0].axes[0].patches if hasattr(patch, "get_data"))
    for patch, part, hatch in ((seen, range(10), None), (hatched, range(10, 20), "//////")):
        assert np.flatnonzero(~np.isnan(step_values(patch, 0))).tolist() == list(part)
        assert (patch.get_hatch() or None) == hatch
    assert sum(seen.get_facecolor()[:3]) < sum(hatched.get_facecolor()[:3])


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, math.nan])), min_size=1, max_size=60))
def test_a_mosaic_covers_every_known_cell_once(cells: list[float]) -> None:
    row, found = np.array(cells), np.full(len(cells), np.nan)
    for level, first, last in mosaic.runs(row):
        assert first < last and np.isnan(found[first:last]).all()
        found[first:last] = level / (mosaic.LEVELS - 1)
    np.testing.assert_allclose(found, row, atol=0.5 / (mosaic.LEVELS - 1) + 1e-12)


def test_long_recordings_are_averaged_and_report_it(drawn: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(-1, 1, 6000).round(6)
    rows = [(k, k / 25, [face(0, 0, valence=values[k])]) for k in range(6000)]
    table = write_table(tmp_path / "long.csv", rows)
    plot(table, "-o", tmp_path / "long.png", "--strips", "valence")
    curve = next(line for line in drawn[0].axes[0].lines if line.get_gid())
    np.testing.assert_allclose(curve.get_ydata(), values.reshape(1200, 5).mean(axis=1), atol=1e-9)
    assert "means of 0.2 s" in drawn[0].get_supxlabel()


def test_time_that_was_not_recorded_has_columns_of_its_own(tmp_path: Path) -> None:
    table = write_table(tmp_path / "cut.csv", [(k, t, [face(0, k)]) for k, t in enumerate([0.0, 0.04, 0.08, 5, 5.04])])
    columns = columns_of(read_material(table).recording)
    assert columns.mean(np.ones(5)).tolist()[:3] == [1, 1, 1]
    empty = np.flatnonzero(np.isnan(columns.mean(np.ones(5))))
    assert [(columns.edges[k], columns.edges[k + 1]) for k in empty] == [(pytest.approx(0.62), 5)]


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_two_runs_give_the_same_bytes_and_are_ours(table: Path, tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        plot(table, "-o", tmp_path / f"{name}.{kind}")
    first, second = (tmp_path / f"a.{kind}", tmp_path / f"b.{kind}")
    assert first.read_bytes() == second.read_bytes()
    assert is_ours(first)
    plot(table, "-o", first)  # ours is replaced
    first.write_bytes(b"of the user")
    assert "--overwrite" in plot(table, "-o", first, code=2)
    assert first.read_bytes() == b"of the user"
    plot(table, "-o", first, "--overwrite")
    assert first.read_bytes() == second.read_bytes()


def test_svg_has_real_text_and_the_width_asked_for(table: Path, tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "talk.svg", "--width", "85mm")
    text = (tmp_path / "talk.svg").read_text()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert {"valence", "arousal", "time (s)", "happiness", "no value"} <= set(words)
    width = float(re.search(r'<svg[^>]* width="([0-9.]+)pt"', text)[1])  # type: ignore[index]
    assert width == pytest.approx(85 / 25.4 * 72, abs=0.01)
    assert "dc:date" not in text


def test_pdf_has_embedded_fonts_and_no_date(table: Path, tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "talk.pdf", "--width", "17.4cm")
    content = (tmp_path / "talk.pdf").read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content and b"CreationDate" not in content
    box = re.search(rb"/MediaBox \[ 0 0 ([0-9.]+) ", content)
    assert box and float(box[1]) == pytest.approx(174 / 25.4 * 72, abs=0.01)


def test_events_are_shaded_where_they_are(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    (tmp_path / "ev.csv").write_text("recording,onset,offset,label\ntalk,0.4,0.9,stimulus\n,1.1,1.2,all\n")
    plot(table, "-o", tmp_path / "talk.png", "--events", tmp_path / "ev.csv", "--strips", "valence")
    axes = drawn[0].axes[0]
    assert [t.get_text() for t in axes.texts] == ["stimulus", "all"]
    spans = sorted((p.get_x(), p.get_x() + p.get_width()) for p in axes.patches)
    assert spans == [(0.4, pytest.approx(0.9)), (1.1, pytest.approx(1.2))]
    (tmp_path / "ev.csv").write_text("recording,onset,offset,label\nother,0.4,0.9,x\n")
    message = plot(table, "-o", tmp_path / "x.png", "--events", tmp_path / "ev.csv", code=4)
    assert "other" in message


def test_people_keep_their_colour_when_others_are_left_out(two: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(two, "-o", tmp_path / "a.png", "--strips", "valence")
    plot(two, "-o", tmp_path / "b.png", "--strips", "valence", "--person", "1")
    looks = [
        {line.get_gid(): (line.get_color(), line.get_linestyle()) for line in f.axes[0].lines if line.get_gid()}
        for f in drawn
    ]
    assert looks[0].keys() == {"valence-0", "valence-1"} and looks[1] == {"valence-1": looks[0]["valence-1"]}
    assert len({color for color, _ in looks[0].values()}) == len({line for _, line in looks[0].values()}) == 2
    assert "it has 0, 1" in plot(two, "-o", tmp_path / "c.png", "--person", "7", code=2)


def test_a_span_cuts_the_time(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "a.png", "--strips", "valence", "--span", "0.4-0.6")
    curve = next(line for line in drawn[0].axes[0].lines if line.get_gid())
    np.testing.assert_allclose(curve.get_ydata(), pd.read_csv(table)["valence"][10:15])
    assert "from 0.00 to 2.00 s" in plot(table, "-o", tmp_path / "a.png", "--span", "7-8", code=2)


def test_the_path_lies_at_valence_and_arousal(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(table, "-o", tmp_path / "c.pdf", "--kind", "circumplex")
    (lines,) = drawn[0].axes[0].collections
    frame = pd.read_csv(table)[["valence", "arousal"]].to_numpy()
    steps = [k for k in range(49) if not {k, k + 1} & set(GAP)]
    np.testing.assert_allclose(
        np.stack(lines.get_segments()), np.stack([frame[steps], frame[[k + 1 for k in steps]]], 1)
    )
    np.testing.assert_allclose(lines.get_array(), (np.array(steps) + 0.5) / 25, atol=1e-6)
    ends = {line.get_marker(): line.get_xydata()[0] for line in drawn[0].axes[0].lines if line.get_marker() in "os"}
    np.testing.assert_allclose(ends["o"], frame[0])
    np.testing.assert_allclose(ends["s"], frame[49])


def test_shares_are_seconds_of_each_expression(table: Path, two: Path, drawn: list[Any], tmp_path: Path) -> None:
    plot(table, two, "-o", tmp_path / "s.png", "--kind", "shares", "--by", "person")
    axes = drawn[0].axes[0]
    assert [t.get_text().split("  ")[0] for t in axes.get_yticklabels()] == [
        "pair, face 0", "pair, face 1", "talk, face 0",
    ]  # fmt: skip
    frame = pd.read_csv(table)
    found = frame["expression"].dropna().value_counts(normalize=True)
    line = [bar for bar in axes.patches if abs(bar.get_y() + 0.36 - 2) < 1e-6]
    known = [name for name in EXPRESSIONS if name != "other"]
    for name, bar in zip(known, line, strict=True):
        # A frame before the gap lasts no longer than others, since frames without a face are frames.
        assert bar.get_width() == pytest.approx(found.get(name, 0.0), abs=1e-6)
        assert to_hex(bar.get_facecolor()) == EXPRESSION_COLOURS[name]
        assert (bar.get_hatch() or "") == style.HATCHES[name]
    written = [text.get_text() for text in axes.texts if text.get_position()[1] == 2]
    expected = [100 * found[name] for name in known if found.get(name, 0) >= shares._LABELLED]
    np.testing.assert_allclose([float(text) for text in written], expected, atol=0.5 + 1e-6)


def test_shares_within_events(table: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("onset,offset,label\n0,0.4,before\n0.4,0.8,during\n1.2,2,during\n")
    material = read_material(table, events=read_events(tmp_path / "events.csv"))
    found = shares.group_seconds([material], "event")
    frame = pd.read_csv(table)
    for label, rows in (("before", frame[:10]), ("during", pd.concat([frame[10:20], frame[30:]]))):
        for k, name in enumerate(EXPRESSIONS):
            assert found[label][k] == pytest.approx(0.04 * (rows["expression"] == name).sum())


def test_cooccurrence_is_a_conditional_share(table: Path, two: Path) -> None:
    got, count, rows = cooccurrence.together([read_material(table), read_material(two)])
    frame = pd.concat([pd.read_csv(table), pd.read_csv(two)])[[f"{u}_c" for u in ACTION_UNITS]].dropna()
    assert rows == len(frame) == 100
    for i, one in enumerate(frame.columns):
        assert count[i] == frame[one].sum()
        for j, other in enumerate(frame.columns):
            assert got[i, j] == pytest.approx(frame.loc[frame[one] == 1, other].mean())


def test_the_matrix_has_the_condition_down_and_the_other_unit_across(
    table: Path, drawn: list[Any], tmp_path: Path
) -> None:
    plot(table, "-o", tmp_path / "c.png", "--kind", "cooccurrence")
    shares_, count, _ = cooccurrence.together([read_material(table)])
    axes = drawn[0].axes[0]
    np.testing.assert_allclose(axes.collections[0].get_array().reshape(12, 12), shares_)
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert low < high and bottom > top, "the first unit is at the top left"
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(j, i): f"{100 * shares_[i, j]:.0f}" for i in range(12) for j in range(12)}
    assert axes.get_yticklabels()[0].get_text() == f"1  ({count[0]:.0f})"


def test_ticks_are_where_the_expressions_of_two_tables_agree_and_differ(
    table: Path, drawn: list[Any], tmp_path: Path
) -> None:
    frame = pd.read_csv(table)
    known = [f"p_{name}" for name in EXPRESSIONS if name != "other"]
    frame.loc[5:8, known] = np.roll(frame.loc[5:8, known].to_numpy(), 1, axis=1)  # another one is the highest
    (tmp_path / "new").mkdir()
    frame.to_csv(tmp_path / "new" / "talk.csv", index=False)
    plot(table, tmp_path / "new" / "talk.csv", "-o", tmp_path / "c.png", "--kind", "comparison")
    axes = drawn[0].axes[-1]
    same, differs = ({round(25 * path.vertices[:, 0].min()) for path in bars.get_paths()} for bars in axes.collections)
    assert differs == {5, 6, 7, 8} and same == set(range(50)) - differs - set(GAP)
    assert axes.get_title(loc="right") == "90.0% the same, n = 40"
    rows = [bars.get_paths()[0].vertices[:, 1].min() for bars in axes.collections]
    labels = {text.get_text(): text.get_position()[1] for text in axes.get_yticklabels()}
    assert rows[0] > 1 > rows[1] and labels["same"] > labels["differs"]


def test_an_absent_unit_has_no_share(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.csv", [(k, k / 25, [face(0, k, AU01_c=0)]) for k in range(9)])
    got, count, _ = cooccurrence.together([read_material(table)])
    assert np.isnan(got[0]).all() and count[0] == 0 and (got[1:, 0] == 0).all()


def test_a_comparison_names_the_agreement(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    frame = pd.read_csv(table)
    changed = frame.assign(valence=0.5 * frame["valence"] + 0.1)
    (tmp_path / "new").mkdir()
    changed.to_csv(tmp_path / "new" / "talk.csv", index=False)
    plot(table, tmp_path / "new" / "talk.csv", "-o", tmp_path / "c.svg", "--kind", "comparison")
    a, b = (f["valence"].dropna().to_numpy() for f in (frame, changed))
    expected = 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    text = (tmp_path / "c.svg").read_text()
    sign = "\u2212" if (b - a).mean() < 0 else "+"
    assert f"CCC {expected:.3f}, second \u2212 first {sign}{abs((b - a).mean()):.3f}, n = 40" in text
    assert "100.0% the same, n = 40" in text and "new/talk.csv" in text
    curve = drawn[0].axes[0].lines[1]
    kept = ~np.isnan(curve.get_ydata())
    np.testing.assert_allclose(curve.get_ydata()[kept], b)


def test_tables_of_different_faces_are_not_compared(table: Path, two: Path, tmp_path: Path) -> None:
    moved = pd.read_csv(table).assign(x=400)
    (tmp_path / "new").mkdir()
    moved.to_csv(tmp_path / "new" / "talk.csv", index=False)
    message = plot(table, tmp_path / "new" / "talk.csv", "-o", tmp_path / "c.svg", "--kind", "comparison", code=4)
    assert "two tables of one video" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.gif"], ".pdf, .svg or .png"),
        (["-o", "a.pdf", "--kind", "pie"], "choose from timeline"),
        (["-o", "a.pdf", "--width", "wide"], "such as 85mm"),
        (["-o", "a.pdf", "--width", "2mm"], "from 40mm"),
        (["-o", "a.pdf", "--strips", "valence,smell"], "'smell' is not a strip"),
        (["-o", "a.pdf", "--kind", "comparison"], "draws two tables; 1 were given"),
        (["-o", "a.pdf", "--by", "person"], "belongs to --kind shares"),
        (["-o", "a.pdf", "--kind", "shares", "--by", "event"], "give the events"),
        (["-o", "a.pdf", "--span", "9-3"], "it ends before it begins"),
        (["-o", "a.pdf", "--span", "early"], "two rising numbers"),
    ],
)
def test_wrong_options_are_one_sentence(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in plot(table, *arguments, code=2)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("kind", ["timeline", "circumplex", "shares", "cooccurrence"])
def test_a_table_without_a_face_is_refused(tmp_path: Path, kind: str) -> None:
    table = write_table(tmp_path / "empty.csv", [(k, k / 25, []) for k in range(5)])
    assert "no face was seen" in plot(table, "-o", tmp_path / "a.pdf", "--kind", kind, code=4)


def test_without_matplotlib_the_message_says_what_to_install(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'hsemotion-cli[plot]'" in plot(table, "-o", tmp_path / "a.pdf", code=5)


def test_the_models_are_named(table: Path, drawn: list[Any], tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "models": ["mp-blendshapes"],
        "smoothing": {"expression": "gaussian:0.2"},
        "blend": {},
        "thresholds": {},
    }
    recipe |= {"max_gap": 0.5, "interpolate": 0.0}
    content = {"tool": {"name": "hsemotion"}, "recipe": recipe, "models": [{"name": "mp-blendshapes"}]}
    table.with_suffix(".json").write_text(json.dumps(content))
    plot(table, "-o", tmp_path / "a.png")
    assert drawn[0].get_supxlabel() == "talk · mp-blendshapes, smoothing gaussian:0.2"


def test_classes_are_distinguishable_in_grey() -> None:
    assert len({style.HATCHES[name] for name in EXPRESSIONS}) == len(EXPRESSIONS)
