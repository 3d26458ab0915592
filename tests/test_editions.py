"""The tracks of later editions: what the pages state is in the documentation, and unsupported tracks are explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsemotion_cli.abaw import challenges, editions
from hsemotion_cli.errors import UsageError


def test_every_track_is_supported_or_explained() -> None:
    for edition, tracks in editions.EDITIONS.items():
        names = [one.track for one in tracks]
        assert len(set(names)) == len(names), edition
        for name in names:
            assert (name in challenges.TRACKS) != (name in editions.NAMES)
    assert editions.why_not("expr") == ""


@pytest.mark.parametrize("name", editions.NAMES)
def test_unsupported_tracks_say_why(name: str) -> None:
    with pytest.raises(UsageError, match=f"--track {name}: this is .*not documented publicly.*choose from expr, va"):
        challenges.track(name)


def test_facts_of_the_pages() -> None:
    """By hand, from the pages: number of tracks, and the two that changed between editions."""
    assert {edition: len(tracks) for edition, tracks in editions.EDITIONS.items()} == {8: 6, 9: 3, 10: 6, 11: 2}
    found = {n: {one.track: one for one in tracks} for n, tracks in editions.EDITIONS.items()}
    assert (found[8]["ah"].level, found[10]["ah"].level) == ("frame", "video")
    assert found[8]["va"].uni_task and not found[9]["va"].uni_task
    assert found[11]["mtl"].baseline == 0.45 and found[9]["vd"].baseline is None and found[10]["vd"].baseline == 0.73
    measures = (found[8]["ah"].measure, found[11]["ah"].measure)
    assert measures == ("weighted F1 of 2 classes", "macro F1 of 2 classes")


def test_the_documentation_shows_the_table() -> None:
    page = (Path(__file__).parent.parent / "docs" / "abaw.md").read_text(encoding="utf-8")
    assert "\n".join(editions.table()) in page
