"""Your own detector: a tracking telescope, described, registered and optimised."""

from pathlib import Path

import gymnasium as gym
import numpy as np

import rl_detector as rd
from rl_detector.agents import make_agent


class Tracks:  # how it is measured: slopes of straight tracks, fitted to hits of 0.1 mm precision
    def simulate(self, design, events, seed):
        rng = np.random.default_rng(seed)
        z, slope = np.array(list(design.values())), rng.uniform(-0.1, 0.1, events)
        hits, lever = slope[:, None] * z + rng.normal(0, 0.1, (events, 3)), z - z.mean()
        return rd.Readout({"slope": slope}, hits @ lever[:, None] / max(lever @ lever, 1.0))

    def describe(self):
        return {"simulator": "straight tracks"}


class Resolution:  # what it is worth: -ln(slope resolution / 1 mrad), with its standard error
    def measure(self, readout):
        sigma, error = (readout.signals[:, 0] - readout.truth["slope"]).std(), (2 * len(readout.signals)) ** -0.5
        return rd.Measurement(-np.log(sigma / 1e-3), error, sigma, sigma * error)


def telescope(cost_weight: float = 2.0) -> rd.DesignProblem:
    space = rd.DesignSpace(tuple(rd.Continuous(name, 0, 1000, "mm") for name in ("z1", "z2", "z3")))
    length = rd.Cost("length", "mm", 1000, lambda design: max(design.values()) - min(design.values()))
    start = {"z1": 400, "z2": 500, "z3": 600}
    return rd.DesignProblem("telescope", space, Tracks(), Resolution(), (length,), (), {"start": start}, cost_weight)


if __name__ == "__main__":
    env = gym.make(rd.register("telescope", telescope), events=200)  # for any library of reinforcement learning
    problem = env.unwrapped.problem
    agent = make_agent("policy_gradient", problem.space, seed=0, start=problem.start)
    best = rd.Study(problem, agent, rd.Ledger(Path(":memory:")), rd.Budget(events=400_000)).run()
    for name, design in {"start": problem.start, "recommended": best}.items():
        reward = problem.evaluate(design, events=20_000, seed=1).reward
        print(name, {z: round(x) for z, x in design.items()}, f"reward {reward:.2f}")
