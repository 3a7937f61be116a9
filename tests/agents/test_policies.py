"""The Gaussian x categorical policies against scipy, torch.distributions and counted samples."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import distributions

from rl_detector.agents.contextual.policy import ConditionedPolicy, conjugate_gradient, fisher_product, flat
from rl_detector.agents.policies import Policy, start_policy
from rl_detector.errors import ConfigError, DesignError
from rl_detector.parameters import Categorical, Continuous, Integer
from rl_detector.space import DesignSpace, Encoding, FloatArray

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


def test_gradients_of_choices_that_do_not_exist_are_zero() -> None:
    policy = random_policy()
    policy.log_prob(policy.sample(np.random.default_rng(0), 9)).mean().backward()
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


@pytest.mark.parametrize("choices", [(), (3,)])
@pytest.mark.parametrize("coordinates", [0, 2])
def test_parts_may_be_empty(coordinates: int, choices: tuple[int, ...]) -> None:
    policy = Policy(np.zeros(coordinates), 0.1, choices)
    sample = policy.sample(np.random.default_rng(0), 5)
    assert sample.continuous.shape == (5, coordinates) and sample.discrete.shape == (5, len(choices))
    assert policy.log_prob(sample).shape == (5,)


def number(tensor: torch.Tensor) -> float:
    return float(tensor.detach())


def test_policies_survive_a_checkpoint() -> None:
    policy, buffer = random_policy(8), io.BytesIO()
    torch.save(policy.state_dict(), buffer)
    buffer.seek(0)
    other = Policy(np.zeros(3), 0.1, CHOICES)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for first, second in zip(*(p.sample(np.random.default_rng(1), 7) for p in (policy, other)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_start_policy() -> None:
    space = DesignSpace((Continuous("x", 0, 10), Integer("fixed", 3, 3), Categorical("c", ("a", "b"))))
    policy = start_policy(space, {"x": 2.5, "fixed": 3, "c": "b"}, 0.1)
    assert space.decode(policy.mode()) == {"x": 2.5, "fixed": 3, "c": "b"}
    assert policy.logits.detach().tolist() == [[0, 0.2]]
    assert start_policy(space, None, 0.1).mu.detach().tolist() == [0, 0]
    with pytest.raises(DesignError, match="x"):
        start_policy(space, {"x": -1, "fixed": 3, "c": "b"}, 0.1)
    with pytest.raises(ConfigError, match="device='nonsense'"):
        start_policy(space, None, 0.1, "nonsense")


def conditioned(start: Policy, inputs: int = 2, **options: float) -> ConditionedPolicy:
    return ConditionedPolicy(start, inputs, 5, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def observations(n: int, size: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(n, size)))


def inside(seed: int = 0) -> Policy:
    """A random policy within the bounds."""
    policy = random_policy(seed)
    with torch.no_grad():
        policy.mu.clamp_(-0.9, 0.9)
    return policy


def test_conditioned_with_its_start_is_the_free_policy() -> None:
    start = inside()
    policy, s = conditioned(start), observations(40)
    actions = start.sample(np.random.default_rng(1), 40)
    xi = policy(s)
    torch.testing.assert_close(xi.log_prob(actions), start.log_prob(actions))
    assert number(xi.excess.detach().abs().max()) == 0
    for mine, free in zip(policy.mode(s[:1]), start.mode(), strict=True):
        np.testing.assert_array_equal(mine[0], free)
    for mine, free in zip(*(policy.sample(s, np.random.default_rng(2)), start.sample(np.random.default_rng(2), 40)),
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(mine, free)


def test_conditioned_kl_divergence_is_that_of_torch_distributions() -> None:
    first, second = inside(0), inside(1)
    s = observations(3)
    kl = conditioned(first)(s).kl_divergence(conditioned(second)(s))
    normals = (distributions.Normal(policy.mu, policy.log_sigma.exp()) for policy in (first, second))
    expected = distributions.kl_divergence(*normals).sum()
    for j, size in enumerate(CHOICES):
        terms = (distributions.Categorical(logits=policy.logits[j, :size]) for policy in (first, second))
        expected = expected + distributions.kl_divergence(*terms)
    torch.testing.assert_close(kl, expected.expand(3))


def test_one_natural_step_with_constant_observation_is_that_of_the_free_policy() -> None:
    """Without hidden units and inputs the network is a bias, in units of sigma for mu.

    The Fisher information of the free policy: 1 / sigma^2 for mu, 2 for log sigma and diag(p) - p p^T for logits, whose
    gradients g sum to 0 in every choice, so that (diag(p) - p p^T) (g / p) = g.
    """
    start = inside()
    policy = ConditionedPolicy(start, 0, 0, np.random.default_rng(0))
    actions, s = start.sample(np.random.default_rng(1), 30), torch.zeros((30, 0), dtype=torch.float64)
    weights = torch.from_numpy(np.random.default_rng(2).normal(size=30))
    (weights * start.log_prob(actions)).mean().backward()
    parameters = list(policy.parameters())
    gradient = flat(torch.autograd.grad((weights * policy(s).log_prob(actions)).mean(), parameters))
    step = conjugate_gradient(fisher_product(policy, s, damping=1e-9), gradient, steps=60, tolerance=1e-12)
    mu, log_sigma, logits = step.split([3, 3, 12])
    assert start.mu.grad is not None and start.log_sigma.grad is not None and start.logits.grad is not None
    sigma, p = start.log_sigma.detach().exp(), start.log_probabilities.detach().exp()
    torch.testing.assert_close(mu * sigma, sigma**2 * start.mu.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(log_sigma, start.log_sigma.grad / 2, rtol=1e-5, atol=1e-7)
    mine, theirs = logits.reshape(3, 4), start.logits.grad / p
    for j, size in enumerate(CHOICES):  # equal up to a constant, which changes no probability
        torch.testing.assert_close(mine[j, :size] - mine[j, 0], theirs[j, :size] - theirs[j, 0], rtol=1e-4, atol=1e-6)


def test_bounds_of_a_conditioned_policy() -> None:
    """Far outside: the value is the bound, and going down `excess` leads back."""
    policy, s = conditioned(inside(), sigma_bounds=(0.05, 0.6), exploration=0.3), observations(30)
    with torch.no_grad():
        policy.last.copy_(torch.from_numpy(np.random.default_rng(0).normal(0, 50, policy.last.shape)))
    xi = policy(s)
    assert number(xi.mu.detach().abs().max()) <= 1 + 1e-9
    assert 0.05 - 1e-9 <= number(xi.log_sigma.exp().detach().min()) <= number(xi.log_sigma.exp().detach().max()) < 0.601
    for j, size in enumerate(CHOICES):
        assert number(xi.log_probabilities[:, j, :size].exp().detach().min()) >= 0.3 / size - 1e-9
    before, parameters = number(xi.excess.mean()), list(policy.parameters())
    gradient = torch.autograd.grad(xi.excess.mean(), parameters)
    assert all(torch.isfinite(g).all() for g in gradient)
    with torch.no_grad():
        policy.last -= 1e-3 * gradient[-1]
    assert number(policy(s).excess.mean()) < before


def test_samples_of_a_conditioned_policy_depend_on_the_observation() -> None:
    """20000 samples at one of two observations: means and frequencies within 5 standard errors."""
    policy, n = conditioned(inside()), 20000
    with torch.no_grad():
        policy.last.copy_(torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, policy.last.shape)))
    s = observations(2)
    for row in s:
        xi = policy(row[None])
        sample = policy.sample(row.expand(n, 2), np.random.default_rng(5))
        z: FloatArray = (sample.continuous - xi.mu.detach().numpy()) / xi.log_sigma.exp().detach().numpy()
        assert np.all(np.abs(z.mean(axis=0)) < 5 / math.sqrt(n))
        p = xi.log_probabilities[0].exp().detach().numpy()
        for j in range(3):
            frequency = np.bincount(sample.discrete[:, j], minlength=4) / n
            assert np.all(np.abs(frequency - p[j]) <= 5 * np.sqrt(p[j] * (1 - p[j]) / n) + 1e-12)
    assert not torch.allclose(policy(s[:1]).mu, policy(s[1:]).mu)
