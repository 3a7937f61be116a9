"""What the fast simulator tells about Geant4 events of the same primaries: `python run.py` -> results.json."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from generate import ENV, EVENTS, FIRST_SEED, FOLDER, SAMPLES, designs
from numpy.typing import NDArray

from rl_detector.assembly import build_problem
from rl_detector.envs.calorimeter.layout import PHOTOELECTRONS_PER_GEV
from rl_detector.problem import DesignProblem
from rl_detector.reach.corrected import CorrectedReach
from rl_detector.simulators.fast_stack.simulator import FastStackSimulator
from rl_detector.simulators.stack import Beam, Primaries, Stack
from rl_detector.simulators.two_fidelities import Plan, TwoFidelities
from rl_detector.space import Design
from rl_detector.terms import PairedReadout, Readout

sys.path.insert(0, str(FOLDER.parent / "fast_vs_geant4"))
import reference

FURTHER, COPIES = 20, 20
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """Geant4 from a file: the samples of one design by their seed."""

    energies: FloatArray
    signals: FloatArray

    def simulate(self, design: Design, events: int, seed: int) -> Readout:
        index = seed - FIRST_SEED
        return Readout({"energy": self.energies[index]}, self.signals[index].astype(np.float64))

    def describe(self) -> Mapping[str, str]:
        return {"simulator": "stored"}


def samples(problem: DesignProblem, name: str, copies: int) -> tuple[list[PairedReadout], float]:
    """Paired readouts of one design with 25 dear events each, and the processor seconds per cheap event."""
    with np.load(FOLDER / "events.npz") as data:
        stored = Stored(data[f"energy_{name}"], data[f"signals_{name}"])
    pair = TwoFidelities(problem.simulator, stored, FURTHER, copies)
    design, start = designs(problem)[name], time.process_time()
    found = [pair.simulate(design, EVENTS, FIRST_SEED + index) for index in range(SAMPLES)]
    seconds = (time.process_time() - start) / (SAMPLES * EVENTS * pair.cheap_per_event)
    return [readout for readout in found if isinstance(readout, PairedReadout)], seconds


def joined(parts: list[PairedReadout]) -> PairedReadout:
    """Several samples as one: their dear events, the cheap ones of the same primaries, then the further ones."""
    count = [len(part.signals) for part in parts]

    def together(copy: int) -> Readout:
        pieces = [(part.copies[copy], slice(None, n)) for part, n in zip(parts, count, strict=True)]
        pieces += [(part.copies[copy], slice(n, None)) for part, n in zip(parts, count, strict=True)]
        energy = np.concatenate([readout.truth["energy"][events] for readout, events in pieces])
        return Readout({"energy": energy}, np.concatenate([readout.signals[events] for readout, events in pieces]))

    copies = tuple(together(copy) for copy in range(len(parts[0].copies)))
    energy = np.concatenate([part.truth["energy"] for part in parts])
    return PairedReadout({"energy": energy}, np.concatenate([part.signals for part in parts]), copies)


def reaches(problem: DesignProblem, parts: list[PairedReadout], size: int) -> dict[str, Any]:
    """Corrected and plain reach of independent readouts of `size` samples each."""
    reach, start = CorrectedReach(problem.reach), time.process_time()
    groups = [joined(parts[first : first + size]) for first in range(0, len(parts) - size + 1, size)]
    measured = [reach.measure(group) for group in groups]
    seconds = (time.process_time() - start) / sum(m.diagnostics["cheap_events"] for m in measured)
    r, error = (np.array([getattr(m, name) for m in measured]) for name in ("reach", "error"))
    d, plain = (np.array([m.diagnostics[name] for m in measured]) for name in ("dear_reach", "dear_error"))
    shift, ratio = r - d, r.var(ddof=1) / d.var(ddof=1)
    spread = 2 * np.sqrt((1 - np.corrcoef(r, d)[0, 1] ** 2) / len(r))
    return {
        "events": size * EVENTS,
        "repetitions": len(r),
        "reach": float(r.mean()),
        "dear_reach": float(d.mean()),
        "shift": [float(shift.mean()), float(shift.std(ddof=1) / np.sqrt(len(r)))],
        "variance_ratio": [float(ratio), float(ratio * spread)],
        "stated_ratio": float(np.mean(error**2) / np.mean(plain**2)),
        "error_over_spread": [float(np.sqrt(np.mean(e**2)) / x.std(ddof=1)) for e, x in ((error, r), (plain, d))],
        "coefficient": float(np.mean([m.diagnostics["coefficient"] for m in measured])),
        "seconds_per_cheap_event_of_fits": seconds,
    }


def correlations(problem: DesignProblem, parts: list[PairedReadout]) -> dict[str, float]:
    """rho and kappa of all events of a design together, with the error of rho by bootstrap."""
    whole = joined(parts)
    measured = CorrectedReach(problem.reach, coefficient=0.0).measure(whole)
    dear = problem.reach.measure(Readout(whole.truth, whole.signals)).losses
    cheap = problem.reach.measure(
        Readout(
            {"energy": np.concatenate([copy.truth["energy"] for copy in whole.copies])},
            np.concatenate([copy.signals for copy in whole.copies]),
        )
    ).losses
    assert dear is not None and cheap is not None
    control = cheap.reshape(len(whole.copies), -1).mean(axis=0)[: len(dear)]
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(dear), size=len(dear)) for _ in range(300)]
    spread = float(np.std([np.corrcoef(dear[i], control[i])[0, 1] for i in draws]))
    names = ("correlation", "repeatability")
    return {**{name: float(measured.diagnostics[name]) for name in names}, "correlation_error": spread}


def geant4_seconds(problem_name: str, events: int = 50) -> float:
    """Processor seconds per Geant4 event of a design, start-up of the worker left out."""
    used = []
    for size in (EVENTS, EVENTS + events):
        problem = build_problem(ENV, {"name": "geant4", "workers": 1})
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        problem.simulator.simulate(designs(problem)[problem_name], size, 11)
        problem.simulator.engine.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (used[1] - used[0]) / events


def one_design(problem: DesignProblem, name: str) -> dict[str, Any]:
    """Correlation, variance reduction and cost of one design."""
    once, _ = samples(problem, name, 1)
    often, seconds = samples(problem, name, COPIES)
    result: dict[str, Any] = {
        "one copy": {**correlations(problem, once), "of": [reaches(problem, once, size) for size in (1, 8)]},
        f"{COPIES} copies": {
            **correlations(problem, often),
            "of": [reaches(problem, often, size) for size in (1, 2, 4, 8)],
        },
    }
    fits = result[f"{COPIES} copies"]["of"][0]["seconds_per_cheap_event_of_fits"]
    dear = geant4_seconds(name)
    ratio = dear / (seconds + fits)
    pilot = result[f"{COPIES} copies"]
    plan = Plan.measured(pilot["correlation"], COPIES, pilot["repeatability"], ratio)
    further, copies, factor = plan.best()
    result["cost"] = {
        "geant4_seconds_per_event": dear,
        "fast_seconds_per_event": seconds,
        "fit_seconds_per_event": fits,
        "cost_ratio": ratio,
        "cost_of_this_setting": plan.cost(FURTHER, COPIES),
        "equal_cost_factor_of_this_setting": plan.variance(FURTHER, COPIES) * plan.cost(FURTHER, COPIES),
        "best_plan": {"further": further, "copies": copies, "equal_cost_factor": factor},
    }
    return result


def fast_readouts(stack: Stack, primaries: Primaries, copies: int, seed: int) -> list[Readout]:
    """Fast events of given primaries, with light."""
    rng, engine = np.random.default_rng(seed), FastStackSimulator()
    found = engine.deposits([stack] * copies, [primaries] * copies, [seed + k for k in range(copies)])
    return [readout(stack, np.asarray(deposits), primaries.energies, rng) for deposits in found]


def readout(stack: Stack, deposits: FloatArray, energies: FloatArray, rng: np.random.Generator) -> Readout:
    """Scintillator deposits with the light of the calorimeter problem."""
    visible = deposits[:, 1::2]
    yields = np.array([PHOTOELECTRONS_PER_GEV[name] for name in stack.materials[1::2]])
    noise = np.sqrt(np.clip(visible, 0, None) / yields) * rng.standard_normal(visible.shape)
    return Readout({"energy": energies}, np.clip(visible + noise, 0, None))


def across_designs(problem: DesignProblem) -> dict[str, Any]:
    """34 held-out designs: what 25 dear events, corrected ones, and 20,000 cheap ones say about reach differences."""
    names, rows = [], []
    for index, sample in enumerate(reference.load(reference.FOLDER / "held_out.npz")):
        names.append(sample.name.split()[0])
        rows.append(_row(problem, sample, index))
    alone, corrected, cheap, truth, noise = (np.array(column) for column in zip(*rows, strict=True))
    result = {"events": EVENTS, "designs": len(names)}
    for group in ("all", "random", "crystal"):
        kept = np.array([group in ("all", name) for name in names])
        result[group] = _errors(alone[kept], corrected[kept], cheap[kept], truth[kept], noise[kept])
    return result


def _row(problem: DesignProblem, sample: reference.Sample, index: int) -> tuple[Any, ...]:
    count, rng = 600, np.random.default_rng(index)
    same = Primaries(sample.primaries.particles[:count], sample.primaries.energies[:count])
    others = Beam({"gamma": 0.5, "pi+": 0.5}).sample(EVENTS * FURTHER, np.random.default_rng([9, index]))
    dear = readout(sample.stack, sample.deposits[:count], same.energies, rng)
    cheap_same, cheap_others = (
        fast_readouts(sample.stack, primaries, COPIES, 1000 * index + offset)
        for primaries, offset in ((same, 0), (others, 500))
    )
    blocks = [np.arange(first, first + EVENTS) for first in range(0, count, EVENTS)]
    alone = [problem.reach.measure(_only(dear, block)).reach for block in blocks]
    reach = CorrectedReach(problem.reach)
    pairs = [_pair(dear, cheap_same, cheap_others, block) for block in blocks]
    corrected = [reach.measure(pair).reach for pair in pairs]
    truth = [problem.reach.measure(_only(dear, np.setdiff1d(np.arange(count), block))) for block in blocks]
    large = Beam({"gamma": 0.5, "pi+": 0.5}).sample(20_000, np.random.default_rng([10, index]))
    cheap = problem.reach.measure(fast_readouts(sample.stack, large, 1, 77 + index)[0]).reach
    return alone, corrected, cheap, [t.reach for t in truth], np.mean([t.error**2 for t in truth])


def held_out_correlations(problem: DesignProblem) -> dict[str, list[float]]:
    """rho of 600 Geant4 events with one fast copy (mean of 20) and with the mean of 20, for each held-out design."""
    found = {}
    for index, sample in enumerate(reference.load(reference.FOLDER / "held_out.npz")):
        primaries = Primaries(sample.primaries.particles[:600], sample.primaries.energies[:600])
        dear = readout(sample.stack, sample.deposits[:600], primaries.energies, np.random.default_rng(index))
        copies = fast_readouts(sample.stack, primaries, COPIES, 1000 * index)
        energy = np.tile(primaries.energies, COPIES)
        cheap = problem.reach.measure(Readout({"energy": energy}, np.concatenate([copy.signals for copy in copies])))
        losses, values = problem.reach.measure(dear).losses, cheap.losses.reshape(COPIES, -1)
        single = float(np.mean([np.corrcoef(losses, value)[0, 1] for value in values]))
        found[sample.name] = [single, float(np.corrcoef(losses, values.mean(axis=0))[0, 1])]
    return found


def _only(whole: Readout, events: NDArray[np.int64]) -> Readout:
    return Readout({"energy": whole.truth["energy"][events]}, whole.signals[events])


def _pair(dear: Readout, same: list[Readout], others: list[Readout], block: NDArray[np.int64]) -> PairedReadout:
    copies = tuple(
        Readout(
            {"energy": np.concatenate([first.truth["energy"][block], then.truth["energy"]])},
            np.concatenate([first.signals[block], then.signals]),
        )
        for first, then in zip(same, others, strict=True)
    )
    return PairedReadout({"energy": dear.truth["energy"][block]}, dear.signals[block], copies)


def _errors(
    alone: FloatArray, corrected: FloatArray, cheap: FloatArray, truth: FloatArray, noise: FloatArray
) -> dict[str, Any]:
    """Root mean square errors of reach differences (deviations from the mean over designs), noise of the truth out."""
    centred = [values - values.mean(axis=0) for values in (alone, corrected, np.repeat(cheap[:, None], 24, axis=1))]
    target = truth - truth.mean(axis=0)
    squares = [float(np.mean((values - target) ** 2) - noise.mean()) for values in centred]
    blend = centred[2] - target, centred[0] - centred[2]
    weight = float(-(blend[0] * blend[1]).sum() / (blend[1] ** 2).sum())
    mixed = float(np.mean((blend[0] + weight * blend[1]) ** 2) - noise.mean())
    per_design = np.mean(centred[2] - target, axis=1)
    error = float(2 * np.std(per_design**2 - noise, ddof=1) / np.sqrt(len(noise)))
    return {
        "spread_of_reaches": float(target.std()),
        "rms_error": dict(zip(("dear", "corrected"), (float(np.sqrt(s)) for s in squares[:2]), strict=True)),
        "mean_square_of_cheap": [squares[2], error / 2],
        "weight_of_dear_in_best_blend": weight,
        "mean_square_of_blend": mixed,
        "noise_of_truth": float(np.sqrt(noise.mean())),
    }


def main() -> None:
    problem = build_problem(ENV, {"name": "fast"})
    with np.load(FOLDER / "events.npz") as data:
        facts = json.loads(str(data["header"]))
    results: dict[str, Any] = {"geant4": facts, "further": FURTHER, "copies": COPIES}
    for name in designs(problem):
        results[name] = one_design(problem, name)
        print(name, json.dumps(results[name], indent=1), flush=True)
    results["across designs"] = across_designs(problem)
    results["correlations of held-out designs"] = held_out_correlations(problem)
    print(json.dumps([results["across designs"], results["correlations of held-out designs"]], indent=1))
    (FOLDER / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
