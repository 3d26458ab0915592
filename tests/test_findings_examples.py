"""The worked examples of the documentation: their numbers again, with numpy alone, from the written definitions."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import DOCS, ROOT
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.postprocess.recipe import Recipe

AU06, AU12 = (Recipe.usual().thresholds[unit] for unit in ("AU06", "AU12"))  # from which segments begin
EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt", "other")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample videos and their tables in ``results``."""
    place = tmp_path_factory.mktemp("examples")
    shutil.copytree(ROOT / "sample_videos", place / "sample_videos")
    videos = [str(place / "sample_videos" / f"{name}.mp4") for name in ("langer_pexels", "two_faces")]
    result = CliRunner().invoke(app, ["annotate", *videos, "-o", str(place / "results"), "-q"])
    assert result.exit_code == 0, result.output
    return place


def commands(page: str) -> list[list[str]]:
    """The commands of a page's block that this file runs, without annotate."""
    text = (DOCS / page).read_text()
    found = re.findall(r"<!-- not run: [^\n]*test_findings_examples.py runs it -->\n```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line and not line.startswith("hsemotion annotate")]


def shown(page: str, name: str) -> list[list[str]]:
    """The cells of a table of a page, between two markers, without its header."""
    text = (DOCS / page).read_text().partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


def run(folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(table: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name] or "nan") for row in table])


def smoothed(time: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Gaussian of 0.2 s up to 4 standard deviations, renormalised."""
    distance = np.abs(time[:, None] - time[None, :])
    weight = np.where(distance <= 0.8, np.exp(-(distance**2) / 0.08), 0.0)
    return weight @ values / weight.sum(axis=1)


def switched(values: np.ndarray, onset: float, offset: float) -> np.ndarray:
    on, state = np.zeros(len(values), bool), False
    for k, value in enumerate(values):
        state = bool(value >= onset or (state and value >= offset))
        on[k] = state
    return on


def intervals(time: np.ndarray, on: np.ndarray) -> list[tuple[float, float]]:
    """Steps 3 to 5 of docs/segments.md for a face that is in every frame."""
    end = np.append(time[1:], time[-1] + np.median(np.diff(time)))
    found: list[tuple[float, float]] = []
    for k in np.flatnonzero(on):
        if found and time[k] - found[-1][1] <= 0.25 + 1e-9:
            found[-1] = (found[-1][0], end[k])
        else:
            found.append((time[k], end[k]))
    return [(a, b) for a, b in found if b - a >= 0.5 - 1e-9]


def described(time: np.ndarray, value: np.ndarray, on: np.ndarray, *names: str) -> list[list[object]]:
    length = np.append(np.diff(time), np.median(np.diff(time)))
    found: list[list[object]] = []
    for a, b in intervals(time, on):
        inside = (time >= a - 1e-9) & (time < b - 1e-9)
        mean = (value * length)[inside].sum() / length[inside].sum()
        peak = time[inside][value[inside].argmax()]
        found.append([*names, a, peak, b, b - a, mean, value[inside].max()])
    return found


def test_segments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands("segments.md"):
        run(folder, words, monkeypatch)
    table = rows(folder / "results" / "langer_pexels.csv")
    time = column(table, "time")
    p = np.column_stack([smoothed(time, column(table, f"p_{name}")) for name in EXPRESSIONS if table[0][f"p_{name}"]])
    names = [name for name in EXPRESSIONS if table[0][f"p_{name}"]]
    lips, cheeks = smoothed(time, column(table, "AU12_p")), smoothed(time, column(table, "AU06_p"))
    wanted = []
    for k, name in enumerate(names):
        wanted += described(time, p[:, k], switched(p[:, k], 0.5, 0.4) & (p.argmax(axis=1) == k), "expression", name)
    smile, raised = switched(lips, AU12, 0.8 * AU12), switched(cheeks, AU06, 0.8 * AU06)
    wanted += described(time, lips, smile, "smile", "smile")
    wanted += described(time, np.minimum(lips, cheeks), smile & raised, "smile", "duchenne")
    written = [row for row in rows(folder / "findings" / "segments.csv") if row["recording"] == "langer_pexels"]
    numbers = ("onset", "peak", "offset", "duration", "mean", "maximum")
    assert len(wanted) == len(written) == len(shown("segments.md", "segments"))
    order = sorted(range(len(wanted)), key=lambda k: [row[:2] for row in shown("segments.md", "segments")].index(
        [str(wanted[k][0]), str(wanted[k][1])]))  # fmt: skip
    for want, got, cells in zip([wanted[k] for k in order], written, shown("segments.md", "segments"), strict=True):
        assert [got["kind"], got["label"]] == want[:2] == cells[:2]
        assert [float(got[name]) for name in numbers] == pytest.approx(want[2:], abs=2e-5)
        assert [float(cell) for cell in cells[2:]] == pytest.approx(want[2:], abs=0.05)  # as on other processors


def test_what_a_smile_is(folder: Path) -> None:
    table = rows(folder / "results" / "langer_pexels.csv")
    lips, cheeks = column(table, "AU12_c") == 1, column(table, "AU06_c") == 1
    happy = np.array([row["expression"] == "happiness" for row in table])
    shares = [float(cells[1].removesuffix("%")) for cells in shown("segments.md", "smiles")]
    assert shares == pytest.approx([100 * v.mean() for v in (lips, lips & cheeks, happy)], abs=0.5)


def test_summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files_of("summary.md", folder)
    for words in commands("summary.md"):
        run(folder, words, monkeypatch)
    table = rows(folder / "results" / "langer_pexels.csv")
    time, valence, raw = (column(table, name) for name in ("time", "valence", "p_happiness"))
    p = np.column_stack([smoothed(time, column(table, f"p_{n}")) for n in EXPRESSIONS if table[0][f"p_{n}"]])
    names = [name for name in EXPRESSIONS if table[0][f"p_{name}"]]
    k = names.index("happiness")
    happy = intervals(time, switched(p[:, k], 0.5, 0.4) & (p.argmax(axis=1) == k))
    length = np.append(np.diff(time), np.median(np.diff(time)))
    rest = valence[time < 6]
    written = [rows(folder / name) for name in ("summary.csv", "z.csv")]
    for row, z, cells in zip(*written, shown("summary.md", "summary"), strict=True):
        onset, offset = float(row["onset"]), float(row["offset"])
        inside = (time >= onset) & (time < offset)
        smiling = np.array([any(a <= t < b for a, b in happy) for t in time[inside]])
        begun = [a - onset for a, _ in happy if onset <= a < offset]
        want = [
            min(length[inside].sum() / (offset - onset), 1), valence[inside].mean(), valence[inside].std(ddof=1),
            np.percentile(raw[inside], 95), time[inside][valence[inside].argmax()] - onset, smiling.mean(), len(begun),
            begun[0] if begun else np.nan, ((valence[inside] - rest.mean()) / rest.std(ddof=1)).mean(),
        ]  # fmt: skip
        columns = ("coverage", "valence_mean", "valence_sd", "p_happiness_p95", "valence_latency", "happiness_share",
                   "happiness_count", "happiness_first")  # fmt: skip
        got = [float(row[name] or "nan") for name in columns] + [float(z["valence_mean"])]
        assert got == pytest.approx(want, abs=2e-5, nan_ok=True)
        assert cells[0] == row["window"]
        assert [float(cell or "nan") for cell in cells[1:]] == pytest.approx(want, abs=0.05, nan_ok=True)


def files_of(page: str, folder: Path) -> None:
    """Write the files that a page shows."""
    text = (DOCS / page).read_text()
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL):
        (folder / name).write_text(content)


def test_agree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files_of("agree.md", folder)
    for words in commands("agree.md"):
        run(folder, words, monkeypatch)
    table = rows(folder / "results" / "langer_pexels.csv")
    time = column(table, "time")
    events = {
        "ann": [(0.2, 5.5), (9.0, 19.6)], "bob": [(0.5, 5.9), (10.0, 19.6)],
        "model": intervals(time, switched(smoothed(time, column(table, "AU12_p")), AU12, 0.8 * AU12)),
    }  # fmt: skip
    state = {name: np.array([any(a <= t < b for a, b in own) for t in time]) for name, own in events.items()}
    written = {(r["first"], r["second"], r["label"], r["statistic"]): float(r["value"] or "nan")
               for r in rows(folder / "agreement" / "agree.csv")}  # fmt: skip
    for cells in shown("agree.md", "agree"):
        first, second = cells[0].split(" - ")
        x, y = state[first], state[second]
        n, both = len(x), (x & y).sum()
        observed, expected = (x == y).mean(), x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
        ones = x.sum() + y.sum()
        disagreement = 2 * (x != y).sum() * (2 * n - 1) / (2 * ones * (2 * n - ones))
        pairs = [(a, b) for a in events[first] for b in events[second]
                 if abs(b[0] - a[0]) <= 0.5 and abs(b[1] - a[1]) <= max(0.5, (a[1] - a[0]) / 2)]  # fmt: skip
        want = [
            (observed - expected) / (1 - expected), 1 - disagreement, 2 * both / ones,
            2 * len(pairs) / (len(events[first]) + len(events[second])), np.mean([b[0] - a[0] for a, b in pairs]),
        ]  # fmt: skip
        names = ("kappa", "alpha", "f1", "event_f1", "onset_error")
        assert [written[first, second, "smile", name] for name in names] == pytest.approx(want, abs=2e-5)
        assert [float(cell) for cell in cells[1:]] == pytest.approx(want, abs=0.05)
    assert len(shown("agree.md", "agree")) == 3


def test_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands("sync.md"):
        run(folder, words, monkeypatch)
    table = rows(folder / "results" / "langer_pexels.csv")
    time = column(table, "time")
    end = time[-1] + np.median(np.diff(time))
    n = round((end - 0.5) * 10)
    written = rows(folder / "synchrony" / "sync.csv")
    for row, cells in zip(written, shown("sync.md", "sync"), strict=True):
        value = column(table, row["measure"])

        def sampled(late: float, value: np.ndarray = value) -> np.ndarray:
            clock = time + late
            near = [np.floor((clock - 0.5) * 10 + 0.5) == k for k in range(n)]
            return np.array([value[own].mean() for own in near])

        x, y, w, lags = sampled(0.0), sampled(0.5), 50, range(-20, 21)

        def at(start: int, k: int, x: np.ndarray = x, y: np.ndarray = y) -> float:
            one, other = x[start + max(-k, 0) :][:50], y[start + max(k, 0) :][:50]
            return float(min(np.arctanh(min(np.corrcoef(one, other)[0, 1], 1 - 1e-15)), 10))

        z = [[at(start, k) for k in lags] for start in range(0, n - w - 20 + 1, 10)]
        curve = np.mean(z, axis=0)

        def concordance(k: int, x: np.ndarray = x, y: np.ndarray = y) -> float:
            a, b = x[max(-k, 0) : n - max(k, 0)], y[max(k, 0) : n - max(-k, 0)]
            return 2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)

        agreed = [concordance(k) for k in lags]
        want = [len(z), np.abs(z).mean(), (curve.argmax() - 20) / 10, curve.max(), agreed[20],
                (np.argmax(agreed) - 20) / 10, max(agreed)]  # fmt: skip
        names = ("windows", "synchrony", "peak_lag", "peak_z", "ccc", "ccc_lag", "ccc_peak")
        assert [float(row[name]) for name in names] == pytest.approx(want, abs=2e-4)
        assert cells[0] == row["measure"]
        assert [float(cell) for cell in cells[1:8]] == pytest.approx(want, abs=0.05)
        assert want[2] == 0.5, "the second follows the first by half a second"


def test_neutral(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands("calibrate.md"):
        run(folder, words, monkeypatch)
    before, after = (rows(folder / name / "langer_pexels.csv") for name in ("results", "corrected"))
    names = [name for name in EXPRESSIONS if before[0][f"p_{name}"]]
    time = column(before, "time")
    inside = (time >= 6) & (time < 9)
    p = np.column_stack([column(before, f"p_{name}") for name in names])
    level = np.exp(np.log(np.clip(p[inside], 1e-6, 1)).mean(axis=0))
    wanted = np.where(np.array(names) == "neutral", 0.8, 0.2 / (len(names) - 1))
    offset = np.log(wanted / (level / level.sum()))
    offset = np.where(np.array(names) == "neutral", offset.clip(0, 3), offset.clip(-3, 0))
    moved = p * np.exp(offset)
    moved /= moved.sum(axis=1, keepdims=True)
    got = np.column_stack([column(after, f"p_{name}") for name in names])
    assert got == pytest.approx(moved, abs=5e-4)
    cells = {row[0]: [float(cell) for cell in row[1:]] for row in shown("calibrate.md", "neutral")}
    neutral = names.index("neutral")
    assert cells["mean p_neutral, 6 to 9 s"] == pytest.approx([v[inside, neutral].mean() for v in (p, got)], abs=0.05)
    medians = [np.median(column(table, "valence")[inside]) for table in (before, after)]
    assert cells["median valence, 6 to 9 s"] == pytest.approx(medians, abs=0.05)
    assert medians[1] == pytest.approx(0, abs=1e-3)
    happy = [np.mean([row["expression"] == "happiness" for row in table]) for table in (before, after)]
    assert cells["share of frames with happiness"] == pytest.approx(happy, abs=0.05)
