"""Tables and codings -> a recipe file for annotate, smooth and segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError, UsageError
from ..formats import toml_writer
from ..formats.events import Event, check_recordings
from ..formats.people import PersonName
from ..postprocess.recipe import Recipe
from ..runtime.atomic_files import atomic_file
from ..runtime.file_marks import TOOL
from ..tasks import VALENCE_AROUSAL
from . import evidence
from .calibration import Choice, Coded, Sample, fit
from .coding import NOTHING_CODED, codings_of, track_of
from .cross_validation import Gain, cross_validate
from .neutral import neutral_offsets
from .recordings import P_EXPRESSION, P_UNIT, Recording, is_face_id, read_recording
from .rules import DEFAULTS, SMOOTHING

FEW = 5
"""Groups below which no gain can be beyond chance: with 4, the smallest p of the exchange test is 1/16."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was fitted.

    Attributes:
        recipe: of the tables, with what is kept.
        choice: what was fitted of the parts that are kept.
        kept: parts that are in the recipe.
        gains: of each part, on held-out groups.
        by: "person" or "recording", what stayed together.
        coded: labels.
        notes: sentences about what was assumed.
    """

    recipe: Recipe
    choice: Choice
    kept: Sequence[str]
    gains: Sequence[Gain]
    by: str
    coded: Sequence[str]
    notes: Sequence[str]


def calibrate(
    tables: Sequence[Path], events: Sequence[tuple[str, Event]], people: Sequence[PersonName] = (),
    keep_all: bool = False, seed: int = 0, progress: Callable[[int, int, str], None] | None = None,
) -> Calibration:  # fmt: skip
    """Fit a recipe to a coded sample.

    Args:
        keep_all: keep parts whose gain is not beyond chance as well.

    Raises:
        InputError: an event does not fit, nothing is coded, or the tables are smoothed or of different models.
    """
    check_recordings([event for _, event in events], [table.stem for table in tables])
    recordings = [read_recording(table, _COLUMNS, people) for table in tables]
    recipe = _common_recipe(recordings)
    notes = [sentence for recording in recordings for sentence in recording.notes]
    parts = [(r, coding) for r in recordings for coding in codings_of(r, events)]
    if not parts:
        raise InputError(NOTHING_CODED + "nothing can be fitted.")
    named = {coding.person for _, coding in parts if not is_face_id(coding.person)}
    by = "person" if len(named) > 1 and all(not is_face_id(c.person) for _, c in parts) else "recording"
    samples = [
        Sample(c.person if by == "person" else r.name, r, track_of(r, c.person), c) for r, c in parts
    ]  # fmt: skip
    coded = Coded.of(samples)
    gains = cross_validate(samples, coded, seed, progress=progress)
    groups = len({sample.group for sample in samples})
    if groups < FEW:
        notes.append(
            f"the coded sample has {groups} {by if groups == 1 else 'people' if by == 'person' else 'recordings'}; "
            f"with fewer than {FEW}, no gain can be distinguished from chance."
        )
    kept = [gain.part for gain in gains if gain.beyond_chance]
    if keep_all:
        kept = _fitted(coded)
    choice = fit(samples, coded, kept)
    return Calibration(_recipe(recipe, choice, kept), choice, kept, gains, by, coded.labels, notes)


def _fitted(coded: Coded) -> list[str]:
    parts = (("expression", coded.expressions), ("action_units", bool(coded.units)), ("segments", True))
    return [part for part, there in parts if there]


_COLUMNS = tuple(dict.fromkeys([*P_EXPRESSION, *VALENCE_AROUSAL, *P_UNIT, *evidence.COLUMNS]))


def _common_recipe(recordings: Sequence[Recording]) -> Recipe:
    first = recordings[0]
    for recording in recordings:
        if recording.recipe is None or first.recipe is None:
            raise InputError(f"{recording.path}: no sidecar beside it; a recipe is fitted to the models that it names.")
        if recording.recipe.smoothing or recording.recipe.offsets:
            raise InputError(
                f"{recording.path}: it is smoothed or calibrated already; calibrate on tables as annotate makes them, "
                "or make them again with hsemotion smooth --smooth none."
            )
        if (recording.recipe.models, recording.recipe.blend) != (first.recipe.models, first.recipe.blend):
            raise InputError(f"{first.path} and {recording.path}: made with different models or blends.")
    assert first.recipe is not None
    return first.recipe


def _recipe(recipe: Recipe, choice: Choice, kept: Sequence[str]) -> Recipe:
    filters = {}
    if "expression" in kept:
        filters["expression"] = choice.expression
        recipe = replace(recipe, offsets=dict(choice.offsets))
    if "action_units" in kept:
        filters["action_units"] = choice.units
        recipe = replace(recipe, thresholds={**recipe.thresholds, **choice.thresholds})
    return replace(recipe, smoothing={task: one for task, one in filters.items() if one.kernel != "none"})


def calibrate_neutral(
    table: Path, span: tuple[float, float], person: str = "", people: Sequence[PersonName] = ()
) -> Calibration:
    """A recipe with one person's own neutral.

    Args:
        person: as in the table; "" for the only one.

    Raises:
        InputError: the table cannot be used, or the face is hardly seen in the span.
        UsageError: there are several people and none is named, or the one who is named is not there.
    """
    recording = read_recording(table, _COLUMNS, people)
    recipe = _common_recipe([recording])
    names = [track.person for track in recording.tracks]
    if not names:
        raise InputError(f"{table}: no face was found in this recording, so there is no neutral face to calibrate to.")
    if person and person not in names:
        raise UsageError(f"--person {person}: not in {table}; choose from {', '.join(names)}.")
    if not person and len(names) != 1:
        raise UsageError(f"--neutral: {table} has {len(names)} people; choose one with --person ({', '.join(names)}).")
    offsets = neutral_offsets(recording, track_of(recording, person or names[0]), span)
    notes = [
        *recording.notes,
        "the offsets are those of one person; use the recipe for recordings of that person only.",
    ]
    return Calibration(replace(recipe, offsets=offsets), Choice(offsets=offsets), ["neutral"], [], "person", (), notes)


def to_toml(done: Calibration, facts: Mapping[str, Any]) -> str:
    """The recipe file: tables ``recipe``, ``segments`` and ``calibration``.

    Args:
        facts: what else is recorded, such as names of files.
    """
    choice = done.choice
    segments: dict[str, Any] = {}
    if "segments" in done.kept and choice.min_duration is not None and choice.merge_gap is not None:
        one = {"min_duration": choice.min_duration, "merge_gap": choice.merge_gap}
        segments["changes"] = {kind: one for kind in DEFAULTS if kind not in ("blink", "no_face", "gaze_away")}
    if "action_units" in done.kept or "expression" in done.kept:
        filters = {f"{part}": str(getattr(choice, name)) for part, name in _FILTERS.items() if part in done.kept}
        segments["smooth"] = filters
    gains = [{**asdict(gain), "beyond_chance": gain.beyond_chance} for gain in done.gains]
    content = {
        "recipe": {key: value for key, value in done.recipe.to_json().items() if value != {}},
        "segments": segments,
        "calibration": {
            "version": __version__, **facts, "by": done.by, "kept": list(done.kept), "exponent": choice.exponent,
            "default_smoothing": str(SMOOTHING), "gain": gains,
        },
    }  # fmt: skip
    head = f"# Recipe of {TOOL} calibrate, for annotate, smooth and segments."
    return "\n".join([head, *toml_writer.lines(content)]) + "\n"


_FILTERS = {"expression": "expression", "action_units": "units"}


def write_recipe(done: Calibration, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the recipe file.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as file:
        file.write(to_toml(done, facts).encode())
