"""All chosen agents on all chosen problems from several seeds: who needs how many simulated events."""
