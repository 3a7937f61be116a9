"""What env, study and ledger add to a bare call of simulator and reach, in batches of 64 designs x 400 events.

Every round measures the same designs and seeds twice: inside the study (agent, ledger and checkpoint included) or the
vector environment, and bare.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from rl_detector.agents import make_agent
from rl_detector.envs.calorimeter.problem import calorimeter
from rl_detector.episodes.env import VectorDesignEnv
from rl_detector.records.ledger import Ledger
from rl_detector.space import Encoding
from rl_detector.study import Budget, Study

DESIGNS, EVENTS, ROUNDS = 64, 400, 15


def seconds(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def stacked(encodings: list[Encoding]) -> Encoding:
    return Encoding(np.stack([e.continuous for e in encodings]), np.stack([e.discrete for e in encodings]))


def main() -> None:
    problem = calorimeter()
    agent = make_agent("policy_gradient", problem.space, 0, problem.start)
    env = VectorDesignEnv(problem, DESIGNS, EVENTS)
    env.reset(seed=0)
    times: dict[str, list[float]] = {"simulator": [], "simulator + reach": [], "vector env": [], "study + ledger": []}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        study = Study(problem, agent, ledger, Budget(10**9, EVENTS, DESIGNS), checkpoint=Path(folder) / "checkpoint.pt")
        for _ in range(ROUNDS + 1):
            times["study + ledger"].append(seconds(lambda: (study.step(DESIGNS), study.save())))
            trials = list(ledger.trials(study.batch - 1))
            designs = [trial.evaluation.design for trial in trials]
            seeds = [trial.evaluation.seed for trial in trials]
            action = problem.space.to_action(stacked([trial.action for trial in trials]))
            times["vector env"].append(seconds(lambda action=action: env.step(action)))
            readouts = []
            simulate = lambda d=designs, s=seeds, r=readouts: r.extend(problem.simulator.simulate_batch(d, EVENTS, s))  # noqa: E731
            times["simulator"].append(seconds(simulate))
            measure = seconds(lambda r=readouts: problem.reach.measure_batch(r))
            times["simulator + reach"].append(times["simulator"][-1] + measure)
        ledger.close()
    print(f"{DESIGNS} designs x {EVENTS} events, CPU time, median of {ROUNDS} rounds after one to warm up")
    bare = times["simulator"][1:], times["simulator + reach"][1:]
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values[1:], bare[0], strict=True))
        extra = 1e3 / DESIGNS * statistics.median(a - b for a, b in zip(values[1:], bare[1], strict=True))
        each = 1e3 / DESIGNS * statistics.median(values[1:])
        print(f"{name:18} {each:.3f} ms per design  {ratio:.2f} x simulator  {extra:+.3f} ms over simulator + reach")


if __name__ == "__main__":
    main()
