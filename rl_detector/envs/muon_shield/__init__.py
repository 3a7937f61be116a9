"""Muon shield of SHiP: six iron magnets that sweep muons away, with few hits and little mass.

## Description

Protons of 400 GeV make muons in a dense target. A fixed magnetised absorber and six magnets bend
them away from a sensitive plane behind the shield.
An event is one muon of the source, with a weight; weights are scaled to 1e10 protons, our choice.
It is the benchmark of Bayesian optimisation and of local generative surrogates (Shirobokov et al.,
arXiv:2002.04632; code: olantwin/disney_common.py, SchattenGenie/diff-surrogate, ShipSoft/FairShip).

## Parameters

42 coordinates and 0 choices: seven for each of the magnets 3 to 8.

| name   | bounds     | unit | meaning |
|--------|------------|------|---------|
| `Z*`   | 175 to 305 | cm   | half-length |
| `dX*`  | 3 to 100   | cm   | width of the iron at entrance (_in) and exit (_out) |
| `dY*`  | 20 to 241  | cm   | half height of the coil window |
| `gap*` | 2 to 70    | cm   | width of the coil window |

The published search had 10 to 100 cm for dX and 20 to 200 cm for dY, which leave out its own best
design. Ours are widened until they just hold it.

## Limits

| kind  | name   | value   | unit | meaning |
|-------|--------|---------|------|---------|
| cost  | `mass` | 1270000 | kg   | counts as 1, that of the published design; weight 0 by default |
| limit | `mass` | 1050000 | kg   | with 257.4 t for the fixed absorber |

Arguments add a limit of the length (m) and of the cavern, or charge money (kCHF, 13 million
counts as 1) instead of mass.

## Reach

    FCN = (1 + exp(10 (W - W*) / W*)) (1 + S),  W* = 1915.82 t;  1e8 above 3000 t
    reach = ln(metric of the baseline / metric)

Metric: `objective FCN, hits blurred by 1 m`, no unit. W is the mass.
S sums the published weights of muons at the plane, blurred by 1 m.
With blur=0 it is the published objective.
The metric is exp(mean ln FCN) over what the hits that were seen leave possible for S.
The zero is the metric of the published design in the fast simulator.
The diagnostic `objective` is the plain mean without blur: average that over samples.

## Baselines

| name        | source |
|-------------|---------|
| `published` | found by Bayesian optimisation ("new baseline"), 35.44 m and 1270.4 t |

## Simulators

- `fast`: uniform fields, energy loss with straggling, Highland's scattering; no air, no walls.
  20 s of processor time per million muons and design (experiments/muon_shield).
- `geant4`: the same source and plane, air around the iron; needs the extra `geant4`.
  Transport is compared in experiments/tracking_vs_geant4, designs in
  experiments/muon_shield_geant4.

## What a reviewer should know

- Hits are rare: a few in 100,000 muons. Sums of few heavy hits are skewed, and with few rounds the
  objective is more often too low than too high, and its error too small.
- The blur is ours, to train with few muons. A design that is good with 1 m of blur can be bad
  without: validate with the published objective, blur=0, on muons that the search did not see.
- Highland's formula scatters 5 to 6 % too wide behind 1 m of iron, up to 17 % behind the shield.
  The published design has an objective of 54.8 +- 8.0 here and of 30.5 +- 5.3 with narrower
  scattering (experiments/muon_shield), against 27.2 +- 9.9 in Geant4.
- A gain in the fast simulator need not survive: 0.25 +- 0.06 became 0.78 +- 0.40 with narrower
  scattering. Another design was confirmed by Geant4, ln ratio -1.48 +- 0.43.
- The mass that is limited is less than the simulated iron. For trained designs the blocks of the
  magnets exceed the mass model by 1.7 to 3.3 % of the whole; the fixed absorber has 576 t where
  the model counts 257.4 t (tests/envs/muon_shield/test_muon_shield_layout.py).
  A taper can gain by that.
- The fast loss has no fluctuations of pair production: its median is 9 % too high at 100 GeV.
- The source is 40,000 rows of Pythia: no cascade in the target, none below 5 GeV.
  The distance of the plane and the number of protons are our choices.
  Only ratios to the published design in one simulator mean something.
- No field map, no walls from which muons scatter back, no decays.
- Money: the coil model and the field strength of 5000 A/m are our choices.

## Arguments

| name             | default  | meaning |
|------------------|----------|---------|
| `source`         | "pythia" | of the muons: a table, or "exponential", a formula |
| `part`           | "all"    | of the table: all, first or second; the halves share no muon |
| `mass_limit`     | 1.05     | kt, with the absorber; None: no limit |
| `length_limit`   | None     | m; newer studies: 29.7 to 30 |
| `cavern`         | False    | whether the magnets must fit in the cavern |
| `cost`           | "mass"   | what is charged: mass (kg) or money (kCHF) |
| `distance`       | 50.0     | m, of the plane from the end of the shield |
| `blur`           | 1.0      | m, of the weights of hits; 0: the published objective |
| `knee`           | None     | GeV above which the blur falls like 1 / p; None: never |
| `cost_weight`    | 0.0      | reach that the published mass, or 13 million CHF, must buy |
| `penalty_weight` | 30.0     | reach per relative violation of a limit |
| `simulator`      | "fast"   | or "geant4", or {"name": name, ...} with settings |

## Version history

- v0: first version. Reach and stated error with few hits were replaced: they are the mean and the
  spread of ln FCN over what was not seen (rl_detector/reach/unseen.py). Results in
  experiments/muon_shield were trained with ln of the plain mean.
"""

from rl_detector.envs.muon_shield.problem import muon_shield

__all__ = ["muon_shield"]
