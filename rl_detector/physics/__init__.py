"""Pure, vectorised physics, tested against closed forms and Geant4."""
