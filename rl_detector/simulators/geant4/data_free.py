"""A physics list that reads no data file, built from classes that Geant4 exports. Worker process only.

Electromagnetic:
    Photo-electric effect (Sandia), Klein-Nishina, Bethe-Heitler, Moller/Bhabha, relativistic bremsstrahlung at all
    energies, Urban multiple scattering, ionisation of hadrons and light nuclei, decays.
    No Rayleigh scattering and no fluorescence.
    Bremsstrahlung below 1 MeV is missing, which shifts the critical energy by about 10 %.

Hadronic:
    Barashenkov-Glauber-Gribov cross sections for pi, p, n; Glauber-Gribov cross sections for strange hadrons.
    The Bertini cascade with its own de-excitation, absorption at rest, elastic scattering.
    No neutron capture: neutrons are dropped after NEUTRON_TIME.

Nuclei heavier than helium stop where they are made: their range is micrometres. Geant4's G4ionIonisation is left out
because it remembers earlier ions, so its steps would depend on what the process simulated earlier.
"""

from __future__ import annotations

from typing import Any

from rl_detector.simulators.geant4.symbols import Symbols, boolean, integer, name_for_particle, pointer, real

NEUTRON_TIME = 10.0
"""Neutrons are dropped this many microseconds after the event began (default of G4NeutronTrackingCut)."""

TRANSITION = (9000.0, 12000.0)
"""Energies in MeV between which the Bertini cascade or the string model is drawn at random for each interaction.

The values are chosen here. Geant4's own FTFP_BERT has 3 and 6 GeV.
"""

_MAXIMUM_ENERGY = 1e8
"""Upper end of a cross section, in MeV: 100 TeV."""

_EM_PROCESS = 2
"""fElectromagnetic in G4ProcessType.hh."""

_CHARGED_HADRONS = ("G4PionPlus", "G4PionMinus", "G4KaonPlus", "G4KaonMinus", "G4Proton", "G4AntiProton")
_LIGHT_NUCLEI = ("G4Deuteron", "G4Triton", "G4Alpha", "G4He3")
_STRANGE = ("G4KaonPlus", "G4KaonMinus", "G4KaonZeroLong", "G4KaonZeroShort", "G4Lambda", "G4SigmaPlus", "G4SigmaMinus")
_ABSORBED_AT_REST = ("G4PionMinus", "G4KaonMinus", "G4SigmaMinus")
_FAMILIES = ("Boson", "Lepton", "Meson", "Baryon", "Ion", "ShortLived")


def physics_list(g4: Any, tracks: bool = False, strings: bool = False) -> Any:
    """Build the data-free G4VModularPhysicsList.

    Args:
        g4: the module geant4_pybind.
        tracks: let muons scatter by the WentzelVI model and single Coulomb scattering, as in Geant4's own lists. With
            Urban's model, the width behind 1 m of iron depends by 8 % on the step lengths.
        strings: let hadrons above 9-12 GeV interact by the Fritiof string model with precompound de-excitation (FTFP).
            Without the data sets, its nuclei have no discrete levels. Else the Bertini cascade covers all energies.
    """
    symbols = Symbols(g4.__file__)

    class DataFree(g4.G4VPhysicsConstructor):  # type: ignore[misc]
        def ConstructParticle(self) -> None:
            for family in _FAMILIES:
                symbols.call(f"G4{family}Constructor", "ConstructParticle", "v")

        def ConstructProcess(self) -> None:
            for construct in (_photons, _electrons, _charged_hadrons, _strings if strings else _hadronic):
                construct(symbols)
            _muons(symbols, tracks)

    class DataFreeList(g4.G4VModularPhysicsList):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.SetVerboseLevel(0)
            self.neutron_limit = g4.G4NeutronTrackingCut()
            self.neutron_limit.SetTimeLimit(NEUTRON_TIME * g4.microsecond)
            self.parts = (DataFree("DataFree"), g4.G4DecayPhysics(), self.neutron_limit)
            for part in self.parts:
                self.RegisterPhysics(part)

    return DataFreeList()


def _register(symbols: Symbols, process: int, particle: int) -> None:
    helper = symbols.function("_ZN19G4PhysicsListHelper20GetPhysicsListHelperEv", result=pointer(None)[0])()
    signature = "P10G4VProcessP20G4ParticleDefinition"
    symbols.call("G4PhysicsListHelper", "RegisterProcess", signature, *map(pointer, (helper, process, particle)))


def _photons(symbols: Symbols) -> None:
    gamma = symbols.particle("G4Gamma")
    for name, label in (
        ("G4PhotoElectricEffect", "phot"),
        ("G4ComptonScattering", "compt"),
        ("G4GammaConversion", "conv"),
    ):
        _register(symbols, symbols.typed(name, label, _EM_PROCESS), gamma)


def _electrons(symbols: Symbols) -> None:
    for name in ("G4Electron", "G4Positron"):
        particle = symbols.particle(name)
        _register(symbols, symbols.named("G4eMultipleScattering", "msc"), particle)
        _register(symbols, symbols.named("G4eIonisation", "eIoni"), particle)
        _register(symbols, _bremsstrahlung(symbols), particle)
    _register(symbols, symbols.named("G4eplusAnnihilation", "annihil"), symbols.particle("G4Positron"))


def _bremsstrahlung(symbols: Symbols) -> int:
    """Use the relativistic model at all energies: the default below 1 GeV (Seltzer-Berger) reads G4LEDATA."""
    process = symbols.named("G4eBremsstrahlung", "eBrem")
    for index in (0, 1):
        model = name_for_particle(symbols, "G4eBremsstrahlungRelModel", "eBremLPM", None)
        arguments = (pointer(process), pointer(model), integer(index))
        symbols.call("G4VEnergyLossProcess", "SetEmModel", "P10G4VEmModeli", *arguments)
    return process


def _urban(symbols: Symbols, name: str) -> int:
    process, model = symbols.named(name, "msc"), symbols.named("G4UrbanMscModel", "UrbanMsc")
    arguments = (pointer(process), pointer(model), integer(0))
    symbols.call("G4VMultipleScattering", "SetEmModel", "P11G4VMscModeli", *arguments)
    return process


def _wentzel(symbols: Symbols, name: str) -> int:
    process, label = symbols.named(name, "msc"), symbols.string("WentzelVIUni")
    model = symbols.construct("G4WentzelVIModel", "bRK8G4String", boolean(True), pointer(label))
    arguments = (pointer(process), pointer(model), integer(0))
    symbols.call("G4VMultipleScattering", "SetEmModel", "P11G4VMscModeli", *arguments)
    return process


def _muons(symbols: Symbols, tracks: bool) -> None:
    scattering = _wentzel if tracks else _urban
    for name in ("G4MuonPlus", "G4MuonMinus"):
        particle = symbols.particle(name)
        _register(symbols, scattering(symbols, "G4MuMultipleScattering"), particle)
        if tracks:
            _register(symbols, symbols.named("G4CoulombScattering", "CoulombScat"), particle)
        for process, label in (
            ("Ionisation", "muIoni"),
            ("Bremsstrahlung", "muBrems"),
            ("PairProduction", "muPairProd"),
        ):
            _register(symbols, symbols.named(f"G4Mu{process}", label), particle)


def _charged_hadrons(symbols: Symbols) -> None:
    for name in (*_CHARGED_HADRONS, *_LIGHT_NUCLEI):
        particle = symbols.particle(name)
        _register(symbols, _urban(symbols, "G4hMultipleScattering"), particle)
        _register(symbols, symbols.named("G4hIonisation", "hIoni"), particle)
    for name in _CHARGED_HADRONS:
        _register(symbols, symbols.named("G4hBremsstrahlung", "hBrems"), symbols.particle(name))
        _register(symbols, symbols.named("G4hPairProduction", "hPairProd"), symbols.particle(name))
    _register(symbols, symbols.named("G4UserSpecialCuts", "stopIons"), symbols.particle("G4GenericIon"))


def _hadronic(symbols: Symbols) -> None:
    for name in ("G4PionPlus", "G4PionMinus", "G4Proton", "G4Neutron"):
        family = "Pion" if "Pion" in name else "Nucleon"
        particle = symbols.particle(name)
        _inelastic(symbols, name, symbols.for_particle(f"G4BGG{family}InelasticXS", particle))
        _elastic(symbols, name, family)
    for name in _STRANGE:
        component = symbols.construct("G4ComponentGGHadronNucleusXsc", "v")
        _inelastic(symbols, name, _cross_section(symbols, component))
    _absorption(symbols)


def _strings(symbols: Symbols) -> None:
    """Join FTFP and Bertini as Geant4's builders do.

    Geant4 uses the cross sections that are added last, so they are added after the models.
    """
    limits = symbols.function("_ZN20G4HadronicParameters8InstanceEv", result=pointer(None)[0])()
    for method, energy in zip(("SetMinEnergyTransition", "SetMaxEnergyTransition"), TRANSITION, strict=True):
        symbols.call("G4HadronicParameters", f"{method}FTF_Cascade", "d", pointer(limits), real(energy))
    for name in ("G4PionPlus", "G4PionMinus", "G4Proton", "G4Neutron"):
        family, builder = ("Pion", "Pion") if "Pion" in name else ("Nucleon", "Proton")
        process = name_for_particle(
            symbols, "G4HadronInelasticProcess", f"{name[2:].lower()}Inelastic", symbols.particle(name), "np"
        )
        _build(symbols, f"G4FTFP{builder}Builder", "SetMinEnergy", TRANSITION[0], process)
        _build(symbols, f"G4Bertini{builder}Builder", "SetMaxEnergy", TRANSITION[1], process)
        section = pointer(symbols.for_particle(f"G4BGG{family}InelasticXS", symbols.particle(name)))
        symbols.call("G4HadronicProcess", "AddDataSet", "P22G4VCrossSectionDataSet", pointer(process), section)
        _register(symbols, process, symbols.particle(name))
        _elastic(symbols, name, family)
    for method in ("BuildKaonsFTFP_BERT", "BuildHyperonsFTFP_BERT"):
        symbols.call("G4HadronicBuilder", method, "v")
    _absorption(symbols)


def _build(symbols: Symbols, name: str, limit: str, energy: float, process: int) -> None:
    """Let one of Geant4's builders add its model to a process, limited in energy (MeV)."""
    quasi_elastic = ("b", boolean(False)) if "FTFP" in name else ("v",)
    builder = pointer(symbols.construct(name, *quasi_elastic))
    symbols.call(name, limit, "d", builder, real(energy))
    symbols.call(name, "Build", "P24G4HadronInelasticProcess", builder, pointer(process))


def _elastic(symbols: Symbols, name: str, family: str) -> None:
    particle = symbols.particle(name)
    elastic = symbols.named("G4HadronElasticProcess", "hadElastic")
    model = symbols.named("G4HadronElastic", "hElasticLHEP")
    _hadronic_process(symbols, elastic, symbols.for_particle(f"G4BGG{family}ElasticXS", particle), model)
    _register(symbols, elastic, particle)


def _absorption(symbols: Symbols) -> None:
    for name in _ABSORBED_AT_REST:
        particle = symbols.particle(name)
        absorption = symbols.construct("G4HadronicAbsorptionBertini", "P20G4ParticleDefinition", pointer(particle))
        _register(symbols, absorption, particle)


def _inelastic(symbols: Symbols, name: str, cross_section: int) -> None:
    particle = symbols.particle(name)
    label = f"{name[2:].lower()}Inelastic"
    process = name_for_particle(symbols, "G4HadronInelasticProcess", label, particle, "np")
    _hadronic_process(symbols, process, cross_section, symbols.named("G4CascadeInterface", "BertiniCascade"))
    _register(symbols, process, particle)


def _cross_section(symbols: Symbols, component: int) -> int:
    """Make a G4CrossSectionInelastic from a Geant4 component, for 0 <= Z <= 120 at all energies (header defaults)."""
    limits = (integer(0), integer(120), real(0.0), real(_MAXIMUM_ENERGY))
    return symbols.construct("G4CrossSectionInelastic", "P24G4VComponentCrossSectioniidd", pointer(component), *limits)


def _hadronic_process(symbols: Symbols, process: int, cross_section: int, model: int) -> None:
    sections = (pointer(process), pointer(cross_section))
    symbols.call("G4HadronicProcess", "AddDataSet", "P22G4VCrossSectionDataSet", *sections)
    symbols.call("G4HadronicProcess", "RegisterMe", "P21G4HadronicInteraction", pointer(process), pointer(model))
