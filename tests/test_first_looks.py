"""Where the summary on the terminal sends its reader first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsemotion_cli.analysis.first_looks import Look, first_looks
from hsemotion_cli.analysis.video_summary import VideoSummary
from hsemotion_cli.batch.messages import Outcome, Task
from hsemotion_cli.commands.annotate_view import print_summaries
from hsemotion_cli.commands.batch_view import print_where_to_look
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import Affect

STEPS = np.random.default_rng(2).uniform(0.02, 0.06, 500)
TIMES = np.cumsum(STEPS)  # a varying frame rate, 20 s


def affect(seen: np.ndarray, uncertainty: np.ndarray, time: np.ndarray = TIMES) -> Affect:
    """One face in the frames where it is seen."""
    row = np.flatnonzero(seen)
    count = len(row)
    return Affect(
        np.arange(len(time)), time, row, np.zeros(count, np.int64), np.zeros(count, bool), np.ones(count),
        np.ones((count, 4)), {}, Recipe.usual(), measures={"uncertainty_expression": uncertainty[row]},
    )  # fmt: skip


def test_the_longest_gap_lasts_until_the_face_is_back() -> None:
    seen = np.ones(500, bool)
    seen[100:110] = seen[200:260] = seen[490:] = False
    (gap,) = first_looks(affect(seen, np.full(500, 0.3)))
    assert (gap.start, gap.end, gap.reason) == (TIMES[200], TIMES[260], "no face found")


@pytest.mark.parametrize("part", [slice(0, 60), slice(440, 500)])
def test_a_gap_at_an_end_counts(part: slice) -> None:
    seen = np.ones(500, bool)
    seen[part] = False
    (gap,) = first_looks(affect(seen, np.full(500, 0.3)))
    assert gap.start == TIMES[part][0]
    assert gap.end == pytest.approx(TIMES[60] if part.stop == 60 else TIMES[-1] + STEPS[-1])


def test_the_least_certain_window_has_the_highest_mean() -> None:
    values = np.random.default_rng(1).uniform(0, 0.4, 500)
    values[300:350] += 0.5
    (look,) = first_looks(affect(np.ones(500, bool), values))
    begins = [k for k in range(500) if TIMES[k] + 2 <= TIMES[-1]]
    means = [values[(TIMES[k] <= TIMES) & (TIMES[k] + 2 > TIMES)].mean() for k in begins]
    best = int(np.argmax(means))
    assert look.start == pytest.approx(TIMES[best]) and look.end == pytest.approx(TIMES[best] + 2)
    assert f"uncertainty {max(means):.2f}, {values.mean():.2f} on average" in look.reason


def test_nothing_is_said_where_nothing_stands_out() -> None:
    every = np.ones(500, bool)
    assert first_looks(affect(every, np.full(500, 0.7))) == []
    assert first_looks(affect(every, np.full(500, np.nan))) == []
    short = np.arange(50) / 25
    assert first_looks(affect(np.zeros(50, bool), np.zeros(50), short)) == []
    assert first_looks(affect(np.zeros(50, bool), np.zeros(50), np.zeros(50))) == [], "photos"


def summary(source: str, table: str, looks: list[Look], kind: str = "video", **outputs: str) -> VideoSummary:
    frames = {"analysed": 9, "decode_failures": 0, "corrupt": 0, "variable_frame_rate": False}
    return VideoSummary(
        source, "", {"csv": table, **outputs}, frames, 1.0, 1, 9, {}, None, None, {}, 1.0, [], looks, kind
    )


@pytest.mark.parametrize(
    ("summaries", "last"),
    [
        ([summary("a b.mp4", "out/a b.csv", [])], "to look at it: hsemotion report 'out/a b.csv' --video 'a b.mp4'"),
        ([summary("/dev/video0", "a.csv", [], growing="a.live.csv", recording="a.mkv")],
         "to look at it: hsemotion report a.csv --video a.mkv"),
        ([summary("/dev/video0", "a.csv", [], growing="a.live.csv")], "to look at it: hsemotion report a.csv"),
        ([summary(__file__, "a.csv", [], growing="a.live.csv")],
         f"to look at it: hsemotion report a.csv --video {__file__}"),
        ([summary("v/a.mp4", "out/a.csv", []), summary("v/b.mp4", "out/b.csv", [])],
         "to look at them: hsemotion report out --video v"),
        ([summary("v/a.mp4", "out/a.csv", []), summary("w/b.mp4", "out/b.csv", [])],
         "to look at one of them: hsemotion report TABLE --video VIDEO"),
        ([summary("a.mp4", "out/a.csv", [Look(1.0, 3.25, "no face found")], report="out/a.html")],
         "a.mp4: look first at 1.0 to 3.2 s (no face found)\na.mp4: to look at it, open out/a.html"),
    ],
)  # fmt: skip
def test_the_summary_ends_with_where_to_look(
    summaries: list[VideoSummary], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summaries(summaries, verbose=False)
    assert capsys.readouterr().out.rstrip().endswith(last)


def test_photos_have_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    print_summaries([summary("photos", "out/photos.csv", [], kind="photos")], verbose=False)
    assert "hsemotion report" not in capsys.readouterr().out


def test_a_batch_names_the_recordings_with_the_fewest_faces(capsys: pytest.CaptureFixture[str]) -> None:
    shares = {"a": 0.95, "b": 0.5, "c": 0.1, "d": 0.2, "e": 0.6, "f": None}
    outcomes = [Outcome(Task(f"{n}.mp4", n), "done", facts={"coverage": s}) for n, s in shares.items()]
    print_where_to_look(outcomes, Path("my out"), reported=False)
    assert capsys.readouterr().out.splitlines() == [
        "fewest faces: c 10%, d 20%, b 50%", "to look at them: hsemotion report 'my out'"
    ]  # fmt: skip
    print_where_to_look(outcomes[:1], Path("out"), reported=True)
    assert capsys.readouterr().out.splitlines() == [f"to look at them, open {Path('out', 'index.html')}"]
