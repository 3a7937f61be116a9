"""Slab calorimeter: a row of silicon sensors in 2 m of steel, for the best energy resolution.

## Description

Thin silicon sensors stand one after the other in a solid slab of stainless steel.
Showers of photons and pi+ are made once per seed; a design is measured by cutting its sensors out.
An event is one shower; five samples take turns: photons and pi+ of 50 and 100 GeV, and a
calibration sample of 9 to 200 GeV.
It is the first case of Qasim, Owen and Serra (arXiv:2412.10237), after
their public simulation (github.com/shahrukhqasim/CaloOptimization).

## Parameters

61 coordinates, one of them the number of sensors, and 60 choices.

| name          | bounds                           | unit | meaning |
|---------------|----------------------------------|------|---------|
| `sensor`      | 10 to 60                         |      | number, in the order of the beam |
| `sensor.gap`  | 0.5 to 120, log                  | mm   | steel in front of the sensor |
| `sensor.type` | 0.06 mm, 0.12 mm, 0.2 mm, 0.3 mm |      | thickness of the silicon |

Bounds are our choices; 0.06 to 0.2 mm are those of CaloOptimization.

## Limits

| kind  | name     | value | unit | meaning |
|-------|----------|-------|------|---------|
| cost  | `price`  | 6300  | kEUR | counts as 1, that of beta |
| limit | `price`  | 6300  | kEUR |  |
| limit | `length` | 2000  | mm   | end of the last sensor |

A sensor has 1.5 m x 1.5 m. Prices are our choices: 3 EUR per cm2, and 10 EUR per cm2 and mm.

## Reach

    reach = ln(metric of the baseline / metric)

Metric: `weighted geometric mean of sigma / mean` of the four samples, no unit.
Photons have the weight `electromagnetic_weight`, pions the rest; 50 and 100 GeV count alike.
E_rec is the sum of the signals with the published layer weights gap / thickness.
The zero is beta in the fast library, from 400,000 events, to 0.4 %.

## Baselines

| name    | source |
|---------|---------|
| `beta`  | CaloOptimization: 56 sensors of 0.2 mm, all steel |
| `alpha` | CaloOptimization: with copper and lead, here as much steel as has the same lengths |
| `gamma` | CaloOptimization: beta with one sensor of 0.06 mm per pair of the first part |

## Simulators

- `fast` library: parametrised showers, fitted to Geant4 11.4 with photons of 50 GeV and pions of 10
  and 50 GeV. Every seed has events of its own. Checked against stored Geant4 events
  (tests/envs/slab_calorimeter/test_slab_calorimeter_geant4.py, experiments/slab_calorimeter).
  Speed: `python tests/benchmarks/slab_throughput.py`.
- A stored library: a file of Geant4 events, to confirm designs, for example
  experiments/slab_calorimeter/showers.npz; the zero stays that of `fast`.

## What a reviewer should know

- At 100 GeV pions in planes 39 mm apart fluctuate 12 % less than in Geant4 (three errors). Profiles
  of 50 GeV pions are 20 % too high in the first 6 cm and 15 % too low from 17 to 29 cm.
- Silicon of 0.06 mm fluctuates 20 % more in Geant4: the fast library is too kind to thin sensors
  and to gamma.
- The store has planes 5 mm apart: sensors that are closer see neighbouring planes.
- 300 stored events are the same for all designs: too few to search on, and too few to decide over
  alpha in experiments/sequential_calorimeter.
- The silicon does not act on the shower. No electronic noise, no dead areas, no transverse size.
- Sigma / mean is blind to linearity, which is a diagnostic, and to tails.
- Sensors beyond the slab cost money and see nothing.
- Prices decide how thick sensors are. Types of single sensors hardly matter for the resolution:
  seven numbers and equal sensors beat searches in 121 parameters (experiments/slab_calorimeter).

## Arguments

| name                     | default  | meaning |
|--------------------------|----------|---------|
| `library`                | "fast"   | or the file of a stored library |
| `sensors`                | 60       | largest number of sensors, 56 to 5000 |
| `electromagnetic_weight` | 0.5      | weight of the photons in the reach, 0 to 1 |
| `calibration`            | "global" | or "layers": fitted weights of the layers |
| `cost_weight`            | 0.05     | reach that beta's price must buy |
| `penalty_weight`         | 5.0      | reach per relative violation of a limit |

## Version history

- v0: first version. Value and stated error of ln sigma with few events were replaced: they are
  corrected for the number of events of a sample, 0.013 for forty (rl_detector/reach/unseen.py).
  Results in experiments/slab_calorimeter were made without the correction.
"""

from rl_detector.envs.slab_calorimeter.problem import slab_calorimeter

__all__ = ["slab_calorimeter"]
