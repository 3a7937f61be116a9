// A silicon telescope that measures where tracks come from: multiple scattering, and the noise of its sensors.
//
//     telescope PLANES.txt HITS.csv EVENTS SEED
//
// Coordinates: z in mm along the beam, one transverse coordinate x in mm. A track leaves the target at z = 0 in
// (x0, slope), goes through the wall of the beam pipe and through the planes in the order of z, is deflected in each by a
// Gaussian angle (Highland's formula), and every plane measures x with a Gaussian error.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

constexpr double radiation_length_si = 93.7;   // mm, silicon (Particle Data Group)
constexpr double radiation_length_be = 352.8;  // mm, beryllium (Particle Data Group)
constexpr double pion_mass = 0.13957;          // GeV (Particle Data Group)
constexpr double pipe_position = 15.0;         // mm
constexpr double pipe_thickness = 0.8;         // mm of beryllium
constexpr double beam_spot = 1.0;              // mm, standard deviation of x0
constexpr double slope_spread = 0.1;           // standard deviation of the slope
constexpr double electrons_per_um = 80.0;      // electron-hole pairs per um of a minimum-ionising particle
constexpr double error_floor = 2.0;            // um: alignment and delta electrons, our choice

struct Sensor {
  double pitch;    // um
  double noise;    // electrons, equivalent noise charge
  double passive;  // um of silicon that sees no charge: the readout chip
};

Sensor sensor(const std::string& name) {
  if (name == "strip") return {80.0, 1000.0, 0.0};
  if (name == "pixel") return {50.0, 150.0, 150.0};
  throw std::runtime_error("unknown sensor " + name + ": known are strip, pixel");
}

struct Plane {
  double z;          // mm
  double error;      // mm, standard deviation of a measurement
  double thickness;  // in radiation lengths
};

// Error of a coordinate from two channels that share the charge: 1.5 * pitch / (signal / noise)
// (R. Turchetta, Nucl. Instrum. Meth. A 335 (1993) 44), and the floor.
Plane plane(double z, double thickness, const std::string& name) {
  if (!(z > 0) || !(thickness > 0)) throw std::runtime_error("z and thickness of a plane must be positive");
  const Sensor kind = sensor(name);
  const double sharing = 1.5 * kind.pitch * kind.noise / (electrons_per_um * thickness);
  return {z, 1e-3 * std::hypot(sharing, error_floor), 1e-3 * (thickness + kind.passive) / radiation_length_si};
}

struct Setup {
  double lowest, highest;  // GeV/c
  std::vector<Plane> planes;
};

Setup read(const std::string& path) {
  std::ifstream file(path);
  Setup setup{};
  if (!(file >> setup.lowest >> setup.highest)) throw std::runtime_error(path + " does not begin with two momenta");
  double z, thickness;
  std::string name;
  while (file >> z >> thickness >> name) setup.planes.push_back(plane(z, thickness, name));
  if (!file.eof() || setup.planes.empty()) throw std::runtime_error(path + " must hold lines of z, thickness and sensor");
  return setup;
}

// Standard deviation of the deflection in a plane (Particle Data Group, Passage of particles through matter, eq. 34.16).
double highland(double lengths, double momentum) {
  const double beta = momentum / std::hypot(momentum, pion_mass);
  return 0.0136 / (beta * momentum) * std::sqrt(lengths) * (1 + 0.038 * std::log(lengths / (beta * beta)));
}

std::vector<std::size_t> order_along_beam(const std::vector<Plane>& planes) {
  std::vector<std::size_t> order(planes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return planes[a].z < planes[b].z; });
  return order;
}

void simulate(const Setup& setup, long events, std::uint64_t seed, std::ostream& out) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> momenta(setup.lowest, setup.highest);
  const auto order = order_along_beam(setup.planes);
  out << "x0 [mm],slope [mrad],momentum [GeV/c]";
  for (std::size_t i = 0; i < setup.planes.size(); ++i) out << ",h" << i << " [um]";
  out << '\n' << std::setprecision(12);
  std::vector<double> hits(setup.planes.size());
  for (long event = 0; event < events; ++event) {
    const double x0 = beam_spot * normal(engine), slope = slope_spread * normal(engine), momentum = momenta(engine);
    double angle = slope + highland(pipe_thickness / radiation_length_be, momentum) * normal(engine);
    double z = pipe_position, x = x0 + slope * pipe_position;
    for (const std::size_t index : order) {
      const Plane& here = setup.planes[index];
      x += angle * (here.z - z);
      z = here.z;
      hits[index] = x + here.error * normal(engine);
      angle += highland(here.thickness, momentum) * normal(engine);
    }
    out << x0 << ',' << 1e3 * slope << ',' << momentum;
    for (const double hit : hits) out << ',' << 1e3 * hit;
    out << '\n';
  }
}

int main(int count, char** words) {
  if (count == 2 && std::string(words[1]) == "--version") {
    std::cout << "telescope 1.0\n";
    return 0;
  }
  try {
    if (count != 5) throw std::runtime_error("usage: telescope PLANES.txt HITS.csv EVENTS SEED");
    const Setup setup = read(words[1]);
    std::ofstream out(words[2]);
    simulate(setup, std::stol(words[3]), std::stoull(words[4]), out);
    out.close();
    if (!out) throw std::runtime_error(std::string("cannot write ") + words[2]);
  } catch (const std::exception& error) {
    std::cerr << "telescope: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
