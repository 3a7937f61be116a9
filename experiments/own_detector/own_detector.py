"""Your own detector: a tracking telescope, described, registered and optimised."""

from pathlib import Path

import gymnasium as gym
import numpy as np

from rl_detector.agents import make_agent
from rl_detector.ledger import Ledger
from rl_detector.parameters import Continuous
from rl_detector.problem import Cost, DesignProblem, Measurement, Readout
from rl_detector.registry import register
from rl_detector.space import DesignSpace
from rl_detector.study import Budget, Study


class Tracks:  # how it is measured: slopes of straight tracks, fitted to hits of 0.1 mm precision
    def simulate(self, design, events, seed):
        rng = np.random.default_rng(seed)
        z, slope = np.array([design["z1"], design["z2"], design["z3"]]), rng.uniform(-0.1, 0.1, events)
        hits = slope[:, None] * z + rng.normal(0, 0.1, (events, 3))
        lever = z - z.mean()
        return Readout({"slope": slope}, hits @ lever[:, None] / max(lever @ lever, 1.0))

    def describe(self):
        return {"simulator": "straight tracks"}


class Resolution:  # what it is worth: -ln(slope resolution / 1 mrad), with its standard error
    def measure(self, readout):
        sigma, error = (readout.signals[:, 0] - readout.truth["slope"]).std(), (2 * len(readout.signals)) ** -0.5
        return Measurement(-np.log(sigma / 1e-3), error, sigma, sigma * error)


def telescope(cost_weight: float = 2.0) -> DesignProblem:
    return DesignProblem(
        name="telescope",
        space=DesignSpace(tuple(Continuous(name, 0, 1000, "mm") for name in ("z1", "z2", "z3"))),
        simulator=Tracks(),
        reach=Resolution(),
        costs=(Cost("length", "mm", 1000, lambda design: max(design.values()) - min(design.values())),),
        baselines={"start": {"z1": 400, "z2": 500, "z3": 600}},
        cost_weight=cost_weight,
    )


if __name__ == "__main__":
    problem = telescope()
    env = gym.make(register("telescope", telescope), events=200)  # for any library of reinforcement learning
    env.reset(seed=0), env.action_space.seed(0)
    print("a random design has the reward", round(env.step(env.action_space.sample())[1], 2))
    agent = make_agent("policy_gradient", problem.space, seed=0, start=problem.start)
    best = Study(problem, agent, Ledger(Path(":memory:")), Budget(events=400_000)).run()
    for name, design in {"start": problem.start, "recommended": best}.items():
        result = problem.evaluate(design, events=20_000, seed=1)
        print(name, {z: round(x) for z, x in design.items()}, f"reward {result.reward:.2f}")
