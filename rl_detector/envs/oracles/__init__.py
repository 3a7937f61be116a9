"""Oracle: functions with a known best design, to count the events that an agent needs.

## Description

A function in closed form stands in place of a detector.
One event is one normal draw around its value.
Nothing is physics, except the terms of the kind `mixed`. A test knows the truth: the simulator has
`truth(design)`, and `best()`, the best design.

## Parameters

20 coordinates and 0 choices for the usual kind.

| name | bounds | unit | meaning |
|------|--------|------|---------|
| `x*` | 0 to 1 |      | x0 to x19 |

Kinds with choices have m0, m1, ... of two materials besides:

| kind            | usual dimensions | what it is |
|-----------------|------------------|---------|
| quadratic       | 20               | rotated ellipsoid, eigenvalues 1 to 31.6 |
| valley          | 6                | curved valley (Rosenbrock 1960) |
| multimodal      | 10               | ripples on a bowl (Rastrigin) |
| heteroscedastic | 12               | ellipsoid whose noise grows elevenfold across the box |
| mixed           | 12               | toy calorimeter: six thicknesses, six choices of Fe or Pb |
| binary          | 12               | choices with fields and couplings (Ising) |
| layers          | 24               | thicknesses whose best values depend on materials |

## Limits

No costs and no constraints: the reward is the reach.

## Reach

    reach = (f(design) - f(start)) / (f(best design) - f(start))

Metric: `gain`, no unit: 0 at the start, 1 at the best design. The error is the known spread of an
event over sqrt(events).

## Baselines

| name    | source |
|---------|---------|
| `start` | centre of the box, first of all choices |

## Simulators

- The function and normal noise; exact by construction, tested against closed forms
  (tests/envs/oracles/test_oracles.py). The noise of an event depends on seed and design.

## What a reviewer should know

- Results here say how many events an agent needs, never whether a detector is good.
- Events of one seed are not shared between designs: common events do not help, other than in the
  detectors.
- The stated error is exact. In the detectors it is estimated, sometimes wrongly.
- Noise, dimensions and the constants of the kinds are our choices.
- The best design of `mixed` is the best of six searches for each of its 64 assignments, no proof.
- The kinds were used to develop the agents of this package. Use another `instance` for a fair test.

## Arguments

| name         | default     | meaning |
|--------------|-------------|---------|
| `kind`       | "quadratic" | one of the table above |
| `dimensions` | None        | coordinates and choices together; None: usual for the kind |
| `noise`      | None        | standard deviation of an event; None: usual for the kind |
| `instance`   | 0           | another number gives another rotation, best design and couplings |

## Version history

- v0: first version.
"""

from rl_detector.envs.oracles.problem import oracle

__all__ = ["oracle"]
