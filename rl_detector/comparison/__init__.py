"""Compare agents on problems from several seeds by the simulated events that they need."""
