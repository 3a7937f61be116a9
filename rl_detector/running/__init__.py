"""Starts what a person asks for: launching, progress in the terminal, Weights & Biases, trusted programs."""
