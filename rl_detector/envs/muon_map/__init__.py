"""Muon tomography of a hidden lead block: panels for the best map of radiation lengths.

## Description

A block of lead, 0.5 x 0.1 x 0.1 m3, lies in 0.6 x 1 x 1 m3 of light material (x, y, z).
Its place changes from scan to scan. Panels above and below see cosmic muons go in and come out.
The scattering of the muons gives a map of X0 in 600 voxels of 10 cm.
An event is one muon that crosses the volume; a scan is 10,000 events in a row.
Physics as in TomOpt (G. C. Strong et al., github.com/GilesStrong/tomopt): flux at sea level, known
momenta, multiple scattering, no energy loss.

## Parameters

42 coordinates, two of them numbers of panels, and 8 choices.

| name             | bounds                                            | unit | meaning |
|------------------|---------------------------------------------------|------|---------|
| `upper`, `lower` | 2 to 4                                            |      | number |
| `*.x`            | 0 to 0.6                                          | m    | centre |
| `*.y`            | 0 to 1                                            | m    | centre |
| `upper.z`        | 1.5 to 2                                          | m    | height |
| `lower.z`        | 0 to 0.5                                          | m    | height |
| `*.span_x`       | 0.3 to 2.5                                        | m    | side along x |
| `*.span_y`       | 0.3 to 2.5                                        | m    | side along y |
| `*.technology`   | drift tubes, RPC, scintillator strips, Micromegas |      | below |

The volume lies at heights of 0.5 to 1.5 m; bounds are our choices.

## Limits

| kind  | name     | value | unit | meaning |
|-------|----------|-------|------|---------|
| cost  | `panels` | 30    | kEUR | counts as 1; area times price of the technology, as built |
| limit | `budget` | 30    | kEUR | always kept: see below |

A design that costs more than the budget is built with all sides cut by one factor.

| technology          | hit resolution [mm] | efficiency | price [kEUR per m2] |
|---------------------|---------------------|------------|---------|
| drift tubes         | 0.25                | 0.93       | 4 |
| RPC                 | 0.5                 | 0.95       | 3 |
| scintillator strips | 2                   | 0.98       | 2 |
| Micromegas          | 0.1                 | 0.97       | 10 |

Budget and technologies are our choices, of the order of present detectors.

## Reach

    reach = ln(metric of the baseline / metric)

Metric: `rms error of ln X0 in a map` of one scan, no unit; 0.69 is a factor of two in X0.
The block's five voxels and the 595 light ones count half each.
The map has maximum likelihood: points of closest approach, then 12 steps of expectation
maximisation.
The zero is the metric of rpc with the same settings. Whole scans are sensible: eight give an error
of the reach of about 0.2, half of it common to designs with the same muons.

## Baselines

| name          | source |
|---------------|---------|
| `rpc`         | by hand: three RPCs above and below, spread over 0.45 m |
| `drift_tubes` | by hand: the same with drift tubes |
| `strips`      | by hand: the same with scintillator strips |
| `micromegas`  | by hand: two Micromegas above and below |
| `compact`     | by hand: four drift tube panels above and below, 5 cm apart |

All spend the whole budget.

## Simulators

- `fast`, the only one: Highland's scattering, angle and offset, along the unscattered line.
  Not compared with Geant4. Speed: `python tests/benchmarks/muon_throughput.py`.

## What a reviewer should know

- The metric is that of one minute and of this reconstruction. With more muons the order of
  technologies may change.
- Block and light voxels count half each, our choice. Otherwise a detector that sees nothing, whose
  map is light everywhere, would be a good one. It has a metric of 2.94 for lead in water.
- Half of the metric comes from five voxels: it rewards sharp lead more than quiet water.
- Momenta are known exactly; muons lose no energy; panels do not scatter; there is no background.
- The reconstruction follows the unscattered line, as the simulation does: it is kind to itself.
- Prices and technologies are our choices and decide which technology wins.
- The prior, 1 m of track per voxel, and the 12 steps are our choices.
- From the compact baseline the agent finds the technology but not all of the room
  (experiments/muon_map).

## Arguments

| name             | default | meaning |
|------------------|---------|---------|
| `budget`         | 30.0    | kEUR |
| `light`          | "water" | the light material, a name of rl_detector/physics/materials.py |
| `muons_per_scan` | 10000   | muons that cross the volume in one scan, about a minute |
| `cost_weight`    | 0.1     | reach that spending the whole budget must buy |
| `penalty_weight` | 5.0     | reach per relative excess over the budget |

## Version history

- v0: first version.
"""

from rl_detector.envs.muon_map.problem import muon_map

__all__ = ["muon_map"]
