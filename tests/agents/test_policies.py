"""The Gaussian x categorical policy against scipy, torch.distributions and counted samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import distributions

from rl_detector.agents.policies import Policy
from rl_detector.space import Encoding

CHOICES = (2, 4, 1)


def random_policy(seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    policy = Policy(rng.normal(size=3), 0.3, CHOICES)
    with torch.no_grad():
        policy.log_sigma.copy_(torch.from_numpy(rng.normal(-1, 0.5, 3)))
        policy.logits.copy_(torch.from_numpy(rng.normal(size=(3, 4))))
    return policy


def test_log_prob_is_that_of_scipy() -> None:
    policy = random_policy()
    actions = policy.sample(np.random.default_rng(1), 50)
    expected = stats.norm.logpdf(
        actions.continuous, policy.mu.detach().numpy(), policy.log_sigma.exp().detach().numpy()
    ).sum(axis=1)
    for j, size in enumerate(CHOICES):
        weights = np.exp(policy.logits.detach().numpy()[j, :size])
        expected += np.log(weights / weights.sum())[actions.discrete[:, j]]
    np.testing.assert_allclose(policy.log_prob(actions).detach().numpy(), expected, rtol=1e-12)


def test_probabilities_of_all_designs_sum_to_one() -> None:
    policy = Policy(np.zeros(0), 0.1, CHOICES)
    policy.load_state_dict({**policy.state_dict(), "logits": random_policy().logits})
    grid = np.stack(np.meshgrid(*map(np.arange, CHOICES)), axis=-1).reshape(-1, 3)
    log_prob = policy.log_prob(Encoding(np.zeros((len(grid), 0)), grid))
    assert float(log_prob.detach().exp().sum()) == pytest.approx(1, rel=1e-12)


def test_entropy_is_that_of_torch_distributions() -> None:
    policy = random_policy()
    gaussian = distributions.Normal(policy.mu, policy.log_sigma.exp()).entropy().sum()
    categorical = sum(
        distributions.Categorical(logits=policy.logits[j, :size]).entropy() for j, size in enumerate(CHOICES)
    )
    assert isinstance(categorical, torch.Tensor)
    torch.testing.assert_close(policy.entropy(), gaussian + categorical)
    torch.testing.assert_close(policy.categorical_entropy(), categorical)


def test_gradients_of_choices_that_do_not_exist_are_zero() -> None:
    policy = random_policy()
    (policy.log_prob(policy.sample(np.random.default_rng(0), 9)).mean() + policy.entropy()).backward()
    assert policy.logits.grad is not None
    assert torch.isfinite(policy.logits.grad).all()
    assert (policy.logits.grad[~policy.exists] == 0).all()


def test_frequencies_of_samples() -> None:
    """40000 samples: mean, variance and frequencies within 5 standard errors."""
    policy, n = random_policy(), 40000
    sample = policy.sample(np.random.default_rng(2), n)
    sigma = policy.log_sigma.exp().detach().numpy()
    z = (sample.continuous - policy.mu.detach().numpy()) / sigma
    assert np.all(np.abs(z.mean(axis=0)) < 5 / math.sqrt(n))
    assert np.all(np.abs(z.var(axis=0) - 1) < 5 * math.sqrt(2 / n))
    p = policy.log_probabilities.exp().detach().numpy()
    for j, size in enumerate(CHOICES):
        frequency = np.bincount(sample.discrete[:, j], minlength=4) / n
        assert np.all(np.abs(frequency - p[j]) <= 5 * np.sqrt(p[j] * (1 - p[j]) / n) + 1e-15)
        assert sample.discrete[:, j].max() < size


def test_mode_is_clipped_to_the_box() -> None:
    policy = Policy(np.array([3.0, -0.5]), 0.1, CHOICES)
    with torch.no_grad():
        policy.logits[1, 3] = 1
        policy.logits[2, 1] = 9  # of a choice that does not exist
    assert policy.mode().continuous.tolist() == [1, -0.5]
    assert policy.mode().discrete.tolist() == [0, 3, 0]


def test_fisher_information_is_the_covariance_of_the_score() -> None:
    """Gaussian part, 4000 samples, within 5 standard errors; Var z^2 = 2 and Var (z^2 - 1)^2 = 56."""
    policy, n = Policy(np.array([0.2]), 0.3, ()), 4000
    sample = policy.sample(np.random.default_rng(3), n)
    z = (sample.continuous[:, 0] - 0.2) / 0.3
    (_, mu), (_, log_sigma), _ = policy.fisher_information()
    assert abs(np.mean((z / 0.3) ** 2) - float(mu)) < 5 * math.sqrt(2 / n) / 0.09
    assert abs(np.mean((z**2 - 1) ** 2) - float(log_sigma)) < 5 * math.sqrt(56 / n)


def test_fisher_information_inverts_the_categorical_one_exactly() -> None:
    policy = random_policy()
    *_, (_, information) = policy.fisher_information()
    p = policy.log_probabilities.exp().detach()[1]
    gradient = torch.tensor([0.3, -0.1, 0.4, -0.6], dtype=torch.float64)
    natural = gradient / information[1]
    torch.testing.assert_close((torch.diag(p) - torch.outer(p, p)) @ natural, gradient)


@pytest.mark.parametrize("choices", [(), (3,)])
@pytest.mark.parametrize("numbers", [0, 2])
def test_parts_may_be_empty(numbers: int, choices: tuple[int, ...]) -> None:
    policy = Policy(np.zeros(numbers), 0.1, choices)
    sample = policy.sample(np.random.default_rng(0), 5)
    assert sample.continuous.shape == (5, numbers) and sample.discrete.shape == (5, len(choices))
    assert policy.log_prob(sample).shape == (5,)
    assert torch.isfinite(policy.entropy())
