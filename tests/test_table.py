"""The table: its columns and cells, and that every format holds the same and comes back."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_smooth import scores, timeline

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.formats import raw_scores, schema, table
from hsemotion_cli.postprocess.compound import compounds
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import Affect, refine
from hsemotion_cli.runtime.atomic_files import atomic_file
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS, COMPOUNDS, EXPRESSIONS
from hsemotion_cli.timeline import Timeline

THRESHOLDS = dict.fromkeys(ACTION_UNITS, 0.5)
ROWS = [(0, 0), (0, 1), (2, 1), (3, 0)]


def example(interpolate: float = 0.0) -> tuple[Timeline, Affect]:
    """Four frames, the second without a face, two people; nothing known of the last face's expression."""
    made = scores(len(ROWS), 7)
    made["expression"][3] = np.nan
    line = timeline(ROWS, np.array([0.5, 0.54, 0.58, 0.7]), m=made)
    return line, refine(line, Recipe(("m",), thresholds=THRESHOLDS, interpolate=interpolate))


def saved(affect: Affect, folder: Path) -> dict[str, Path]:
    paths = {}
    for name, write in table.WRITERS.items():
        paths[name] = folder / f"t.{name}"
        with atomic_file(paths[name]) as file:
            write(affect, file)
    return paths


def test_the_columns_are_the_promised_ones_in_order() -> None:
    units = ["AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26"]
    assert list(schema.NAMES) == [
        *("frame", "time", "face_id", "face_detected", "interpolated", "det_score", "x", "y", "w", "h"),
        *("expression", "expression_score", "p_neutral", "p_anger", "p_disgust", "p_fear", "p_happiness"),
        *("p_sadness", "p_surprise", "p_contempt", "p_other", "valence", "arousal"),
        *(f"{unit}_p" for unit in units),
        *(f"{unit}_c" for unit in units),
        *("compound", "p_fearfully_surprised", "p_happily_surprised", "p_sadly_surprised"),
        *("p_disgustedly_surprised", "p_angrily_surprised", "p_sadly_fearful", "p_sadly_angry"),
        *("head_pitch", "head_yaw", "head_roll", "gaze_pitch", "gaze_yaw"),
        *("blink", "mouth_open", "speaking", "uncertainty_expression", "uncertainty_va", "uncertainty_au"),
        "p_no_compound",
        "landmarks",
    ]


def test_cells_agree_with_the_scores(tmp_path: Path) -> None:
    line, affect = example()
    read = pd.read_csv(saved(affect, tmp_path)["csv"])
    assert read["frame"].tolist() == [0, 0, 1, 2, 3]
    assert read["time"].tolist() == [0.5, 0.5, 0.54, 0.58, 0.7]
    assert read["face_id"].fillna(-1).tolist() == [0, 1, -1, 1, 0]
    assert read["face_detected"].tolist() == [1, 1, 0, 1, 1]
    expression = line.scores["m"]["expression"]
    faces = read[read["face_id"].notna()].reset_index(drop=True)
    assert faces[[f"p_{name}" for name in EXPRESSIONS]].to_numpy() == pytest.approx(expression, abs=6e-7, nan_ok=True)
    for k in range(3):
        best = EXPRESSIONS[int(np.nanargmax(expression[k]))]
        assert faces["expression"][k] == best
        assert faces["expression_score"][k] == faces[f"p_{best}"][k]
    units = line.scores["m"]["action_units"]
    assert faces[[f"{unit}_c" for unit in ACTION_UNITS]].to_numpy().tolist() == (units >= 0.5).astype(int).tolist()
    pair = {name: [EXPRESSIONS.index(part) for part in parts] for name, parts in COMPOUNDS.items()}
    for k in range(3):
        both = {name: 2 * min(expression[k, parts]) for name, parts in pair.items()}
        none = 1 - min(1, max(both.values()))
        assert faces["p_no_compound"][k] == pytest.approx(none, abs=1e-6)
        for name, value in both.items():
            assert faces[f"p_{name}"][k] == pytest.approx((1 - none) * value / sum(both.values()), abs=1e-6)
        named = faces["compound"][k]
        assert (named == max(both, key=lambda name: both[name])) if none < 0.5 else pd.isna(named)
    assert faces.loc[3, ["expression", "p_anger", "compound", "p_sadly_angry"]].isna().all()
    assert faces.loc[3, ["valence", "AU12_p", "AU12_c"]].notna().all()


def test_a_class_that_the_model_lacks_is_an_empty_cell(tmp_path: Path) -> None:
    line, _ = example()
    line.scores["m"]["expression"][:, 7] = np.nan
    read = pd.read_csv(saved(refine(line, Recipe(("m",), thresholds=THRESHOLDS)), tmp_path)["csv"])
    assert read[["p_contempt", "p_other"]].isna().all(axis=None)
    assert read["expression"].notna().tolist() == [True, True, False, True, False]
    best = read[[f"p_{name}" for name in EXPRESSIONS[:7]]].max(axis=1)
    assert read["expression_score"][[0, 1, 3]].tolist() == best[[0, 1, 3]].tolist()
    assert read["p_no_compound"].notna().tolist() == [True, True, False, True, False]


def test_a_frame_without_a_face_has_a_row_of_empty_cells(tmp_path: Path) -> None:
    _, affect = example()
    lines = saved(affect, tmp_path)["csv"].read_text().splitlines()
    assert lines[3] == "1,0.540000,,0,0" + "," * (len(schema.NAMES) - 5)


def test_interpolated_rows_are_marked_and_not_detected(tmp_path: Path) -> None:
    _, affect = example(interpolate=1.0)
    read = pd.read_csv(saved(affect, tmp_path)["csv"])
    bridged = read[read["interpolated"] == 1]
    assert bridged[["frame", "face_id"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0]]
    assert bridged["face_detected"].tolist() == [0, 0, 0]
    assert bridged["det_score"].isna().all()
    assert bridged["valence"].notna().all()


def test_all_formats_hold_the_same_and_pandas_reads_them(tmp_path: Path) -> None:
    paths = saved(example()[1], tmp_path)
    csv, parquet = pd.read_csv(paths["csv"]), pd.read_parquet(paths["parquet"])
    jsonl = pd.DataFrame([json.loads(line) for line in paths["jsonl"].read_text().splitlines()])
    assert list(csv) == list(parquet) == list(jsonl) == list(schema.NAMES)
    for name in schema.NAMES:
        assert csv[name].astype(object).where(csv[name].notna(), None).tolist() == (
            parquet[name].astype(object).where(parquet[name].notna(), None).tolist()
        ), name
    for suffix, path in paths.items():
        whole_table = [row for block in table.read_blocks(path) for row in zip(*block.values(), strict=True)]
        expected = [row for block in table.blocks(example()[1]) for row in zip(*block.values(), strict=True)]
        assert whole_table == expected, suffix


def test_tables_come_back_frame_by_frame(tmp_path: Path) -> None:
    for path in saved(example()[1], tmp_path).values():
        frames = list(table.read_frames(path))
        assert [(frame, [face["face_id"] for face in faces]) for frame, faces in frames] == [
            (0, [0, 1]),
            (1, []),
            (2, [1]),
            (3, [0]),
        ]


def test_tables_load_as_typed_data_frames(tmp_path: Path) -> None:
    for path in saved(example()[1], tmp_path).values():
        frame = table.load(path)
        assert list(frame) == list(schema.NAMES)
        assert frame["face_id"].dtype == "Int64"
        assert frame["face_id"].isna().tolist() == [False, False, True, False, False]
        assert frame["AU12_c"].sum() == int((example()[0].scores["m"]["action_units"][:, 6] >= 0.5).sum())
        assert frame["expression"].dtype == "string"


def test_block_size_changes_nothing() -> None:
    _, affect = example()
    ones = [row for block in table.blocks(affect, 1) for row in zip(*block.values(), strict=True)]
    assert ones == [row for block in table.blocks(affect, 100) for row in zip(*block.values(), strict=True)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3), max_size=4), min_size=1, max_size=15), st.floats(0, 1))
def test_every_frame_has_a_row_and_every_face_one(present: list[set[int]], interpolate: float) -> None:
    rows = [(k, face) for k, faces in enumerate(present) for face in sorted(faces)]
    line = timeline(rows, np.arange(len(present)) / 10, m=scores(len(rows)))
    affect = refine(line, Recipe(("m",), thresholds=THRESHOLDS, interpolate=interpolate))
    made = [row for block in table.blocks(affect, 4) for row in zip(block["frame"], block["face_id"], strict=True)]
    assert {frame for frame, _ in made} == set(range(len(present)))
    assert len(set(made)) == len(made)
    assert [frame for frame, _ in made] == sorted(frame for frame, _ in made)
    for k, faces in enumerate(present):
        assert faces <= {face for frame, face in made if frame == k} or not faces
        assert ((k, None) in made) == (not any(frame == k and face is not None for frame, face in made))


def test_raw_scores_survive_the_archive_exactly(tmp_path: Path) -> None:
    line, _ = example()
    for name in ("a.raw.npz", "b.raw.npz"):
        with atomic_file(tmp_path / name) as file:
            raw_scores.write(line, file)
    assert (tmp_path / "a.raw.npz").read_bytes() == (tmp_path / "b.raw.npz").read_bytes()
    back = raw_scores.read(tmp_path / "a.raw.npz")
    for name in ("index", "time", "row", "face_id", "det_score", "box"):
        assert np.array_equal(getattr(back, name), getattr(line, name), equal_nan=name == "det_score")
        assert getattr(back, name).dtype == getattr(line, name).dtype
    for task, values in line.scores["m"].items():
        assert np.array_equal(back.scores["m"][task], values, equal_nan=True)


def test_an_archive_of_version_1_has_eight_classes_and_the_ninth_is_unknown(tmp_path: Path) -> None:
    line, _ = example()
    columns = {name: getattr(line, name) for name in ("index", "time", "row", "face_id", "det_score", "box")}
    old: dict[str, Any] = {f"scores/m/{task}": values for task, values in line.scores["m"].items()}
    old["scores/m/expression"] = old["scores/m/expression"][:, :8]
    np.savez_compressed(tmp_path / "old.raw.npz", **columns, **old)
    back = raw_scores.read(tmp_path / "old.raw.npz").scores["m"]["expression"]
    assert back.dtype == np.float32
    assert np.array_equal(back[:, :8], old["scores/m/expression"], equal_nan=True)
    assert np.isnan(back[:, 8]).all()


def test_a_table_of_version_1_is_read_with_an_empty_column(tmp_path: Path) -> None:
    _, affect = example()
    now, old = saved(affect, tmp_path), {}
    for suffix in table.WRITERS:
        old[suffix] = tmp_path / f"old.{suffix}"
    frame = pd.read_csv(now["csv"], dtype=str, keep_default_na=False).drop(columns="p_other")
    frame.to_csv(old["csv"], index=False)
    pd.read_parquet(now["parquet"]).drop(columns="p_other").to_parquet(old["parquet"])
    rows = [json.loads(line) for line in now["jsonl"].read_text().splitlines()]
    old["jsonl"].write_text("".join(json.dumps({k: v for k, v in r.items() if k != "p_other"}) + "\n" for r in rows))
    for suffix, path in old.items():
        assert list(table.read_blocks(path)) == list(table.read_blocks(now[suffix])), suffix


def test_a_damaged_archive_or_a_pickle_is_refused(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x.raw.npz") as file:
        raw_scores.write(example()[0], file)
    data = (tmp_path / "x.raw.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    np.savez(tmp_path / "pickle.npz", index=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    for name in ("cut.npz", "pickle.npz", "other.npz", "none.npz"):
        with pytest.raises(InputError, match=name):
            raw_scores.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "none of its columns"),
        ("a.csv", "name,age\nAnn,3\n", "none of its columns"),
        ("a.csv", ",".join(n for n in schema.NAMES if n != "p_sadly_angry") + "\n", "p_sadly_angry is missing"),
        ("a.csv", ",".join(schema.NAMES) + "\n1,2\n", "line 2 has 2 cells"),
        ("a.csv", ",".join(schema.NAMES) + "\nx" + "," * (len(schema.NAMES) - 1) + "\n", "the column frame holds 'x'"),
        ("a.jsonl", "{", "not a table"),
        ("a.jsonl", "{}\n", "none of its columns"),
        ("a.parquet", "PAR1", "not a table"),
        ("a.xlsx", "", "csv, .parquet or .jsonl"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        list(table.read_frames(tmp_path / name))


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    path = saved(example()[1], tmp_path)["csv"]
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    with pytest.raises(InputError, match="not sorted by frame"):
        list(table.read_frames(path))


@pytest.mark.parametrize("text", ["", "csv,xml", "CSV", ","])
def test_unknown_formats_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="choose from csv, parquet, jsonl"):
        table.parse_formats(text)


def test_compound_scores_are_means_of_the_challenges_pairs() -> None:
    # The pairs as HSEmotion's notebook has them, by AffectNet's alphabetical order, in the challenge's order.
    affectnet = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
    pairs = ((3, 7), (4, 7), (6, 7), (2, 7), (0, 7), (6, 3), (6, 0))
    names = ("fearfully_surprised", "happily_surprised", "sadly_surprised", "disgustedly_surprised")
    assert tuple(COMPOUNDS) == (*names, "angrily_surprised", "sadly_fearful", "sadly_angry")
    scored = compounds(np.eye(9))
    for k, pair in enumerate(pairs):
        for c, name in enumerate(EXPRESSIONS):
            assert scored[c, k] == (0.5 if name != "other" and affectnet.index(name) in pair else 0.0)


def test_numbers_have_a_fixed_number_of_digits_and_no_minus_zero() -> None:
    line, _ = example()
    line.scores["m"]["valence_arousal"][0] = (-1e-9, 1e-7)
    buffer = io.BytesIO()
    table.write_csv(refine(line, Recipe(("m",), thresholds=THRESHOLDS)), buffer)
    row = dict(zip(schema.NAMES, buffer.getvalue().decode().splitlines()[1].split(","), strict=True))
    assert (row["valence"], row["arousal"]) == ("0.000000", "0.000000")
    assert all("e" not in row[f"p_{n}"] and not math.isnan(float(row[f"p_{n}"])) for n in BASIC_EXPRESSIONS)
