"""Designs that an earlier policy proposed: importance ratios, and gradients without bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl_detector.agent import Batch, Stochastic
from rl_detector.agents.peers.reinforce import Reinforce, importance_ratios
from rl_detector.parameters import Categorical, Continuous
from rl_detector.space import DesignSpace

SPACE = DesignSpace((Continuous("x", -1.0, 1.0), Continuous("y", -1.0, 1.0), Categorical("m", ("a", "b", "c"))))


def test_importance_ratios_in_closed_form():
    now, then = np.log([0.5, 0.1, 0.3, 1e-300]), np.log([0.25, 0.2, 0.3, 1.0])
    np.testing.assert_allclose(importance_ratios(now, then, np.inf), [2.0, 0.5, 1.0, 1e-300])
    np.testing.assert_allclose(importance_ratios(now, then, 1.0), [1.0, 0.5, 1.0, 1e-300])
    assert importance_ratios(np.array([800.0]), np.array([-800.0]), 3.0) == [3.0]


def test_reinforce_told_of_its_own_policy_takes_the_plain_step():
    plain, corrected = (Reinforce(SPACE, 0, designs_per_update=8) for _ in range(2))
    assert isinstance(plain, Stochastic)
    for _ in range(5):
        actions = plain.ask(np.zeros(0), 16)
        corrected.ask(np.zeros(0), 16)
        batch = Batch(actions, actions.continuous[:, 0], np.ones(16))
        corrected.tell(batch._replace(log_probabilities=corrected.log_probability(actions)))
        plain.tell(batch)
    torch.testing.assert_close(plain.policy.mu, corrected.policy.mu)
    torch.testing.assert_close(plain.policy.logits, corrected.policy.logits)
    assert corrected.metrics()["weight"] == pytest.approx(1.0)


def moved(agent: Reinforce) -> None:
    """The policy has gone on since it proposed."""
    with torch.no_grad():
        agent.policy.mu += torch.tensor([0.15, -0.1])
        agent.policy.logits += torch.tensor([[0.3, -0.2, 0.0]])


def gradient(agent: Reinforce, batch: Batch) -> np.ndarray:
    agent.tell(batch)
    return torch.cat([agent.policy.mu.grad, agent.policy.logits.grad.reshape(-1)]).numpy().copy()


def value(actions) -> np.ndarray:
    x, y = actions.continuous.T
    return x - 0.5 * y**2 + 0.3 * actions.discrete[:, 0]


def exact_gradient(agent: Reinforce) -> np.ndarray:
    """Of E[value]: (1, -mu_y) and p_j (0.3 j - E[0.3 j])."""
    p, levels = agent.policy.log_probabilities.exp().detach().numpy()[0], 0.3 * np.arange(3)
    mu = agent.policy.mu.detach().numpy()
    return np.concatenate([[1.0, -mu[1]], p * (levels - p @ levels)])


def stale_gradients(truncation: float, corrected: bool, repeats: int = 60, designs: int = 500):
    """Gradients at a new policy from designs of an old one, and the exact gradient."""
    found = []
    for seed in range(repeats):
        agent = Reinforce(SPACE, seed, designs_per_update=designs, truncation=truncation)
        agent._baseline = 0.1
        actions = agent.ask(np.zeros(0), designs)
        then = agent.log_probability(actions) if corrected else None
        moved(agent)
        exact = exact_gradient(agent)
        found.append(gradient(agent, Batch(actions, value(actions), np.ones(designs), log_probabilities=then)))
    return np.array(found), exact


def test_the_corrected_gradient_of_stale_designs_is_unbiased_without_truncation():
    found, exact = stale_gradients(np.inf, corrected=True)
    error = found.std(axis=0, ddof=1) / len(found) ** 0.5
    assert error.max() < 0.02
    assert (np.abs(found.mean(axis=0) - exact) / error).max() < 3.5
    plain, _ = stale_gradients(np.inf, corrected=False)
    assert (np.abs(plain.mean(axis=0) - exact) / error).max() > 5


def test_truncation_trades_bias_for_variance():
    unbiased, exact = stale_gradients(np.inf, corrected=True)
    truncated, _ = stale_gradients(1.0, corrected=True)
    assert truncated.std(axis=0).sum() < unbiased.std(axis=0).sum()
    error = truncated.std(axis=0, ddof=1) / len(truncated) ** 0.5
    assert (np.abs(truncated.mean(axis=0) - exact) / error).max() > 5


def test_waiting_results_survive_a_checkpoint_with_their_log_probabilities():
    first, second = Reinforce(SPACE, 0, designs_per_update=8), Reinforce(SPACE, 1, designs_per_update=8)
    stale, actions = first.ask(np.zeros(0), 5), first.ask(np.zeros(0), 5)
    then = first.log_probability(stale)
    moved(first)
    first.tell(Batch(stale, value(stale), np.ones(5), log_probabilities=then))
    second.load_state_dict(first.state_dict())
    for agent in (first, second):
        agent.tell(Batch(actions, value(actions), np.ones(5), log_probabilities=agent.log_probability(actions)))
    torch.testing.assert_close(first.policy.mu, second.policy.mu, rtol=0, atol=0)
    assert first.metrics() == second.metrics()
    assert first.metrics()["weight"] < 0.99
