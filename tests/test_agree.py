"""Agreement of tables with coders: alignment, coefficients against scikit-learn and krippendorff, and bad codings."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import curves
import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score
from typer.testing import CliRunner

from hsemotion_cli.analysis.event_match import match
from hsemotion_cli.cli import app
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing

FRAMES, STEP = 500, 0.04
NAMES = ("a", "b", "c", "d", "e")
FILTER = Smoothing("gaussian", 0.2)
SMOOTHED = replace(Recipe.usual(), smoothing={"expression": FILTER, "action_units": FILTER})
"""Of tables that are taken as they are."""


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def statistics(path: Path) -> dict[tuple[str, str, str, str], dict[str, str]]:
    with path.open(newline="") as file:
        return {(r["first"], r["second"], r["label"], r["statistic"]): r for r in csv.DictReader(file)}


def spans(on: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def later(values: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([np.repeat(values[:1], frames), values[: len(values) - frames]])


@pytest.fixture
def study(tmp_path: Path) -> dict[str, np.ndarray]:
    """Five recordings with smiles in long blocks, tables, and two coders; frames of each: model, ann, bob."""
    random = np.random.default_rng(11)
    lines: dict[str, list[str]] = {"ann": [], "bob": []}
    found = {}
    (tmp_path / "in").mkdir()
    for name in NAMES:
        truth = np.repeat(random.random(FRAMES // 50) < 0.5, 50)
        truth[:50], truth[50:100] = True, False
        model = later(truth, int(random.integers(0, 5)))
        lips = np.where(model, 0.9, 0.01)
        lips[200:210] = np.nan  # the face is away
        p = np.where(model, 0.8, 0.1)
        people = {0: {"AU12_p": lips, "p_happiness": p + 0 * lips, "p_neutral": 1 - p + 0 * lips}}
        curves.table(tmp_path / "in" / f"{name}.csv", people, FRAMES, recipe=SMOOTHED)
        raters = {"model": np.where(np.isnan(lips), -1, model.astype(int))}
        for coder in lines:
            coded = later(truth, int(random.integers(0, 12)))
            for start, end in spans(coded):
                lines[coder].append(f"{name},{start * STEP:.2f},{end * STEP:.2f},Grin")
                lines[coder].append(f"{name},{start * STEP:.2f},{end * STEP:.2f},happiness")
            for start, end in spans(~coded):
                lines[coder].append(f"{name},{start * STEP:.2f},{end * STEP:.2f},neutral")
            raters[coder] = coded.astype(int)
        found[name] = np.stack([raters["model"], raters["ann"], raters["bob"]], axis=1)
    for coder, rows in lines.items():
        (tmp_path / f"{coder}.csv").write_text("\n".join(["recording,onset,offset,label", *rows]) + "\n")
    return found


def compare(folder: Path, *words: str) -> dict[tuple[str, str, str, str], dict[str, str]]:
    code, output = run(
        "agree", folder / "in", "--coding", f"ann={folder / 'ann.csv'}", "--coding", f"bob={folder / 'bob.csv'}",
        "--map", "Grin=smile", "-o", folder / "out", *words,
    )  # fmt: skip
    assert code == 0, output
    return statistics(folder / "out" / "agree.csv")


def test_frames_are_compared_as_other_packages_do(study: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = compare(tmp_path, "--plot", str(tmp_path / "c.png"))
    whole = np.concatenate(list(study.values()))
    columns = {"model": 0, "ann": 1, "bob": 2}
    for first, second in (("ann", "model"), ("bob", "model"), ("ann", "bob")):
        pair = whole[:, [columns[first], columns[second]]]
        one, other = pair[(pair >= 0).all(axis=1)].T
        wanted = {
            "kappa": cohen_kappa_score(one, other), "f1": f1_score(one, other), "accuracy": (one == other).mean(),
            "alpha": krippendorff.alpha(reliability_data=np.stack([one, other]), level_of_measurement="nominal"),
        }  # fmt: skip
        got = {name: float(found[first, second, "smile", name]["value"]) for name in wanted}
        assert got == pytest.approx(wanted, abs=2e-6)
        assert int(found[first, second, "smile", "kappa"]["units"]) == len(one)
        assert float(found[first, second, "expression", "kappa"]["value"]) > 0.7
    data = np.where(whole < 0, np.nan, whole).T
    alpha = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    assert float(found["ann+bob", "ann+bob+model", "smile", "alpha"]["value"]) == pytest.approx(alpha, abs=2e-6)
    content = json.loads((tmp_path / "out" / "agree.json").read_text())
    counts = np.array(content["confusion"]["counts"]["ann"])
    assert counts.sum() == (whole[:, 0] >= 0).sum()
    assert content["settings"]["tolerance"] == 0.5
    seen = whole[whole[:, 0] >= 0]
    assert counts[[0, 4]][:, [0, 4]].tolist() == confusion_matrix(seen[:, 1], seen[:, 0]).tolist()
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_intervals_are_those_of_resampled_recordings(study: dict[str, np.ndarray], tmp_path: Path) -> None:
    got = compare(tmp_path, "--bootstrap", "300", "--seed", "4")["ann", "bob", "smile", "kappa"]
    random = np.random.default_rng(4)
    parts = [study[name][:, 1:] for name in NAMES]
    values = []
    for counts in random.multinomial(5, np.full(5, 0.2), size=300):
        drawn = np.concatenate([part for part, n in zip(parts, counts, strict=True) for _ in range(n)])
        values.append(cohen_kappa_score(drawn[:, 0], drawn[:, 1]))
    assert [float(got["low"]), float(got["high"])] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=2e-6)
    assert got["recordings"] == "5"


def test_shares_of_recordings_have_icc_bias_and_limits(study: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = compare(tmp_path)
    shares = np.array([[part[:, 1].mean(), part[:, 2].mean()] for part in study.values()])
    difference = shares[:, 1] - shares[:, 0]
    got = {n: float(found["ann", "bob", "smile", f"share_{n}"]["value"]) for n in ("bias", "limit_low", "limit_high")}
    spread = 1.96 * difference.std(ddof=1)
    wanted = {"bias": difference.mean(), "limit_low": difference.mean() - spread,
              "limit_high": difference.mean() + spread}  # fmt: skip
    assert got == pytest.approx(wanted, abs=2e-6)
    with (tmp_path / "out" / "bland_altman.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["second_rater"], r["label"]) == ("bob", "smile")]
    assert [float(r["first"]) for r in rows] == pytest.approx(shares[:, 0], abs=1e-6)
    assert [float(r["difference"]) for r in rows] == pytest.approx(difference, abs=1e-6)
    n, k = shares.shape
    grand = shares.mean()
    bms = k * ((shares.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    jms = n * ((shares.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    rest = shares - shares.mean(axis=1, keepdims=True) - shares.mean(axis=0) + grand
    ems = (rest**2).sum() / ((n - 1) * (k - 1))
    icc = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    assert float(found["ann", "bob", "smile", "share_icc21"]["value"]) == pytest.approx(icc, abs=2e-6)


def test_events_match_within_the_tolerance(study: dict[str, np.ndarray], tmp_path: Path) -> None:
    first = [(1.0, 2.0), (4.0, 8.0), (10.0, 11.0)]
    second = [(1.3, 2.4), (4.2, 9.9), (11.0, 12.0)]
    found = match(first, second, 0.5)
    assert found.onset_errors == pytest.approx((0.3, 0.2))
    assert found.offset_errors == pytest.approx((0.4, 1.9))
    chain = match([(1.0, 2.0), (1.3, 2.3)], [(1.0, 2.0), (0.7, 1.7)], 0.3)
    assert chain.onset_errors == pytest.approx((-0.3, -0.3)), "two matches count more than one without an error"
    assert match(first, second, 0.25).onset_errors == pytest.approx((0.2,))
    events = compare(tmp_path)
    f1 = float(events["ann", "bob", "smile", "event_f1"]["value"])
    precision, recall = (float(events["ann", "bob", "smile", f"event_{n}"]["value"]) for n in ("precision", "recall"))
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert 0.5 < f1 <= 1


times = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=4).map(
    lambda parts: [(a / 10, (a + b) / 10) for a, b in parts]
)


@settings(deadline=None, max_examples=80)
@given(times, times)
def test_no_other_pairing_matches_more_events(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    def fits(a: tuple[float, float], b: tuple[float, float]) -> bool:
        collar = max(0.3, 0.5 * (a[1] - a[0]))
        return abs(b[0] - a[0]) <= 0.3 + 1e-9 and abs(b[1] - a[1]) <= collar + 1e-9

    best = 0
    for size in range(min(len(first), len(second)) + 1):
        for rows in itertools.combinations(range(len(first)), size):
            for columns in itertools.permutations(range(len(second)), size):
                if all(fits(first[i], second[j]) for i, j in zip(rows, columns, strict=True)):
                    best = size
    found = match(first, second, 0.3)
    assert len(found.onset_errors) == len(found.offset_errors) == best
    assert match(first, first, 0.3).onset_errors == pytest.approx((0.0,) * len(first))


def test_a_margin_leaves_out_frames_at_boundaries(study: dict[str, np.ndarray], tmp_path: Path) -> None:
    before = compare(tmp_path)["ann", "bob", "smile", "accuracy"]
    after = compare(tmp_path, "--margin", "0.4")["ann", "bob", "smile", "accuracy"]
    assert float(after["value"]) > float(before["value"])
    assert int(after["units"]) < int(before["units"])


def test_ratings_over_time_and_a_second_table_are_raters(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    model = 0.3 * curves.noise(random, FRAMES, 20).clip(-3, 3)
    human = (0.9 * model + 0.05 + 0.05 * random.normal(size=FRAMES)).clip(-1, 1)
    path = curves.table(tmp_path / "talk.csv", {0: {"valence": model, "arousal": 0 * model}}, FRAMES)
    rows = [f"{k * STEP:.2f},{v:.6f}" for k, v in enumerate(human)]
    (tmp_path / "talk_trace.csv").write_text("\n".join(["recording,time,valence", *(f"talk,{row}" for row in rows)]))
    (tmp_path / "two").mkdir()
    second = curves.table(tmp_path / "two" / "talk.csv", {0: {"valence": human, "arousal": 0 * model}}, FRAMES)
    for coding in (tmp_path / "talk_trace.csv", second):
        code, output = run("agree", path, "--coding", f"x={coding}", "-o", tmp_path / "out")
        assert code == 0, output
        found = statistics(tmp_path / "out" / "agree.csv")
        x, y = np.round(human, 6), np.round(model, 6)
        ccc = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert float(found["x", "model", "valence", "ccc"]["value"]) == pytest.approx(ccc, abs=2e-6)
        assert float(found["x", "model", "valence", "bias"]["value"]) == pytest.approx((y - x).mean(), abs=2e-6)
        assert 0.9 < float(found["x", "model", "valence", "icc21"]["value"]) < 1


@pytest.mark.parametrize(
    ("lines", "words", "code", "sentence"),
    [
        (["talk,1,2,grin"], [], 4, "row 2: 'grin' is not a label of the tables; give --map 'grin=LABEL'"),
        (
            ["talk,1,2,note"],
            ["--map", "note="],
            4,
            "the coding has no event of these tables: its files are empty, or --map ignores all",
        ),
        (["talk,30,31,smile"], [], 4, "row 2: from 30 to 31 s is outside of talk"),
        (["walk,1,2,smile"], [], 4, "row 2: no table of the recording 'walk'"),
        (["two,1,2,smile"], [], 4, "row 2: it names no person, but two has 2 (0, 1)"),
        (["talk,1,5,happiness", "talk,3,6,sadness"], [], 4, "row 3: sadness begins while happiness"),
        (["talk,1,2,smile"], ["--map", "x=grin"], 2, "--map x=grin: write it as grin=smile"),
        (["talk,1,2,smile"], ["--plot", "p.png"], 2, "no coder coded expressions"),
    ],
)
def test_codings_that_do_not_fit_are_one_sentence(
    tmp_path: Path, lines: list[str], words: list[str], code: int, sentence: str
) -> None:
    value = np.full(FRAMES, 0.5)
    tables = [curves.table(tmp_path / "talk.csv", {0: {"AU12_p": value}}, FRAMES),
              curves.table(tmp_path / "two.csv", {0: {"AU12_p": value}, 1: {"AU12_p": value}}, FRAMES)]  # fmt: skip
    coding = tmp_path / "coding.csv"
    coding.write_text("\n".join(["recording,onset,offset,label", *lines]) + "\n")
    got, output = run("agree", *tables, "--coding", coding, "-o", tmp_path / "out", *words)
    assert got == code
    assert sentence in output
    if "plot" not in str(words):
        assert not (tmp_path / "out").exists()


def test_a_coding_with_gaps_leaves_uncoded_time_out_of_the_comparison_of_classes(tmp_path: Path) -> None:
    p = np.where(np.arange(FRAMES) < 250, 0.9, 0.1)
    path = curves.table(tmp_path / "talk.csv", {0: {"p_happiness": p, "p_neutral": 1 - p}}, FRAMES)
    coding = tmp_path / "coding.csv"
    coding.write_text("onset,offset,label\n2,6,happiness\n14,18,neutral\n")
    assert run("agree", path, "--coding", coding, "-o", tmp_path / "out")[0] == 0
    found = statistics(tmp_path / "out" / "agree.csv")
    assert found["coder", "model", "expression", "kappa"]["value"] == "1.000000"
    assert found["coder", "model", "expression", "kappa"]["units"] == "200"
    assert float(found["coder", "model", "happiness", "recall"]["value"]) == 1.0
    assert int(found["coder", "model", "happiness", "kappa"]["units"]) == FRAMES, "an event that is not coded is absent"


def test_ratings_that_belong_to_no_table_are_named(tmp_path: Path) -> None:
    table = curves.table(tmp_path / "talk.csv", {0: {"valence": np.full(FRAMES, 0.5)}}, FRAMES)
    ratings = tmp_path / "talk_va.csv"
    ratings.write_text("time,valence\n0,0.1\n1,0.2\n")
    code, output = run("agree", table, "--coding", ratings, "-o", tmp_path / "out")
    assert code == 4
    assert "the ratings are of talk_va, but the tables of talk; name each file of ratings after its table" in output
    ratings.write_text("time,valence\n0,high\n")
    code, output = run("agree", table, "--coding", ratings, "-o", tmp_path / "out")
    assert code == 4 and output.rstrip().endswith("row 2: valence is 'high', not a number.")
