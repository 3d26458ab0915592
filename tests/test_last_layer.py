"""The last layer that is fitted again: against scikit-learn, and within a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hsemotion_cli.training import last_layer
from hsemotion_cli.training.config import RefitConfig


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping classes, the first nine times as frequent."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [900, 100])
    return rng.normal(labels[:, None] * [1.5, 0.5, 0], [1, 2, 0.1]) + 3, labels


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_fit_is_that_of_scikit_learn(blobs: tuple[np.ndarray, np.ndarray], power: float) -> None:
    x, labels = blobs
    kernel, bias = last_layer.fit_last_layer(x, np.eye(2)[labels], np.ones(1000), RefitConfig(1e-4, power))
    # scikit-learn minimises |w|^2 / 2 + C * sum of losses; two classes have one column there, the difference of ours.
    weights = np.bincount(labels)[labels] ** -power
    scaled = (x - x.mean(0)) / (x.std(0) + 1e-3)
    theirs = LogisticRegression(C=1 / 1e-4, tol=1e-10, max_iter=10_000)
    theirs.fit(scaled, labels, sample_weight=weights / weights.sum())
    ours = torch.softmax(torch.from_numpy(x) @ kernel.T + bias, dim=1)[:, 1].detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled)[:, 1], atol=2e-3)
    found = (ours >= 0.5)[labels == 1].mean()
    assert found > 0.7 if power else found < 0.4


def test_action_units_are_fitted_as_scikit_learn_fits_each_of_them() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(3, [1, 2, 0.5], (400, 3))
    units = 1 / (1 + np.exp(-(x - 3) @ rng.normal(0, 1, (3, 2)) - [-1, 0.5]))  # probabilities, not codes
    weights = rng.uniform(0.2, 3, 400)
    kernel, bias = last_layer.fit_action_units(x, units, weights, RefitConfig(1e-3, 1.0))
    ours = torch.sigmoid(torch.from_numpy(x) @ kernel.T + bias).detach().numpy()
    scaled = (x - x.mean(0)) / (x.std(0) + 1e-3)
    for k in range(2):  # an image of probability p is p of a face with the unit and 1 - p of one without
        shares = np.r_[weights * units[:, k], weights * (1 - units[:, k])] / weights.sum()
        theirs = LogisticRegression(C=1 / 2e-3, tol=1e-10, max_iter=10_000)
        theirs.fit(np.r_[scaled, scaled], np.repeat([1, 0], 400), sample_weight=shares)
        np.testing.assert_allclose(ours[:, k], theirs.predict_proba(scaled)[:, 1], atol=1e-4)


def test_images_count_by_their_weight(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = blobs
    shares, refit = np.eye(2)[labels], RefitConfig(1e-3, 0.0)
    twice = last_layer.fit_last_layer(np.r_[x, x[:50]], np.r_[shares, shares[:50]], np.ones(1050), refit)
    weighted = last_layer.fit_last_layer(x, shares, np.r_[np.full(50, 2.0), np.ones(950)], refit)
    p, q = (torch.softmax(torch.from_numpy(x) @ kernel.T + bias, dim=1) for kernel, bias in (twice, weighted))
    torch.testing.assert_close(p, q, atol=1e-3, rtol=0)


def test_an_image_without_a_label_counts_like_a_labelled_one_on_average() -> None:
    shares = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [np.nan, np.nan]])
    even = last_layer.class_weighted(shares, np.ones(5), RefitConfig(1e-3, 1.0))
    np.testing.assert_allclose(even, np.array([2 / 3, 2 / 3, 2 / 3, 2, 1]) / 5)
    heavy = last_layer.class_weighted(shares, np.array([1, 1, 1, 1, 3.0]), RefitConfig(1e-3, 1.0))
    np.testing.assert_allclose(heavy, np.array([2 / 3, 2 / 3, 2 / 3, 2, 3]) / 7)
    labelled = last_layer.class_weighted(shares[:4], np.ones(4), RefitConfig(1e-3, 1.0))
    np.testing.assert_allclose(even[:4] / even[:4].sum(), labelled)
