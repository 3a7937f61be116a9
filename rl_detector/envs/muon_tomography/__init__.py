"""Muon tomography of a ladle furnace: eight panels that tell how high the liquid steel stands.

## Description

Four panels above and four below a furnace see cosmic muons go in and come out.
The heights where muons scattered tell the fill height, which is 0.6 to 1.3 m.
An event is one muon through one volume; the fill heights of the events take turns.
It is the benchmark of TomOpt (G. C. Strong et al., github.com/GilesStrong/tomopt, ladle furnace).

## Parameters

32 coordinates and 0 choices; `technologies=True` adds a choice `technology` to every panel.

| name             | bounds     | unit | meaning |
|------------------|------------|------|---------|
| `upper`, `lower` | 4          |      | panels above and below, fixed |
| `*.x`, `*.y`     | 0 to 1     | m    | centre; the furnace is 1 m x 1 m |
| `upper.z`        | 1.4 to 1.8 | m    | height; the furnace ends at 1.4 m |
| `lower.z`        | 0 to 0.4   | m    | height; the furnace begins at 0.4 m |
| `*.span`         | 0.3 to 1.5 | m    | side of the square, before it is scaled to the budget |

## Limits

| kind  | name     | value | unit  | meaning |
|-------|----------|-------|-------|---------|
| cost  | `panels` | 6     | units | counts as 1; weight 0 by default |
| limit | `budget` | 6     | units | always kept with fixed_budget=True |

With fixed_budget=True all sides are multiplied by the factor that spends the budget exactly.
Then all designs cost the same. 1 m2 of standard panels costs 1 unit.
Standard panels: 0.1 mm and 90 % (TomOpt); fine (0.05 mm, 95 %,
twice the price) and coarse (1 mm, 95 %, half the price) are our choices.

## Reach

    reach = ln(metric of the baseline / metric)

Metric: `squared error of the calibrated fill height [m2]` of a volume seen by 1000 muons.
The fill height is the weighted mean height of the vertices, on a fitted line (TomOpt: debiased).
The metric is freed of the noise of the finite sample, so it does not depend on the events used.
The zero is the metric of published_start with the same settings in the fast simulator.
Thousands of events are sensible: 4000 give an error of the reach of about 0.1.

## Baselines

| name              | source |
|-------------------|---------|
| `published_start` | start of TomOpt: all panels close together over one corner |
| `pairs`           | by hand (TomOpt): two pairs above and two below |
| `even`            | by hand (TomOpt): evenly spread |

## Simulators

- `fast`: Highland's scattering along the unscattered line, no loss of energy, as in TomOpt.
  599,000 muons per second and core with reconstruction (experiments/muon_tomography).
- `geant4`: muons in Geant4, with their loss of energy; needs the extra `geant4`. Compared in
  experiments/tracking_vs_geant4.

## What a reviewer should know

- Without loss of energy the error is too small: the squared error is 2.1 to 2.4 times as large in
  Geant4 for every useful layout. The order of the layouts is the same.
- Angles agree to 3 % above 10 GeV; at 2 GeV the fast ones are 0.709 +- 0.005 of Geant4's.
- Absolute values are not TomOpt's: it drops muons that miss one of eight panels. Here two hits
  above and two below suffice. pairs and even have 4.3 and 4.1 in 1e-3 m2 there, 1.76 and 1.66 here.
- Vertices are weighted with TomOpt's recipe; another reconstruction may prefer other layouts.
- Panels have no thickness and do not scatter. No walls, no background, no trigger; momenta are not
  used.
- Panels of one side may overlap or stand at the same height: nothing forbids it.
- Technologies other than standard, and their prices, are our choices.
- Smooth edges (smoothness 0.1 to 1) are the training model of TomOpt and see muons beside a panel.

## Arguments

| name               | default | meaning |
|--------------------|---------|---------|
| `budget`           | 6.0     | units |
| `fixed_budget`     | True    | whether all designs are scaled to the budget |
| `technologies`     | False   | whether each panel has a choice of technology |
| `muons_per_volume` | 1000    | with which a fill height is measured, not the events simulated |
| `smoothness`       | 0.0     | of the edges of panels; 0: sharp |
| `cost_weight`      | 0.0     | reach that spending 6 units must buy |
| `penalty_weight`   | 5.0     | reach per relative excess over the budget |
| `simulator`        | "fast"  | or "geant4", or {"name": name, ...} with settings |

## Version history

- v0: first version. The stated error was replaced: it now holds where the slope of the vertices is
  compatible with zero (rl_detector/reach/unseen.py). Errors in experiments/muon_tomography are
  those of the delta method.
"""

from rl_detector.envs.muon_tomography.problem import muon_tomography

__all__ = ["muon_tomography"]
