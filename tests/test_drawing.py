"""The look of one frame: boxes where they should be, scores beside the image, and only what is known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.overlay import labels, panel, sprites
from hsemotion_cli.overlay.drawing import PALETTE, DrawnFace, Sizes, read_row
from hsemotion_cli.overlay.labels import LabelPlacer, touching
from hsemotion_cli.overlay.layout import OverlayPainter
from hsemotion_cli.overlay.panel import FORMS, lay_out
from hsemotion_cli.overlay.strip import HOLD, Moment, PanelStrip, header_height, strip_size
from hsemotion_cli.tasks import ACTION_UNITS, COMPOUNDS, EXPRESSIONS

SIZES = [(640, 360), (1280, 720), (1920, 1080), (3840, 2160), (608, 1080)]
Box = tuple[float, float, float, float]


def row(box: Box, key: int = 0, **values: Any) -> dict[str, Any]:
    """A row that knows everything, of a happy face."""
    known: dict[str, Any] = {"frame": 0, "time": 0.0, "face_id": key, "face_detected": True, "interpolated": 0}
    known |= dict(zip("xywh", box, strict=True)) | {"det_score": 0.97, "valence": 0.6, "arousal": -0.3}
    known |= {"expression": "happiness", "expression_score": 0.65, "compound": "happily_surprised"}
    known |= {f"p_{name}": 0.65 if name == "happiness" else 0.05 for name in EXPRESSIONS}
    known |= {f"p_{name}": 0.3 for name in COMPOUNDS}
    known |= {f"{unit}_p": k / 11 for k, unit in enumerate(ACTION_UNITS)}
    known |= {f"{unit}_c": int(k > 5) for k, unit in enumerate(ACTION_UNITS)}
    return known | values


def only_box(box: Box, key: Any = None, **values: Any) -> dict[str, Any]:
    """A row that knows no more than where the face is."""
    return dict(zip("xywh", box, strict=True)) | {"face_id": key} | values


def grey(width: int, height: int, level: int = 120) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


NOW = Moment(356, 14.24, 356)


def draw(image: np.ndarray, rows: Any) -> np.ndarray:
    """The part of an overlay that is the image, without the strip beside it."""
    height, width = image.shape[:2]
    return OverlayPainter(width, height).draw(image, rows, NOW)[:height, :width]


def strip(image: np.ndarray, rows: Any, moment: Moment = NOW) -> np.ndarray:
    """The strip of an overlay."""
    height, width = image.shape[:2]
    return OverlayPainter(width, height).draw(image, rows, moment)[:, width:]


def changed(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(h, w) bool, where anything was drawn."""
    return np.any(image != drawn, axis=2)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def scaled(width: int, height: int, x: float, y: float, size: float) -> Box:
    """A square box from shares of the image's width, height and height."""
    return x * width, y * height, size * height, size * height


def test_the_image_itself_is_left_alone() -> None:
    image = grey(320, 180)
    drawn = draw(image, [row((100, 60, 60, 60))])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 120).all() and changed(image, drawn).any()


def test_frames_without_faces_change_nothing() -> None:
    image = grey(320, 180)
    np.testing.assert_array_equal(draw(image, []), image)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_box_is_drawn_where_the_face_is(width: int, height: int) -> None:
    box = scaled(width, height, 0.4, 0.3, 0.3)
    mask = changed(grey(width, height), draw(grey(width, height), [only_box(box)]))
    left, top, right, bottom = bounds(mask)
    reach = 2 * Sizes.of(width, height).line
    assert left == pytest.approx(box[0], abs=reach) and right == pytest.approx(box[0] + box[2], abs=reach)
    assert top == pytest.approx(box[1], abs=reach) and bottom == pytest.approx(box[1] + box[3], abs=reach)
    inside = mask[round(box[1]) + reach : round(box[1] + box[3]) - reach]
    assert not inside[:, round(box[0]) + reach : round(box[0] + box[2]) - reach].any(), "the face itself is seen"


def test_the_box_has_the_colour_of_its_id() -> None:
    for key in (0, 1, 5, 8):
        drawn = draw(grey(640, 360), [only_box((200, 100, 120, 120), key)])
        assert tuple(drawn[100, 220]) == PALETTE[key % len(PALETTE)]


def test_an_interpolated_box_is_dashed() -> None:
    def upper_edge(**values: Any) -> np.ndarray:
        drawn = draw(grey(640, 360), [only_box((200, 100, 120, 120), **values)])
        return changed(grey(640, 360), drawn)[100, 202:318]  # between the round corners

    assert upper_edge(interpolated=0).all()
    for values in ({"interpolated": 1}, {"interpolated": 1, "face_detected": False}, {"face_detected": 0}):
        edge = upper_edge(**values)
        assert 0.5 < edge.mean() < 0.85
        assert np.count_nonzero(np.diff(edge.astype(int)) > 0) > 5, "many dashes"


@pytest.mark.parametrize(("width", "height"), [*SIZES, (320, 240), (96, 64)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_scores_cover_nothing_of_the_image(width: int, height: int, count: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    boxes = [(width * k / count, 0.4 * height, width / (2 * count), width / (2 * count)) for k in range(count)]
    bare = draw(image, [only_box(box) for box in boxes])
    unnamed: dict[str, Any] = {"face_id": None, "expression": None, "valence": None, "arousal": None}
    full = OverlayPainter(width, height).draw(image, [row(box, **unnamed) for box in boxes], NOW)
    np.testing.assert_array_equal(full[:height, :width], bare, "without a label only boxes are drawn on the image")
    assert full.shape[0] % 2 == full.shape[1] % 2 == 0, "as yuv420p needs it"
    assert np.ptp(full[:, width:].reshape(-1, 3), axis=0).max() > 150, "the scores stand beside it"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_all_of_a_panel_lies_on_its_ground(width: int, height: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes.of(width, height)
    face = read_row(row(scaled(width, height, 0, 0, 0.1), compound="disgustedly_surprised"), width, height)
    assert face is not None
    plan = lay_out(face.sections, form, sizes)
    pasted: list[tuple[int, int, int, int]] = []

    def note(_: Any, stamp: sprites.Sprite, x: int, y: int) -> None:
        # The part with ink: a line of text has room above and below it.
        rows, columns = np.nonzero(stamp.keep[..., 0] < 255)
        if len(rows):
            pasted.append((x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1))

    # Text is pasted where sprites are made.
    for module in (panel, labels, sprites):
        monkeypatch.setattr(module, "paste", note)
    panel.draw_panel(grey(1, 1), face, plan, 0, 0, sizes)
    ground, *rest = pasted
    assert ground == (0, 0, plan.width, plan.height) and len(rest) > (25 if form == "brief" else 50)
    edge, least = sizes.pad // 2, max(1, sizes.gap // 3)
    for left, top, right, bottom in rest:
        assert edge <= left and least <= top and right <= plan.width - edge and bottom <= plan.height - least
    strip_width, canvas_height = strip_size(width, height, sizes)
    assert plan.width < strip_width and plan.height < canvas_height


def test_texts_of_a_panel_do_not_run_into_bars_or_numbers() -> None:
    for width, height in [*SIZES, (320, 240)]:
        sizes = Sizes.of(width, height)
        longest = max(sprites.word(name, sizes.text, PALETTE[0]).width for name in EXPRESSIONS)
        assert longest < round(5.3 * sizes.text)
        number = sprites.word("0.00", sizes.text, PALETTE[0]).width
        assert round(5.3 * sizes.text) + round(5.6 * sizes.text) + number < sizes.content
        compound = max(sprites.word(n.replace("_", " "), sizes.small, PALETTE[0]).width for n in COMPOUNDS)
        assert compound + number < sizes.content
        row_of_dial = sizes.dial + 3 * sizes.gap + sprites.word("valence", sizes.text, PALETTE[0]).width
        assert row_of_dial + sprites.word("+0.00", sizes.text, PALETTE[0]).width < sizes.content
        assert sprites.word("26", sizes.small, PALETTE[0]).width < panel.cell_size(sizes)[0] - 2
        half = sprites.word("valence", sizes.small, PALETTE[0]).width + sizes.gap
        assert half + sprites.word("+0.00", sizes.small, PALETTE[0]).width <= panel.affect_width(sizes)
        moment = sum(sprites.word(text, sizes.text, PALETTE[0]).width for text in ("frame 1234567", "12345.678 s"))
        assert moment < sizes.content


def test_a_class_that_the_model_lacks_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes.of(1280, 720)
    affectnet, affwild2 = (dict[str, Any]({f"p_{name}": None}) for name in ("other", "contempt"))
    written: list[str] = []

    def write(_canvas: object, text: str, *_rest: object) -> int:
        written.append(text)
        return 0

    monkeypatch.setattr(panel, "write", write)
    faces = [read_row(row((10, 10, 90, 90), **values), 1280, 720) for values in (affectnet, affwild2, {})]
    heights = [lay_out(face.sections, "full", sizes).height for face in faces if face]
    assert heights[0] == heights[1] == heights[2] - sizes.row
    for face, last in zip(faces, ("contempt", "other", "other"), strict=True):
        assert face is not None
        panel.draw_expressions(grey(400, 400), face, 0, 0, sizes.row, sizes)
        names = [text for text in written if text in EXPRESSIONS]
        assert (len(names), names[-1]) == (len(face.expressions), last)
        written.clear()


def test_a_face_that_fills_the_image_keeps_a_label_only() -> None:
    image = grey(224, 224)
    mask = changed(image, draw(image, [row((0, 0, 224, 224))]))
    assert mask.any()
    assert mask[60:164, 30:194].mean() < 0.02, "eyes, nose and mouth are seen"


def known(boxes: list[Box], width: int, height: int) -> list[DrawnFace]:
    return [face for k, box in enumerate(boxes) if (face := read_row(row(box, k), width, height))]


def people(*keys: int, **values: Any) -> list[DrawnFace]:
    """Faces of these ids."""
    return [face for key in keys if (face := read_row(row((10, 10, 90, 90), key, **values), 1280, 720))]


class Seats:
    """The panels of a strip over time: id -> top of its panel, and the form of all of them."""

    def __init__(self, width: int = 1280, height: int = 720, hold: float = HOLD) -> None:
        sizes = Sizes.of(width, height)
        self.height = strip_size(width, height, sizes)[1]
        self.header = header_height(sizes)
        self.strip = PanelStrip(width, self.height, sizes, hold)
        self.form = ""

    def at(self, time: float, *keys: int) -> dict[int | None, int]:
        shown = self.strip.panels(people(*keys), time)
        for _, plan, top, _ in shown:
            self.form = plan.form
            assert top >= self.header and top + plan.height <= self.height, "the panel is inside the strip"
        tops = sorted((top, top + plan.height) for _, plan, top, _ in shown)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(tops)), "no panel covers another"
        return {face.key: top for face, _, top, seen in shown if seen}


@pytest.mark.parametrize(
    ("size", "forms"),
    [
        ((640, 360), "full brief brief"),
        ((1280, 720), "full compact brief brief brief"),
        ((1920, 1080), "full compact brief brief brief"),
        ((3840, 2160), "full compact brief brief brief"),
        ((608, 1080), "full full full compact brief"),
        ((320, 240), "compact brief"),
        ((96, 64), "compact brief"),
    ],
)
def test_each_person_has_a_panel_in_the_fullest_form_with_room(size: tuple[int, int], forms: str) -> None:
    for count, form in enumerate(forms.split(), 1):
        seats = Seats(*size)
        assert len(seats.at(0.0, *range(count))) == count
        assert seats.form == form


def test_a_panel_of_any_form_has_action_units() -> None:
    (face,) = people(0)
    assert all(lay_out(face.sections, form, Sizes.of(640, 360)).units is not None for form in FORMS)


def test_those_without_room_are_counted_and_say_more_in_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [scaled(640, 360, 0.05 + 0.3 * (k % 3), 0.15 + 0.4 * (k // 3), 0.15) for k in range(6)]
    faces, written = known(boxes, 640, 360), []
    rich: list[int] = []

    def write(_canvas: object, text: str, *_rest: object) -> int:
        written.append(text)
        return 0

    def place(_: LabelPlacer, face: DrawnFace, _avoid: object, rich_label: bool = False, **values: bool) -> None:
        if values["rich"]:
            rich.append(face.key or 0)

    monkeypatch.setattr("hsemotion_cli.overlay.strip.write", write)
    monkeypatch.setattr(LabelPlacer, "place", place)
    draw(grey(640, 360), [row(box, k) for k, box in enumerate(boxes)])
    assert len(faces) == 6 and rich == [3, 4, 5]
    assert "3 more: see the table" in written


def test_a_person_keeps_the_place_of_the_panel() -> None:
    seats = Seats()
    first = seats.at(0.0, 0, 1, 2)
    assert seats.at(0.04, 2, 1, 0) == first, "whatever the order of the rows"
    assert seats.at(0.08, 2, 0) == {key: first[key] for key in (0, 2)}, "one is not found in a frame"
    assert seats.at(0.12, 0, 1, 2) == first
    assert seats.at(0.16, 0, 2, 7) == {0: first[0], 2: first[2], 7: first[1]}, "another takes the place of who is away"


def test_one_person_with_many_ids_stays_in_one_full_panel() -> None:
    seats = Seats()
    tops = {seats.at(0.04 * key, key)[key] for key in range(20)}
    assert len(tops) == 1 and seats.form == "full"


def test_a_panel_is_given_up_after_a_while() -> None:
    seats = Seats()
    seats.at(0.0, 0, 1)
    assert seats.form == "compact"
    for time in np.arange(0.0, HOLD, 0.25):
        seats.at(float(time), 0)
        assert seats.form == "compact", "the place of the other is still kept"
    seats.at(HOLD, 0)
    assert seats.form == "full"
    photos = Seats(hold=0.0)
    photos.at(0.0, 0, 1)
    photos.at(1.0, 0)
    assert photos.form == "full", "photos have nothing to do with each other"


def test_a_missing_value_moves_nothing() -> None:
    seats = Seats()
    before = seats.at(0.0, 0, 1)
    shown = seats.strip.panels(people(0, 1, valence=None, arousal=None, AU12_p=None), 0.04)
    assert {face.key: top for face, _, top, _ in shown} == before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=7, unique=True), max_size=30), st.sampled_from(SIZES))
def test_panels_never_cover_each_other(frames: list[list[int]], size: tuple[int, int]) -> None:
    seats = Seats(*size)
    for k, keys in enumerate(frames):
        assert set(seats.at(0.3 * k, *keys)) <= set(keys)


def test_frame_and_time_are_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def write(_canvas: object, text: str, *_rest: object) -> int:
        written.append(text)
        return 0

    monkeypatch.setattr("hsemotion_cli.overlay.strip.write", write)
    for moment, expected in (
        (Moment(356, 14.24, 356), ["frame 356", "14.240 s", "no face"]),
        (Moment(357, 14.2734, 356), ["frame 357", "14.273 s", "scores of frame 356, no face"]),
        (Moment(2, None, 2), ["frame 2", "no face"]),
    ):
        written.clear()
        strip(grey(640, 360), [], moment)
        assert written == expected


SOME_BOX = st.tuples(st.floats(-40, 620), st.floats(-40, 340), st.floats(8, 400), st.floats(8, 360))


@settings(max_examples=100, deadline=None)
@given(st.lists(SOME_BOX, min_size=2, max_size=7))
def test_labels_touch_neither_faces_of_others_nor_each_other(boxes: list[Box]) -> None:
    faces, placer = known(boxes, 640, 360), LabelPlacer(640, 360, Sizes.of(640, 360))
    taken: list[tuple[int, int, int, int]] = []
    for face in faces:
        avoid = [other.box for other in faces if other is not face] + taken
        found = placer.place(face, avoid, rich=True)
        if found is not None:
            label, left, top = found
            rect = (left, top, left + label.width, top + label.height)
            assert left >= 0 and top >= 0 and rect[2] <= 640 and rect[3] <= 360
            assert not any(touching(rect, other) for other in avoid)
            taken.append(rect)


def test_six_faces_have_six_full_labels() -> None:
    boxes = [scaled(1280, 720, 0.04 + 0.32 * (k % 3), 0.12 + 0.5 * (k // 3), 0.2) for k in range(6)]
    faces, sizes = known(boxes, 1280, 720), Sizes.of(1280, 720)
    for face in faces:
        found = LabelPlacer(1280, 720, sizes).place(face, [other.box for other in faces], rich=True)
        assert found is not None and found[0].height > labels.label_height(sizes), "two lines"


def test_a_label_does_not_flip_with_a_trembling_box() -> None:
    sizes = Sizes.of(1280, 720)
    placer = LabelPlacer(1280, 720, sizes)
    height = labels.label_height(sizes) + sizes.gap + sizes.line

    def below(y: float) -> bool:
        (face,) = known([(500.0, y, 180.0, 180.0)], 1280, 720)
        found = placer.place(face, [], rich=False)
        assert found is not None
        return found[2] > y

    assert not below(height + 1)
    assert below(height - 2), "there is no room above any more"
    assert [below(height + shift) for shift in (1, -1, 2, 0)] == [True] * 4


def test_frames_are_drawn_the_same_every_time() -> None:
    boxes = [(480.0 + 9 * k, 200.0 + 5 * k, 180.0, 180.0) for k in range(8)]
    runs = []
    for _ in range(2):
        painter = OverlayPainter(1280, 720)
        runs.append([painter.draw(grey(1280, 720), [row(box)], NOW) for box in boxes])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("unknown", [None, math.nan, pd.NA])
def test_what_is_not_known_is_not_drawn(unknown: Any) -> None:
    image, box = grey(640, 360), (300.0, 100.0, 90.0, 90.0)
    bare = dict(zip("xywh", box, strict=True))
    plain = draw(image, [bare])
    drawn = draw(image, [dict.fromkeys(row(box), unknown) | bare])
    np.testing.assert_array_equal(drawn, plain)
    left, top, right, bottom = bounds(changed(image, plain))
    assert left >= 296 and top >= 96 and right <= 394 and bottom <= 194, "only the box is drawn"
    for side in "xywh":
        np.testing.assert_array_equal(draw(image, [row(box) | {side: math.nan}]), image)


@pytest.mark.parametrize(
    "column", ["p_anger", "p_happiness", "valence", "arousal", "AU12_p", "expression", "expression_score", "compound"]
)
def test_each_value_has_a_mark_of_its_own(column: str) -> None:
    image, box = grey(1280, 720), (700.0, 200.0, 180.0, 180.0)
    whole = OverlayPainter(1280, 720).draw(image, [row(box)], NOW)
    part = OverlayPainter(1280, 720).draw(image, [row(box) | {column: math.nan}], NOW)
    assert np.count_nonzero(changed(whole, part)) > 20, "something is missing"


def test_bars_grow_with_their_probability() -> None:
    def filled(value: float) -> int:
        drawn = strip(grey(1280, 720), [row((700, 200, 180, 180), p_happiness=value, p_anger=0.0)])
        return int(np.count_nonzero(np.all(drawn == PALETTE[0], axis=2)))

    counts = [filled(value) for value in (0.2, 0.5, 0.9)]
    steps = np.diff(counts)
    assert steps[0] > 100 and steps[1] == pytest.approx(steps[0] * 4 / 3, rel=0.2)


def test_the_dot_of_the_dial_lies_at_valence_and_arousal() -> None:
    sizes = Sizes.of(1280, 720)

    def dot(valence: float, arousal: float) -> np.ndarray:
        face = read_row(only_box((10, 10, 9, 9), 0, valence=valence, arousal=arousal), 1280, 720)
        assert face is not None
        canvas = grey(400, 200, 0)
        panel.draw_dial(canvas, face, 0, 0, sizes)
        return np.argwhere(np.all(canvas == PALETTE[0], axis=2)).mean(axis=0)

    middle, radius = (sizes.dial - 1) / 2, sizes.dial / 2
    np.testing.assert_allclose(dot(0, 0), (middle, middle), atol=1)
    down, across = dot(0.5, 0.25)
    assert across - middle == pytest.approx(0.5 * radius, abs=3) and middle - down == pytest.approx(
        0.25 * radius, abs=3
    )
    assert np.hypot(*(dot(-1, -1) - middle)) <= radius, "it stays on the rim"


def test_action_units_are_filled_and_those_present_have_a_rim() -> None:
    low, high = (sprites.cell(30, 24, level, False, PALETTE[0]) for level in (4, 20))
    assert np.count_nonzero(high.keep == 0) > 4 * np.count_nonzero(low.keep == 0) > 0
    present = sprites.cell(30, 24, 4, True, PALETTE[0])
    assert tuple(present.light[0, 15]) == PALETTE[0] and tuple(low.light[0, 15]) != PALETTE[0]


@pytest.mark.parametrize("level", [0, 255])
def test_words_stand_out_on_any_ground(level: int) -> None:
    box = (330.0, 100.0, 90.0, 90.0)
    label = draw(grey(640, 360, level), [row(box)])[81:96, 352:420]
    for part in (strip(grey(640, 360, level), [row(box)])[100:180], label):
        light = part.astype(float) / 255
        light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        ground, ink = np.median(light), np.quantile(light, 0.995)
        assert (ink + 0.05) / (ground + 0.05) > 4.5, "the contrast that WCAG asks for"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 300),
    st.lists(
        st.tuples(*[st.one_of(st.floats(-500, 700), st.sampled_from([math.nan, math.inf, -1e30, 1e30]))] * 4),
        max_size=4,
    ),
)
def test_any_box_in_any_image(width: int, height: int, boxes: list[Box]) -> None:
    drawn = draw(grey(width, height), [row(box, k) for k, box in enumerate(boxes)])
    assert drawn.shape == (height, width, 3)


@given(
    st.dictionaries(
        st.sampled_from(list(row((0, 0, 1, 1)))), st.one_of(st.none(), st.floats(), st.text(), st.booleans())
    )
)
@settings(max_examples=60, deadline=None)
def test_any_values_in_a_row(values: dict[str, Any]) -> None:
    drawn = draw(grey(300, 300), [row((200, 60, 40, 40)) | values])
    assert drawn.shape == (300, 300, 3)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 300), (300, 1), (40, 30)])
def test_tiny_images(size: tuple[int, int]) -> None:
    painter = OverlayPainter(*size)
    drawn = painter.draw(grey(*size), [row((0, 0, *size)), row((-3, -3, 8, 8), 1)], NOW)
    assert drawn.shape == (painter.canvas[1], painter.canvas[0], 3)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected .*\(90, 160, 3\)"):
        OverlayPainter(160, 90).draw(grey(90, 160), [], NOW)


def test_stamps_never_overflow() -> None:
    mask = np.linspace(0, 1, 1000)[None]
    for colour in ((255, 255, 255), (86, 180, 233), (1, 254, 128)):
        stamp = sprites.make_sprite(mask, colour)
        for level in (0, 128, 255):
            canvas = np.full((1, 1000, 3), level, np.uint8)
            sprites.paste(canvas, stamp, 0, 0)
            expected = mask[..., None] * np.array(colour) + (1 - mask[..., None]) * level
            assert np.abs(canvas - expected).max() <= 2
