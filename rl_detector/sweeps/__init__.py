"""Trainings with the settings that a sweep file names."""
