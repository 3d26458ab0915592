"""The look of one frame: drawn where it should be, inside the picture, beside the face, and only what is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsemotion_cli.overlay import drawing, sprites
from hsemotion_cli.overlay.drawing import PALETTE, area, lay_out, read_row, shared
from hsemotion_cli.overlay.layout import OverlayPainter
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


def changed(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(h, w) bool, where anything was drawn."""
    return np.any(image != drawn, axis=2)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def scaled(width: int, height: int, x: float, y: float, size: float) -> Box:
    """A square box from shares of the picture's width, height and height."""
    return x * width, y * height, size * height, size * height


def test_the_picture_itself_is_left_alone() -> None:
    image = grey(320, 180)
    drawn = OverlayPainter(320, 180).draw(image, [row((100, 60, 60, 60))])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 120).all() and changed(image, drawn).any()


def test_nobody_changes_nothing() -> None:
    image = grey(320, 180)
    np.testing.assert_array_equal(OverlayPainter(320, 180).draw(image, []), image)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_box_is_drawn_where_the_face_is(width: int, height: int) -> None:
    box = scaled(width, height, 0.4, 0.3, 0.3)
    mask = changed(grey(width, height), OverlayPainter(width, height).draw(grey(width, height), [only_box(box)]))
    left, top, right, bottom = bounds(mask)
    reach = 2 * OverlayPainter(width, height).sizes.line
    assert left == pytest.approx(box[0], abs=reach) and right == pytest.approx(box[0] + box[2], abs=reach)
    assert top == pytest.approx(box[1], abs=reach) and bottom == pytest.approx(box[1] + box[3], abs=reach)
    inside = mask[round(box[1]) + reach : round(box[1] + box[3]) - reach]
    assert not inside[:, round(box[0]) + reach : round(box[0] + box[2]) - reach].any(), "the face itself is seen"


def test_the_box_has_the_colour_of_its_id() -> None:
    for key in (0, 1, 5, 8):
        drawn = OverlayPainter(640, 360).draw(grey(640, 360), [only_box((200, 100, 120, 120), key)])
        assert tuple(drawn[100, 220]) == PALETTE[key % len(PALETTE)]


def test_an_interpolated_box_is_dashed() -> None:
    def upper_edge(**values: Any) -> np.ndarray:
        drawn = OverlayPainter(640, 360).draw(grey(640, 360), [only_box((200, 100, 120, 120), **values)])
        return changed(grey(640, 360), drawn)[100, 200:320]

    assert upper_edge(interpolated=0).all()
    for values in ({"interpolated": 1}, {"interpolated": 1, "face_detected": False}, {"face_detected": 0}):
        edge = upper_edge(**values)
        assert 0.5 < edge.mean() < 0.85
        assert np.count_nonzero(np.diff(edge.astype(int)) > 0) > 5, "many dashes"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("place", [(0.1, 0.2), (0.65, 0.2), (0.4, 0.1), (0.1, 0.6), (0.0, 0.0), (0.7, 0.65)])
def test_a_panel_stands_beside_the_face_and_in_the_picture(width: int, height: int, place: tuple[float, float]) -> None:
    box = scaled(width, height, *place, 0.3 if width > height else 0.1)
    painter = OverlayPainter(width, height)
    face = read_row(row(box), width, height)
    assert face is not None
    (panel,) = painter._panels([face])
    assert shared(panel.rect, face.box) == 0
    assert shared(panel.rect, (0, 0, width, height)) == area(panel.rect)
    mask = changed(grey(width, height), painter.draw(grey(width, height), [row(box)]))
    left, top, right, bottom = panel.rect
    assert mask[top + 2 : bottom - 2, left + 2 : right - 2].mean() > 0.99, "the panel was drawn there"
    reach = 2 * painter.sizes.line
    inside = mask[face.box[1] + reach : face.box[3] - reach, face.box[0] + reach : face.box[2] - reach]
    assert not inside.any(), "nothing covers the face"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("wide", [False, True])
def test_all_of_a_panel_lies_on_its_ground(
    width: int, height: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = OverlayPainter(width, height)
    face = read_row(row(scaled(width, height, 0, 0, 0.1), compound="disgustedly_surprised"), width, height)
    assert face is not None
    panel = lay_out(face.sections, wide, painter.sizes)
    pasted: list[tuple[int, int, int, int]] = []

    def note(_: Any, stamp: sprites.Sprite, x: int, y: int) -> None:
        # The part with ink: a line of text has room above and below it.
        rows, columns = np.nonzero(stamp.keep[..., 0] < 255)
        if len(rows):
            pasted.append((x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1))

    # Text is pasted where stamps are made.
    for module in (drawing, sprites):
        monkeypatch.setattr(module, "paste", note)
    drawing.draw_panel(grey(1, 1), face, drawing.LabelPlace("right", wide, panel, 0, 0), painter.sizes)
    ground, *rest = pasted
    assert ground == (0, 0, panel.width, panel.height) and len(rest) > 50
    edge = painter.sizes.pad // 2
    for left, top, right, bottom in rest:
        assert edge <= left and edge <= top and right <= panel.width - edge and bottom <= panel.height - edge
    assert panel.width < width and panel.height < height


def test_texts_of_a_panel_do_not_run_into_bars_or_numbers() -> None:
    for width, height in SIZES:
        sizes = OverlayPainter(width, height).sizes
        longest = max(drawing.word(name, sizes.text, PALETTE[0]).width for name in EXPRESSIONS)
        assert longest < round(5.3 * sizes.text)
        number = drawing.word("0.00", sizes.text, PALETTE[0]).width
        assert round(5.3 * sizes.text) + round(5.6 * sizes.text) + number < sizes.content
        compound = max(drawing.word(n.replace("_", " "), sizes.small, PALETTE[0]).width for n in COMPOUNDS)
        assert compound + number < sizes.content
        row_of_dial = sizes.dial + 3 * sizes.gap + drawing.word("valence", sizes.text, PALETTE[0]).width
        assert row_of_dial + drawing.word("+0.00", sizes.text, PALETTE[0]).width < sizes.content
        assert drawing.word("26", sizes.small, PALETTE[0]).width < drawing.cell_size(sizes)[0] - 2


def test_a_class_that_the_model_does_not_know_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = OverlayPainter(1280, 720).sizes
    affectnet, affwild2 = (dict[str, Any]({f"p_{name}": None}) for name in ("other", "contempt"))
    written: list[str] = []

    def write(_canvas: object, text: str, *_rest: object) -> int:
        written.append(text)
        return 0

    monkeypatch.setattr(drawing, "write", write)
    faces = [read_row(row((10, 10, 90, 90), **values), 1280, 720) for values in (affectnet, affwild2, {})]
    heights = [lay_out(face.sections, False, sizes).height for face in faces if face]
    assert heights[0] == heights[1] == heights[2] - sizes.row
    for face, last in zip(faces, ("contempt", "other", "other"), strict=True):
        assert face is not None
        drawing.draw_expressions(grey(400, 400), face, 0, 0, sizes)
        names = [text for text in written if text in EXPRESSIONS]
        assert (len(names), names[-1]) == (len(face.expressions), last)
        written.clear()
    wide, narrow = (drawing.labels(face, True, sizes)[0].width for face in (faces[2], faces[0]) if face)
    assert wide - narrow in (0, drawing.small_bar_width(sizes)), "the second line may be the wider one"


def test_a_face_that_fills_the_picture_keeps_a_label_only() -> None:
    image = grey(224, 224)
    mask = changed(image, OverlayPainter(224, 224).draw(image, [row((0, 0, 224, 224))]))
    assert mask.any()
    assert mask[60:164, 30:194].mean() < 0.02, "eyes, nose and mouth are seen"


def known(boxes: list[Box], width: int, height: int) -> list[drawing.DrawnFace]:
    return [face for k, box in enumerate(boxes) if (face := read_row(row(box, k), width, height))]


def test_two_faces_that_stand_apart_have_a_panel_each() -> None:
    boxes = [scaled(1280, 720, x, 0.3, 0.2) for x in (0.3, 0.6)]
    assert len(OverlayPainter(1280, 720)._panels(known(boxes, 1280, 720))) == 2


def test_three_faces_have_labels_only() -> None:
    boxes = [scaled(1280, 720, x, 0.3, 0.1) for x in (0.05, 0.4, 0.95)]
    assert OverlayPainter(1280, 720)._panels(known(boxes, 1280, 720)) == []


SOME_BOX = st.tuples(st.floats(-40, 620), st.floats(-40, 340), st.floats(8, 400), st.floats(8, 360))


@settings(max_examples=200, deadline=None)
@example([(60.0, 20.0, 520.0, 330.0)])
@given(st.lists(SOME_BOX, min_size=1, max_size=2))
def test_panels_stay_in_the_picture_and_off_faces_and_each_other(boxes: list[Box]) -> None:
    faces = known(boxes, 640, 360)
    rects = [place.rect for place in OverlayPainter(640, 360)._panels(faces)]
    assert len(rects) in (0, len(faces))
    for rect in rects:
        assert shared(rect, (0, 0, 640, 360)) == area(rect)
        # A lone face that leaves no room beside it may lose a small corner, two faces nothing.
        allowed = 0.06 if len(faces) == 1 else 0
        assert all(shared(rect, face.box) <= allowed * area(face.box) for face in faces)
    assert len(rects) < 2 or shared(*rects) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(SOME_BOX, min_size=2, max_size=7))
def test_labels_touch_neither_faces_of_others_nor_each_other(boxes: list[Box]) -> None:
    faces = known(boxes, 640, 360)
    taken: list[tuple[int, int, int, int]] = []
    for face in faces:
        avoid = [other.box for other in faces if other is not face] + taken
        for rect in OverlayPainter(640, 360)._draw_label(grey(640, 360), face, avoid, rich=True):
            assert shared(rect, (0, 0, 640, 360)) == area(rect)
            assert all(shared(rect, other) == 0 for other in avoid)
            taken.append(rect)


def test_six_faces_have_six_full_labels() -> None:
    boxes = [scaled(1280, 720, 0.04 + 0.32 * (k % 3), 0.12 + 0.5 * (k // 3), 0.2) for k in range(6)]
    faces, painter = known(boxes, 1280, 720), OverlayPainter(1280, 720)
    for face in faces:
        (rect,) = painter._draw_label(grey(1280, 720), face, [other.box for other in faces], rich=True)
        assert rect[3] - rect[1] > drawing.label_height(painter.sizes), "two lines"


def test_a_trembling_face_does_not_shake_its_panel() -> None:
    painter = OverlayPainter(1280, 720)
    places = []
    for k in range(12):
        box = (500 + 3 * (-1) ** k, 200 + 2 * (-1) ** (k // 2), 180, 180)
        painter.draw(grey(1280, 720), [row(box)])
        places.append(painter._places[0].rect)
    assert len(set(places[1:])) == 1
    painter.draw(grey(1280, 720), [row((200, 100, 180, 180))])
    assert painter._places[0].rect != places[-1], "it follows a face that really moves"


def test_frames_are_drawn_the_same_every_time() -> None:
    boxes = [(480.0 + 9 * k, 200.0 + 5 * k, 180.0, 180.0) for k in range(8)]
    runs = []
    for _ in range(2):
        painter = OverlayPainter(1280, 720)
        runs.append([painter.draw(grey(1280, 720), [row(box)]) for box in boxes])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("unknown", [None, math.nan, pd.NA])
def test_what_is_not_known_is_not_drawn(unknown: Any) -> None:
    image, box = grey(640, 360), (300.0, 100.0, 90.0, 90.0)
    bare = dict(zip("xywh", box, strict=True))
    plain = OverlayPainter(640, 360).draw(image, [bare])
    drawn = OverlayPainter(640, 360).draw(image, [dict.fromkeys(row(box), unknown) | bare])
    np.testing.assert_array_equal(drawn, plain)
    left, top, right, bottom = bounds(changed(image, plain))
    assert left >= 296 and top >= 96 and right <= 394 and bottom <= 194, "only the box is drawn"
    for side in "xywh":
        np.testing.assert_array_equal(OverlayPainter(640, 360).draw(image, [row(box) | {side: math.nan}]), image)


@pytest.mark.parametrize(
    "column", ["p_anger", "p_happiness", "valence", "arousal", "AU12_p", "expression", "expression_score", "compound"]
)
def test_each_value_has_a_mark_of_its_own(column: str) -> None:
    image, box = grey(1280, 720), (700.0, 200.0, 180.0, 180.0)
    whole = OverlayPainter(1280, 720).draw(image, [row(box)])
    part = OverlayPainter(1280, 720).draw(image, [row(box) | {column: math.nan}])
    assert np.count_nonzero(changed(whole, part)) > 20, "something is missing"


def test_bars_grow_with_their_probability() -> None:
    def filled(value: float) -> int:
        canvas = grey(1280, 720)
        drawn = OverlayPainter(1280, 720).draw(canvas, [row((700, 200, 180, 180), p_happiness=value, p_anger=0.0)])
        return int(np.count_nonzero(np.all(drawn[:, :670] == PALETTE[0], axis=2)))

    counts = [filled(value) for value in (0.2, 0.5, 0.9)]
    steps = np.diff(counts)
    assert steps[0] > 100 and steps[1] == pytest.approx(steps[0] * 4 / 3, rel=0.2)


def test_the_dot_of_the_dial_lies_at_valence_and_arousal() -> None:
    sizes = OverlayPainter(1280, 720).sizes

    def dot(valence: float, arousal: float) -> np.ndarray:
        face = read_row(only_box((10, 10, 9, 9), 0, valence=valence, arousal=arousal), 1280, 720)
        assert face is not None
        canvas = grey(400, 200, 0)
        drawing.draw_dial(canvas, face, 0, 0, sizes)
        return np.argwhere(np.all(canvas == PALETTE[0], axis=2)).mean(axis=0)

    middle, radius = (sizes.dial - 1) / 2, sizes.dial / 2
    np.testing.assert_allclose(dot(0, 0), (middle, middle), atol=1)
    down, across = dot(0.5, 0.25)
    assert across - middle == pytest.approx(0.5 * radius, abs=3) and middle - down == pytest.approx(
        0.25 * radius, abs=3
    )
    assert np.hypot(*(dot(-1, -1) - middle)) <= radius, "it stays on the rim"


def test_action_units_are_filled_and_those_present_have_a_rim() -> None:
    low, high = (drawing.cell(30, 24, level, False, PALETTE[0]) for level in (4, 20))
    assert np.count_nonzero(high.keep == 0) > 4 * np.count_nonzero(low.keep == 0) > 0
    present = drawing.cell(30, 24, 4, True, PALETTE[0])
    assert tuple(present.light[0, 15]) == PALETTE[0] and tuple(low.light[0, 15]) != PALETTE[0]


@pytest.mark.parametrize("level", [0, 255])
def test_words_stand_out_on_any_ground(level: int) -> None:
    drawn = OverlayPainter(640, 360).draw(grey(640, 360, level), [row((330, 100, 90, 90))])
    left, top, right, bottom = 165, 100, 300, 180
    panel = drawn[top:bottom, left:right].astype(float) / 255
    light = (np.where(panel <= 0.04045, panel / 12.92, ((panel + 0.055) / 1.055) ** 2.4)) @ (0.2126, 0.7152, 0.0722)
    ground, ink = np.median(light), np.quantile(light, 0.995)
    assert (ink + 0.05) / (ground + 0.05) > 4.5, "the contrast that is asked of texts on the web"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 300),
    st.lists(
        st.tuples(*[st.one_of(st.floats(-500, 700), st.sampled_from([math.nan, math.inf, -1e30, 1e30]))] * 4),
        max_size=4,
    ),
)
def test_any_box_in_any_picture(width: int, height: int, boxes: list[Box]) -> None:
    drawn = OverlayPainter(width, height).draw(grey(width, height), [row(box, k) for k, box in enumerate(boxes)])
    assert drawn.shape == (height, width, 3)


@given(
    st.dictionaries(
        st.sampled_from(list(row((0, 0, 1, 1)))), st.one_of(st.none(), st.floats(), st.text(), st.booleans())
    )
)
@settings(max_examples=60, deadline=None)
def test_any_values_in_a_row(values: dict[str, Any]) -> None:
    drawn = OverlayPainter(300, 300).draw(grey(300, 300), [row((200, 60, 40, 40)) | values])
    assert drawn.shape == (300, 300, 3)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 300), (300, 1), (40, 30)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    drawn = OverlayPainter(*size).draw(grey(*size), [row((0, 0, *size)), row((-3, -3, 8, 8), 1)])
    assert drawn.shape == (size[1], size[0], 3)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected .*\(90, 160, 3\)"):
        OverlayPainter(160, 90).draw(grey(90, 160), [])


def test_stamps_never_overflow() -> None:
    mask = np.linspace(0, 1, 1000)[None]
    for colour in ((255, 255, 255), (86, 180, 233), (1, 254, 128)):
        stamp = sprites.make_sprite(mask, colour)
        for level in (0, 128, 255):
            canvas = np.full((1, 1000, 3), level, np.uint8)
            drawing.paste(canvas, stamp, 0, 0)
            expected = mask[..., None] * np.array(colour) + (1 - mask[..., None]) * level
            assert np.abs(canvas - expected).max() <= 2
