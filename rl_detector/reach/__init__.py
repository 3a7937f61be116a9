"""Figures of merit: from readouts to physics reach with its standard error."""
