"""Sampling calorimeter: materials and thicknesses of its layers, for the best energy resolution.

## Description

Layers of absorber and scintillator stand in a beam of photons and pi+ of 1 to 20 GeV.
Every layer has two materials and two thicknesses; a thickness of 0 means that the part is absent.
The deposits of the scintillators, with photoelectron statistics, are the signals.
An event is one primary. It is the case of the AIDO study (github.com/KylianSchmidt/aido, full
calorimeter example): three layers, limits on length and price.

## Parameters

6 coordinates and 6 choices, for three layers in the order of the beam.

| name                           | bounds             | unit | meaning |
|--------------------------------|--------------------|------|---------|
| `layer`                        | 3                  |      | number of layers, fixed by `layers` |
| `layer.absorber`               | Pb, Fe             |      | material in front |
| `layer.absorber_thickness`     | 0 to 50            | cm   |  |
| `layer.scintillator`           | PbWO4, polystyrene |      | material behind it |
| `layer.scintillator_thickness` | 0 to 50            | cm   |  |

The bound of 50 cm is our choice; the published study has none.
Another material: one line in rl_detector/physics/materials.py (constants), and its name, price
and light yield in rl_detector/envs/calorimeter/layout.py.

## Limits

| kind  | name     | value  | unit | meaning |
|-------|----------|--------|------|---------|
| cost  | `price`  | 200000 | EUR  | counts as 1 |
| limit | `length` | 200    | cm   | sum of all thicknesses |
| limit | `price`  | 200000 | EUR  |  |

EUR per cm: Pb 25, Fe 4.166, PbWO4 2500, polystyrene 0.01.
Limits and prices are those of the AIDO study.

## Reach

    reach = ln(metric of the baseline / metric)

Metric: `mean (E_rec - E)^2 / (E + 1 GeV) [GeV]`, the loss of the AIDO study.
E_rec is a weighted least-squares fit to the signals, their square roots and the root of their sum.
A squared residual is that of the fit to all events times that of a fit to all others:
its mean does not depend on the number of events.
The zero is the metric of published_start in the fast simulator with the same beam.
`reach="mutual_information"` measures the information of the signals on the energy, in bits.

## Baselines

| name               | source |
|--------------------|---------|
| `published_start`  | start of the published run: Fe 9.0, 10.4, 36 cm; polystyrene 37, 30, 28 cm |
| `uniform_sandwich` | by hand: three times 20 cm of Fe and 30 cm of polystyrene |
| `homogeneous`      | by hand: 37.2 cm of PbWO4 (42 X0), then Fe and polystyrene against leakage |
| `all_pbwo4`        | by hand: 80 cm of PbWO4, the whole price limit |

For another number of layers the rules stay, and the thicknesses are spread over the layers.

## Simulators

- `fast`: parametrised showers, fitted to Geant4 11.4 in stacks of Pb, Fe, PbWO4 and polystyrene.
  34 designs that the fit has not seen: rank correlation of the metric with Geant4's 0.986.
  3.6 million events x layers per second and core (experiments/fast_vs_geant4).
- `geant4`: Geant4 in worker processes, data-free list or FTFP_BERT; needs the extra `geant4`.
- `two_fidelities`: few Geant4 events, corrected by many fast ones (experiments/two_fidelities).
- `command`: an executable of your own (experiments/own_simulator).

## What a reviewer should know

- Fine sampling is wrong in the fast simulator. The visible share, fast over Geant4, is 0.48, 0.66
  and 0.78 for 30 X0 of Pb and polystyrene of 0.5/1, 5/10 and 20/40 mm, with photons of 5 GeV
  (tests/simulators/test_fine_sampling.py). Confirm many thin layers in Geant4.
- One number hides much: pions dominate it in the mixed beam, and photons alone are far better.
  Linearity, position, time and separation of particles count for nothing.
- Error bars at 25, 200 and 1000 events, 300 repeats (experiments/error_bars): the stated error
  of a reach is 0.78 to 1.21 times its spread, that of a difference 0.85 to 1.05 times.
  At 200 events the bias is at most 0.26 stated errors, at 25 events 0.37. With 12 layers take 200
  events: 25 make designs too good by 0.5 to 1 errors.
- `reach="mutual_information"` is too low at few events, most of all for good designs: by 2 to 6
  stated errors with 200 events. Its differences are not paired (experiments/error_bars).
- Layers are 200 cm wide: side leakage is small. There is no electronic noise, and light is uniform.
- Light yield: that of polystyrene, 10 photoelectrons per MeV, is our choice. A factor of two
  moves the reach of the baselines by less than 0.01. For photons alone a factor of two in the
  yield of PbWO4 moves that of crystals by 0.65 (`python tests/benchmarks/own_choices.py`).
- The cost weight is our choice. With 0.05 the whole price limit costs as much as 5 % of the metric.
- The fast maximum of photon showers is 0.3 to 0.4 cm too deep in PbWO4 and 0.7 to 1.5 cm in Fe.
- The published optimum was found with another simulator and another reconstruction.

## Arguments

| name              | default      | meaning |
|-------------------|--------------|---------|
| `simulator`       | "fast"       | a name, a name with settings, or a stack simulator |
| `layers`          | 3            | number of (absorber, scintillator) pairs, 1 to 500 |
| `photon_fraction` | 0.5          | share of photons in the beam; the others are pi+ |
| `energy_low`      | 1.0          | GeV, lower end of the uniform spectrum of kinetic energies |
| `energy_high`     | 20.0         | GeV, upper end |
| `cost_weight`     | 0.05         | reach that spending the whole price limit must buy |
| `penalty_weight`  | 5.0          | reach per relative violation of a limit |
| `reach`           | "resolution" | or "mutual_information" |

## Version history

- v0: first version. Since the first release the reach of few events is that of many.
  Before, every event was measured by the fit to all others: recommended designs came out too low.
"""

from rl_detector.envs.calorimeter.problem import calorimeter

__all__ = ["calorimeter"]
