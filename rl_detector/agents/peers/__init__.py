"""Agents of other libraries and papers, to compare with."""
