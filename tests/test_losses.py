"""Losses against torch's own, scipy and their definitions; what is not labelled must not count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import special

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor
from torch.nn import functional

from hsemotion_cli.evaluation import metrics
from hsemotion_cli.training import losses

CALM = settings(deadline=None, max_examples=60)
SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tensor(values: np.ndarray, *, learned: bool = False) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64, requires_grad=learned)


def shares(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    return random.dirichlet(np.full(classes, 0.5), rows)


# --- cross-entropy ----------------------------------------------------------------------------------------------


@CALM
@given(SEEDS, st.integers(1, 20), st.integers(2, 9), st.booleans(), st.floats(0, 0.9))
def test_cross_entropy_is_its_definition(seed: int, rows: int, classes: int, weighted: bool, smoothing: float) -> None:
    random = np.random.default_rng(seed)
    logits, targets = random.normal(0, 3, (rows, classes)), shares(random, rows, classes)
    weights = random.uniform(0.1, 5, classes) if weighted else np.ones(classes)
    total = mass = 0.0
    for z, t in zip(logits, targets, strict=True):
        log_p = z - special.logsumexp(z)
        for k in range(classes):
            q = (t[k] * (1 - smoothing) + smoothing / classes) * weights[k]
            total, mass = total - q * log_p[k], mass + q
    given_weights = tensor(weights) if weighted else None
    found = losses.cross_entropy(tensor(logits), tensor(targets), given_weights, smoothing)
    assert found.item() == pytest.approx(total / mass)


@CALM
@given(SEEDS, st.integers(1, 20), st.integers(2, 9), st.booleans())
def test_labels_give_torchs_own_cross_entropy(seed: int, rows: int, classes: int, weighted: bool) -> None:
    random = np.random.default_rng(seed)
    labels = torch.tensor(random.integers(0, classes, rows))
    weights = tensor(random.uniform(0.1, 5, classes)) if weighted else None
    one, other = (tensor(random.normal(0, 3, (rows, classes)), learned=True) for _ in range(2))
    other.data = one.data.clone()
    expected = functional.cross_entropy(one, labels, weights)
    found = losses.cross_entropy(other, functional.one_hot(labels, classes).double(), weights)
    torch.testing.assert_close(found, expected)
    expected.backward(), found.backward()
    torch.testing.assert_close(other.grad, one.grad)


@CALM
@given(SEEDS, st.integers(1, 20), st.integers(2, 9), st.floats(0, 0.9))
def test_shares_without_weights_give_torchs_own_cross_entropy(
    seed: int, rows: int, classes: int, smoothing: float
) -> None:
    random = np.random.default_rng(seed)
    logits, targets = tensor(random.normal(0, 3, (rows, classes))), tensor(shares(random, rows, classes))
    expected = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(losses.cross_entropy(logits, targets, smoothing=smoothing), expected)


# --- concordance ------------------------------------------------------------------------------------------------


@CALM
@given(SEEDS, st.integers(2, 40), st.integers(1, 3), st.floats(-1, 1), st.floats(0.05, 2))
def test_concordance_is_that_of_the_figures(seed: int, rows: int, columns: int, shift: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    truth = random.uniform(-1, 1, (rows, columns))
    assume((truth.std(axis=0) > 0.05).all())
    prediction = scale * truth + random.normal(shift, 0.3, (rows, columns))
    found = losses.one_minus_ccc(tensor(prediction), tensor(truth)).item()
    assert found == pytest.approx(1 - metrics.ccc(truth, prediction).mean(), abs=1e-5)
    assert 0 <= found <= 2


def test_concordance_at_its_ends() -> None:
    truth = tensor(np.linspace(-1, 1, 9)[:, None])
    assert losses.one_minus_ccc(truth, truth).item() == pytest.approx(0, abs=1e-6)
    assert losses.one_minus_ccc(-truth, truth).item() == pytest.approx(2, abs=1e-6)
    constant = torch.zeros(9, 1, dtype=torch.float64, requires_grad=True)
    found = losses.one_minus_ccc(constant, truth)
    found.backward()
    assert found.item() == pytest.approx(1)
    assert constant.grad is not None and constant.grad.isfinite().all()
    # Even where nothing differs at all, the value and what it teaches are finite.
    both = losses.one_minus_ccc(constant, torch.zeros(9, 1, dtype=torch.float64))
    both.backward()
    assert both.item() == 1 and constant.grad.isfinite().all()


# --- action units -----------------------------------------------------------------------------------------------


@CALM
@given(SEEDS, st.integers(1, 20), st.integers(1, 12), st.booleans(), st.floats(0, 0.9))
def test_binary_cross_entropy_is_its_definition(
    seed: int, rows: int, columns: int, weighted: bool, missing: float
) -> None:
    random = np.random.default_rng(seed)
    logits, truth = random.normal(0, 4, (rows, columns)), random.random((rows, columns))
    hard = random.random((rows, columns)) < 0.5
    truth = np.where(hard, np.rint(truth), truth)
    truth[random.random((rows, columns)) < missing] = np.nan
    weights = random.uniform(0.2, 5, (2, columns)) if weighted else np.ones((2, columns))
    terms = []
    for i, j in itertools.product(range(rows), range(columns)):
        y = truth[i, j]
        if not np.isnan(y):
            p = special.expit(logits[i, j])
            loss = -(special.xlogy(y, p) + special.xlogy(1 - y, 1 - p))
            terms.append(loss * weights[0, j] ** (1 - y) * weights[1, j] ** y)
    found = losses.binary_cross_entropy(tensor(logits), tensor(truth), tensor(weights) if weighted else None)
    assert found.item() == pytest.approx(np.mean(terms) if terms else 0)


def test_weights_of_presence_are_torchs_where_absence_weighs_1() -> None:
    random = np.random.default_rng(0)
    logits, truth = tensor(random.normal(0, 3, (30, 12))), tensor(random.integers(0, 2, (30, 12)))
    presence = tensor(random.uniform(0.2, 9, 12))
    expected = functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=presence)
    weights = torch.stack([torch.ones_like(presence), presence])
    torch.testing.assert_close(losses.binary_cross_entropy(logits, truth, weights), expected)


def test_losses_are_finite_for_outputs_of_any_size() -> None:
    for size in (1e3, 1e30):
        logits = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
        truth = torch.tensor([[0.0, 1.0], [0.3, 0.7]])
        for value in (losses.cross_entropy(logits, truth), losses.binary_cross_entropy(logits, truth)):
            value.backward()
            assert value.isfinite()
            assert logits.grad is not None and logits.grad.isfinite().all()


# --- labels that are not there ----------------------------------------------------------------------------------

LOSSES = {
    "expression": lambda x, y: losses.cross_entropy(x, y, torch.arange(1, x.shape[1] + 1, dtype=x.dtype), 0.1),
    "valence_arousal": losses.one_minus_ccc,
    "action_units": lambda x, y: losses.binary_cross_entropy(x, y, torch.tensor([[0.5], [3.0]], dtype=x.dtype)),
}


@pytest.mark.parametrize("task", LOSSES)
@CALM
@given(data=st.data())
def test_rows_without_labels_have_no_influence(task: str, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(SEEDS))
    rows, columns = data.draw(st.integers(2, 12)), 2 if task == "valence_arousal" else 4
    truth = shares(random, rows, columns) if task == "expression" else random.random((rows, columns))
    known = random.random(rows) < 0.6
    known[:2] = True
    part = (
        random.random(columns) < 0.5 if task != "action_units" and data.draw(st.booleans()) else np.ones(columns, bool)
    )
    part[0] = True
    with_gaps = truth.copy()
    with_gaps[np.ix_(~known, part)] = np.nan
    logits = random.normal(0, 3, (rows, columns))
    some, full = tensor(logits[known], learned=True), tensor(logits, learned=True)
    expected, found = LOSSES[task](some, tensor(truth[known])), LOSSES[task](full, tensor(with_gaps))
    expected.backward(), found.backward()
    assert some.grad is not None and full.grad is not None
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(full.grad[torch.tensor(known)], some.grad, rtol=1e-12, atol=1e-12)
    assert (full.grad[torch.tensor(~known)] == 0).all()
    # Exactly none: outputs of such rows can be anything.
    logits[~known] = random.normal(0, 1e4, ((~known).sum(), columns))
    again = tensor(logits, learned=True)
    other = LOSSES[task](again, tensor(with_gaps))
    other.backward()
    assert other.item() == found.item()
    assert torch.equal(again.grad, full.grad)


@pytest.mark.parametrize("task", LOSSES)
def test_a_batch_without_labels_teaches_nothing(task: str) -> None:
    logits = torch.randn(5, 2, requires_grad=True)
    found = LOSSES[task](logits, torch.full((5, 2), torch.nan))
    found.backward()
    assert found.item() == 0
    assert torch.equal(logits.grad, torch.zeros(5, 2))


def test_one_row_has_no_concordance() -> None:
    logits, truth = torch.randn(5, 2, requires_grad=True), torch.full((5, 2), torch.nan)
    truth[3] = 0.5
    found = losses.one_minus_ccc(logits, truth)
    found.backward()
    assert found.item() == 0
    assert torch.equal(logits.grad, torch.zeros(5, 2))


def test_single_action_units_may_lack_labels() -> None:
    logits = torch.randn(4, 12, requires_grad=True)
    truth = torch.ones(4, 12)
    truth[1, 3] = truth[2, :5] = torch.nan
    losses.binary_cross_entropy(logits, truth).backward()
    assert torch.equal(logits.grad == 0, truth.isnan())


# --- attention --------------------------------------------------------------------------------------------------


@CALM
@given(SEEDS, st.integers(2, 5))
def test_likeness_of_attention_maps_is_its_definition(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    maps = random.random((count, 3, 4, 7, 7))
    total = sum(((maps[i] - maps[j]) ** 2).mean() for i in range(count) for j in range(i))
    found = losses.attention_similarity([tensor(one) for one in maps])
    assert found.item() == pytest.approx(count * (count - 1) / 2 / total)


def test_maps_that_differ_are_less_alike() -> None:
    one = torch.rand(2, 4, 7, 7)
    near, far = (losses.attention_similarity([one, one + distance]) for distance in (0.01, 0.5))
    assert near.item() == pytest.approx(1e4, rel=1e-2)
    assert far.item() == pytest.approx(4, rel=1e-4)
    other = (one + 0.1 * torch.randn_like(one)).requires_grad_()
    before = losses.attention_similarity([one, other])
    before.backward()
    with torch.no_grad():
        moved = other - 1e-4 * other.grad
    assert losses.attention_similarity([one, moved]) < before
    assert losses.attention_similarity([one, one]).isfinite()  # equal maps, as those of equal heads
