"""The Gaussian x categorical policies against scipy, torch.distributions and counted samples."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import distributions

from rl_detector.agents.conditioned import ConditionedPolicy, conjugate_gradient, fisher_product, flat
from rl_detector.agents.covariances import FullPolicy, LowRankPolicy
from rl_detector.agents.policies import GaussianPolicy, Policy, kl_divergence, start_policy
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


FAMILIES: tuple[type[GaussianPolicy], ...] = (Policy, FullPolicy, LowRankPolicy)


def number(tensor: torch.Tensor) -> float:
    return float(tensor.detach())


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest) -> type[GaussianPolicy]:
    return request.param  # type: ignore[no-any-return]


def drawn(family: type[GaussianPolicy], seed: int, c: int = 3, choices: tuple[int, ...] = CHOICES) -> GaussianPolicy:
    """A policy of a family with random parameters."""
    rng = np.random.default_rng(seed)
    policy = family(rng.normal(size=c), 0.3, choices)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.5, parameter.shape)))
    return policy


def normal(policy: GaussianPolicy) -> object:
    return stats.multivariate_normal(policy.mu.detach().numpy(), policy.covariance().detach().numpy())


def spread_vector(policy: GaussianPolicy) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in (policy.mu, *policy.spread_parameters(), policy.logits)])


def information(policy: GaussianPolicy) -> torch.Tensor:
    """Hessian of KL(policy || policy moved) at the policy: the exact Fisher information of mu, spread and logits."""
    parameters = (policy.mu, *policy.spread_parameters(), policy.logits)
    names = {id(p): name for name, p in policy.named_parameters()}

    def kl(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([p.numel() for p in parameters])
        moved = {names[id(p)]: part.reshape(p.shape) for p, part in zip(parameters, parts, strict=True)}
        return torch.func.functional_call(Difference(policy), {f"moved.{n}": v for n, v in moved.items()}, ())

    return torch.autograd.functional.hessian(kl, spread_vector(policy))  # type: ignore[no-any-return]


class Difference(torch.nn.Module):
    """KL(fixed || moved) as a module, so that the parameters of the moved one can be replaced."""

    def __init__(self, policy: GaussianPolicy) -> None:
        super().__init__()
        self.moved, self.fixed = policy, copy_of(policy)

    def forward(self) -> torch.Tensor:
        return kl_divergence(self.fixed, self.moved)


def copy_of(policy: GaussianPolicy) -> GaussianPolicy:
    other = type(policy)(policy.mu.detach().numpy(), 0.3, policy.exists.sum(dim=-1).tolist())
    other.load_state_dict(policy.state_dict())
    return other.requires_grad_(False)


def test_log_prob_of_every_family_is_that_of_scipy(family: type[GaussianPolicy]) -> None:
    policy = drawn(family, 0)
    actions = policy.sample(np.random.default_rng(1), 50)
    expected = normal(policy).logpdf(actions.continuous)  # type: ignore[attr-defined]
    for j, size in enumerate(CHOICES):
        p = torch.softmax(policy.logits.detach()[j, :size], dim=0).numpy()
        expected = expected + stats.multinomial.logpmf(np.eye(size)[actions.discrete[:, j]], 1, p)
    np.testing.assert_allclose(policy.log_prob(actions).detach().numpy(), expected, rtol=1e-10)


def test_entropy_of_every_family_is_that_of_scipy(family: type[GaussianPolicy]) -> None:
    policy = drawn(family, 1)
    expected = normal(policy).entropy()  # type: ignore[attr-defined]
    assert number(policy.gaussian_entropy()) == pytest.approx(expected, rel=1e-10)
    p = policy.log_probabilities.detach().exp().numpy()
    assert number(policy.categorical_entropy()) == pytest.approx(sum(stats.entropy(row) for row in p), rel=1e-10)


def test_moments_of_samples_of_every_family(family: type[GaussianPolicy]) -> None:
    """40000 samples: means and covariances within 5 standard errors, from Var(x_i x_j) = C_ii C_jj + C_ij^2."""
    policy, n = drawn(family, 2), 40000
    x = policy.sample(np.random.default_rng(2), n).continuous - policy.mu.detach().numpy()
    c = policy.covariance().detach().numpy()
    assert np.all(np.abs(x.mean(axis=0)) < 5 * np.sqrt(np.diag(c) / n))
    error = np.sqrt((np.outer(np.diag(c), np.diag(c)) + c**2) / n)
    assert np.all(np.abs(x.T @ x / n - c) < 5 * error)


def test_low_rank_is_full_with_that_covariance() -> None:
    low, full = drawn(LowRankPolicy, 3), FullPolicy(np.zeros(3), 0.3, CHOICES)
    scale = low.scale_tril().detach()
    with torch.no_grad():
        full.mu.copy_(low.mu)
        full.logits.copy_(low.logits)
        full.log_sigma.copy_(scale.diagonal().log())
        full.lower.copy_(scale / scale.diagonal()[:, None])
    actions = low.sample(np.random.default_rng(0), 20)
    torch.testing.assert_close(full.log_prob(actions), low.log_prob(actions))
    torch.testing.assert_close(full.entropy(), low.entropy())
    np.testing.assert_allclose(full.sample(np.random.default_rng(5), 9).continuous,
                               low.sample(np.random.default_rng(5), 9).continuous)  # fmt: skip
    assert number(kl_divergence(low, full)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("other", [FullPolicy, LowRankPolicy])
def test_families_start_with_the_same_spread(other: type[GaussianPolicy]) -> None:
    policy = other(np.zeros(5), 0.3, ())
    np.testing.assert_allclose(policy.covariance().diagonal().detach(), 0.09, rtol=1e-12)
    assert number(torch.linalg.eigvalsh(policy.covariance().detach()).min()) > 0


def test_kl_divergence_is_the_closed_form_and_never_negative() -> None:
    """All nine pairs of families against tr, log det and p log p of numpy; 0 for a policy and itself."""
    for i, first in enumerate(FAMILIES):
        for j, second in enumerate(FAMILIES):
            p, q = drawn(first, 10 + i), drawn(second, 20 + j)
            c1, c2 = p.covariance().detach().numpy(), q.covariance().detach().numpy()
            shift = (p.mu - q.mu).detach().numpy()
            trace, log_det = np.trace(np.linalg.solve(c2, c1)), np.log(np.linalg.det(c2) / np.linalg.det(c1))
            expected = 0.5 * (trace + shift @ np.linalg.solve(c2, shift) - 3 + log_det)
            pairs = zip(p.log_probabilities.detach().exp(), q.log_probabilities.detach().exp(), strict=True)
            expected += sum(stats.entropy(*(x.numpy() for x in pair)) for pair in pairs)
            assert number(kl_divergence(p, q)) == pytest.approx(expected, rel=1e-9) and expected > 0
        assert number(kl_divergence(p, p)) == pytest.approx(0, abs=1e-12)


def test_kl_divergence_of_other_spaces_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[2\] and \[3\] choices"):
        kl_divergence(Policy(np.zeros(1), 0.1, (2,)), Policy(np.zeros(1), 0.1, (3,)))


def test_fisher_information_is_the_covariance_of_the_score_in_every_family(family: type[GaussianPolicy]) -> None:
    """6000 samples; every element within 5 standard errors of the mean of the products of two scores."""
    policy, n = drawn(family, 4, choices=()), 6000
    actions = policy.sample(np.random.default_rng(4), n)
    score = scores(policy, actions.continuous)
    products = score[:, :, None] * score[:, None, :]
    found, error = products.mean(axis=0), products.std(axis=0) / math.sqrt(n)
    expected = np.zeros_like(found)
    expected[:3, :3] = np.linalg.inv(policy.covariance().detach().numpy())
    expected[3:, 3:] = policy.spread_information().detach().numpy()
    assert np.all(np.abs(found - expected) <= 5 * error + 1e-12)


def scores(policy: GaussianPolicy, continuous: FloatArray) -> FloatArray:
    """Gradients of log pi of each action by mu and the spread parameters, [designs, parameters]."""
    parameters = (policy.mu, *policy.spread_parameters())
    names = {id(p): f"policy.{name}" for name, p in policy.named_parameters()}
    module, nothing = LogProb(policy), np.zeros((1, 0), dtype=np.int64)

    def one(values: dict[str, torch.Tensor], a: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, values, (Encoding(a[None], nothing),))[0]  # type: ignore[arg-type]

    values = {names[id(p)]: p.detach() for p in parameters}
    found = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0))(values, torch.from_numpy(continuous))
    return torch.cat([found[names[id(p)]].reshape(len(continuous), -1) for p in parameters], dim=1).numpy()


class LogProb(torch.nn.Module):
    """log_prob as the forward of a module."""

    def __init__(self, policy: GaussianPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, actions: Encoding) -> torch.Tensor:
        return self.policy.log_prob(actions)


def test_natural_gradient_is_exact(family: type[GaussianPolicy]) -> None:
    """F times the natural gradient is the gradient, with F the Hessian of the KL divergence by autograd."""
    policy = drawn(family, 5, choices=(2, 4))
    actions = policy.sample(np.random.default_rng(5), 9)
    weights = torch.from_numpy(np.random.default_rng(6).normal(size=9))
    (weights * policy.log_prob(actions)).mean().backward()
    exact, natural = information(policy), {id(p): g for p, g in policy.natural_gradient()}
    parameters = (policy.mu, *policy.spread_parameters(), policy.logits)
    gradient = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    step = torch.cat([natural[id(p)].reshape(-1) for p in parameters])
    torch.testing.assert_close(exact @ step, gradient, rtol=1e-7, atol=1e-9)
    start, end = len(policy.mu), -policy.logits.numel()
    torch.testing.assert_close(exact[start:end, start:end], policy.spread_information(), rtol=1e-8, atol=1e-9)


def test_natural_gradient_does_not_depend_on_the_coordinates() -> None:
    """xNES: under a linear map of the space the full Gaussian takes the same step, mapped; checked on C."""
    rng = np.random.default_rng(7)
    z, weights, m = rng.normal(size=(12, 2)), rng.normal(size=12), np.array([[2.0, 0.0], [-3.0, 0.1]])
    steps = []
    for map_ in (np.eye(2), m):
        policy = FullPolicy(np.zeros(2), 1.0, ())
        scale = torch.from_numpy(map_)
        with torch.no_grad():
            policy.log_sigma.copy_(scale.diagonal().log())
            policy.lower.copy_((scale / scale.diagonal()[:, None]).tril(-1))
        nothing = np.zeros((12, 0), dtype=np.int64)
        (torch.from_numpy(weights) * policy.log_prob(Encoding(z @ map_.T, nothing))).mean().backward()
        for parameter, natural in policy.natural_gradient():
            parameter.data += 1e-6 * natural
        steps.append((policy.covariance().detach().numpy() - map_ @ map_.T) / 1e-6)
    np.testing.assert_allclose(steps[1], m @ steps[0] @ m.T, rtol=1e-4, atol=1e-6)
    expected = np.einsum("n,ni,nj->ij", weights, z, z) / 12 - weights.mean() * np.eye(2)  # G_M of xNES
    np.testing.assert_allclose(steps[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("c", [0, 1, 200])
def test_every_family_of_any_size(family: type[GaussianPolicy], c: int) -> None:
    policy = family(np.zeros(c), 0.2, ())
    actions = policy.sample(np.random.default_rng(0), 4)
    policy.log_prob(actions).mean().backward()
    for parameter, natural in policy.natural_gradient():
        assert natural.shape == parameter.shape and torch.isfinite(natural).all()
    assert torch.isfinite(policy.entropy()) and number(kl_divergence(policy, policy)) == pytest.approx(0, abs=1e-9)


def test_policies_survive_a_checkpoint(family: type[GaussianPolicy]) -> None:
    policy, buffer = drawn(family, 8), io.BytesIO()
    torch.save(policy.state_dict(), buffer)
    buffer.seek(0)
    other = family(np.zeros(3), 0.1, CHOICES)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for first, second in zip(*(p.sample(np.random.default_rng(1), 7) for p in (policy, other)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_rank_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank >= 1, got 0"):
        LowRankPolicy(np.zeros(2), 0.1, (), rank=0)


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
    torch.testing.assert_close(xi.entropy(), start.entropy().expand(40))
    assert number(xi.excess.detach().abs().max()) == 0
    for mine, free in zip(policy.mode(s[:1]), start.mode(), strict=True):
        np.testing.assert_array_equal(mine[0], free)
    for mine, free in zip(*(policy.sample(s, np.random.default_rng(2)), start.sample(np.random.default_rng(2), 40)),
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(mine, free)


def test_conditioned_kl_divergence_is_that_of_the_free_policies() -> None:
    first, second = inside(0), inside(1)
    s = observations(3)
    kl = conditioned(first)(s).kl_divergence(conditioned(second)(s))
    torch.testing.assert_close(kl, kl_divergence(first, second).expand(3))


def test_one_natural_step_with_constant_observation_is_that_of_the_free_policy() -> None:
    """Without hidden units and inputs the network is a bias, in units of sigma for mu."""
    start = inside()
    policy = ConditionedPolicy(start, 0, 0, np.random.default_rng(0))
    actions, s = start.sample(np.random.default_rng(1), 30), torch.zeros((30, 0), dtype=torch.float64)
    weights = torch.from_numpy(np.random.default_rng(2).normal(size=30))
    (weights * start.log_prob(actions)).mean().backward()
    free = {id(p): g for p, g in start.natural_gradient()}
    parameters = list(policy.parameters())
    gradient = flat(torch.autograd.grad((weights * policy(s).log_prob(actions)).mean(), parameters))
    step = conjugate_gradient(fisher_product(policy, s, damping=1e-9), gradient, steps=60, tolerance=1e-12)
    mu, log_sigma, logits = step.split([3, 3, 12])
    torch.testing.assert_close(mu * start.log_sigma.exp(), free[id(start.mu)], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(log_sigma, free[id(start.log_sigma)], rtol=1e-5, atol=1e-7)
    mine, theirs = logits.reshape(3, 4), free[id(start.logits)]
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
