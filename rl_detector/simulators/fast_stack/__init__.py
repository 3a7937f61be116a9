"""Showers in a stack of layers, fitted to Geant4."""
