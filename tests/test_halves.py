"""Half faces: what is seen comes from both pictures, and so does the label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch")

from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS  # noqa: E402
from hsemotion_cli.training.halves import UPPER_UNITS, composed  # noqa: E402

SIZE = 40


def faces(values: list[float]) -> torch.Tensor:
    """Pictures of one brightness each."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE).clone()


def pure(*names: str) -> torch.Tensor:
    return torch.eye(8)[[BASIC_EXPRESSIONS.index(name) for name in names]]


def swapped(above: str, below: str) -> torch.Tensor:
    """The label of a face with the upper half of one expression and the lower half of another."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        _, labels = composed(faces([0, 0]), {"expression": pure(above, below)}, BASIC_EXPRESSIONS, 1.0, rng)
        if not torch.equal(labels["expression"], pure(above, below)):
            return labels["expression"][0]
    raise AssertionError("never drawn")


def test_the_lower_part_is_another_face_and_the_upper_part_stays() -> None:
    ramp = torch.linspace(-1, 1, SIZE).view(1, 1, 1, -1)  # tells left from right, so that brightness cannot hide it
    images = torch.cat([ramp.expand(1, 3, SIZE, SIZE), -ramp.expand(1, 3, SIZE, SIZE)])
    rng = next(r for r in map(np.random.default_rng, range(50)) if _trades_places(r))
    found, _ = composed(images, {"expression": pure("anger", "neutral")}, BASIC_EXPRESSIONS, 1.0, rng)
    for own, other, picture in ((0, 1, found[0]), (1, 0, found[1])):
        assert torch.equal(picture[:, : SIZE // 2], images[own][:, : SIZE // 2])
        torch.testing.assert_close(picture[:, -SIZE // 4 :], images[other][:, -SIZE // 4 :])


def _trades_places(rng: np.random.Generator) -> bool:
    state = rng.bit_generator.state
    rng.random(2)
    traded = rng.permutation(2).tolist() == [1, 0]
    rng.bit_generator.state = state
    return traded


def test_the_other_face_is_made_as_bright_where_they_meet() -> None:
    found, _ = composed(faces([0.0, 0.8]), {}, BASIC_EXPRESSIONS, 1.0, np.random.default_rng(1))
    for picture, value in zip(found, (0.0, 0.8), strict=True):
        torch.testing.assert_close(picture, torch.full_like(picture, value), atol=1e-5, rtol=0)


def test_the_half_that_tells_more_gives_the_label() -> None:
    angry = swapped("anger", "happiness")
    assert angry.sum() == pytest.approx(1)
    assert angry.argmax() == BASIC_EXPRESSIONS.index("anger")
    smiling = swapped("neutral", "happiness")
    assert smiling.argmax() == BASIC_EXPRESSIONS.index("happiness")
    assert swapped("fear", "neutral")[BASIC_EXPRESSIONS.index("fear")] > 0.75
    assert torch.equal(swapped("happiness", "anger") > 0, angry > 0)


def test_action_units_are_those_of_their_half() -> None:
    units = torch.stack([torch.zeros(12), torch.ones(12)])
    rng = next(r for r in map(np.random.default_rng, range(50)) if _trades_places(r))
    _, labels = composed(faces([0, 0]), {"action_units": units}, BASIC_EXPRESSIONS, 1.0, rng)
    assert labels["action_units"][0].tolist() == [float(unit not in UPPER_UNITS) for unit in ACTION_UNITS]
    assert labels["action_units"][1].tolist() == [float(unit in UPPER_UNITS) for unit in ACTION_UNITS]


@given(seed=st.integers(0, 1 << 32), count=st.integers(2, 9), chance=st.floats(0, 1))
def test_shares_stay_shares_and_nothing_known_comes_from_nothing(seed: int, count: int, chance: float) -> None:
    rng = np.random.default_rng(seed)
    shares = torch.from_numpy(rng.dirichlet(np.ones(8), count).astype(np.float32))
    affect = torch.from_numpy(rng.uniform(-1, 1, (count, 2)).astype(np.float32))
    unknown = torch.from_numpy(rng.random(count) < 0.3)
    affect[unknown] = torch.nan
    images = faces(rng.random(count).astype(np.float32).tolist())
    kept = images.clone(), shares.clone(), affect.clone()
    found, labels = composed(images, {"expression": shares, "valence_arousal": affect}, BASIC_EXPRESSIONS, chance, rng)
    torch.testing.assert_close(labels["expression"].sum(1), torch.ones(count))
    assert (labels["expression"] >= 0).all()
    known = ~labels["valence_arousal"].isnan().any(dim=1)
    assert (labels["valence_arousal"][known].abs() <= 1 + 1e-6).all()
    assert not (known & unknown).any()
    assert found.isfinite().all()
    # What was given is another's, too.
    assert (
        torch.equal(images, kept[0]) and torch.equal(shares, kept[1]) and torch.equal(affect.isnan(), kept[2].isnan())
    )


def test_none_is_changed_where_none_is_to_be() -> None:
    images = faces([0.1, 0.9])
    found, _ = composed(images, {}, BASIC_EXPRESSIONS, 0.0, np.random.default_rng(0))
    assert found is images
