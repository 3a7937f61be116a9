"""Own processor time and memory of policy_gradient: what it costs besides the simulation.

Time per evaluated design, at several numbers of parameters, with a memory that fills up; and memory after 10^4 and 10^5
evaluations of a cheap reward. Run with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import resource
import sys
import time
import tracemalloc

import numpy as np
import torch

from rl_detector.agent import Agent, Batch
from rl_detector.agents import make_agent
from rl_detector.parameters import Categorical, Continuous
from rl_detector.space import DesignSpace, Encoding, FloatArray

NOTHING = np.zeros(0)
DESIGNS, BATCHES = 32, 60
SPACES = ((6, 0), (20, 0), (60, 0), (200, 0), (12, 12), (60, 60))
EVALUATIONS, CHUNK = (10_000, 100_000), 500


def space_of(coordinates: int, choices: int) -> DesignSpace:
    continuous = [Continuous(f"x{i}", -1, 1) for i in range(coordinates)]
    return DesignSpace((*continuous, *(Categorical(f"c{j}", ("a", "b", "c", "d")) for j in range(choices))))


def reward(actions: Encoding, rng: np.random.Generator) -> FloatArray:
    x = np.clip(actions.continuous, -1, 1)
    value = -((x - 0.3) ** 2).sum(axis=1) - 0.5 * (actions.discrete != 1).sum(axis=1)
    return value + 0.3 * rng.standard_normal(len(value))


def seconds(agent: Agent, designs: int, rng: np.random.Generator) -> float:
    """Processor time of one ask and tell, without that of the reward."""
    started = time.process_time()
    actions = agent.ask(NOTHING, designs)
    asked = time.process_time() - started
    batch = Batch(actions, reward(actions, rng), np.full(designs, 0.3))
    started = time.process_time()
    agent.tell(batch)
    return asked + time.process_time() - started


def times(batches: int) -> None:
    print(f"own processor time per evaluated design, {batches} batches of {DESIGNS}: first, middle and last third")
    for coordinates, choices in SPACES:
        agent, rng = make_agent("policy_gradient", space_of(coordinates, choices), 0), np.random.default_rng(0)
        spent = [seconds(agent, DESIGNS, rng) for _ in range(batches)]
        thirds = "  ".join(f"{1e3 * np.mean(part) / DESIGNS:8.3f}" for part in np.array_split(spent, 3))
        size = f"{coordinates:4} coordinates {choices:3} choices of 4 options"
        print(f"{size}  {thirds}  ms, remembered {remembered(agent)}")


def remembered(agent: Agent) -> int:
    return int(agent.metrics()["remembered"])


def memory(evaluations: tuple[int, ...]) -> None:
    print(f"memory of one agent with 12 coordinates and 4 choices, batches of {CHUNK}")
    tracemalloc.start()
    agent, rng, told = make_agent("policy_gradient", space_of(12, 4), 0), np.random.default_rng(0), 0
    for goal in evaluations:
        while told < goal:
            seconds(agent, CHUNK, rng)
            told += CHUNK
        now, peak = (size / 2**20 for size in tracemalloc.get_traced_memory())
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
        sizes = f"{now:.1f} MiB held, {peak:.1f} MiB at most, largest resident set {resident:.0f} MiB"
        print(f"{told:7} evaluations: {sizes}, remembered {remembered(agent)}")
    tracemalloc.stop()


def main() -> None:
    """With the argument `short`, a tenth of everything: to see that it runs."""
    share = 10 if "short" in sys.argv[1:] else 1
    torch.set_num_threads(1)
    times(BATCHES // share)
    memory(tuple(n // share for n in EVALUATIONS))


if __name__ == "__main__":
    main()
