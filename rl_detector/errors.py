"""The exceptions of the package. Every message says what was expected, what was got and what to do."""

from __future__ import annotations


class DetectorError(Exception):
    """Base of every error that the package raises on purpose; the command line prints it without a traceback.

    Examples:
        >>> import rl_detector as rd
        >>> try:
        ...     rd.Continuous("thickness", 5, 1, "cm")
        ... except rd.DetectorError as error:
        ...     str(error)
        'thickness: bounds must be finite with low < high, got 5 and 1'
    """


class DesignError(DetectorError, ValueError):
    """A design, parameter or action lies outside what can be built."""


class ConfigError(DetectorError, ValueError):
    """A configuration asks for something that does not exist or does not fit together."""


class SimulationError(DetectorError, RuntimeError):
    """One simulation failed (crash, timeout, NaN, energy imbalance); its trial becomes FAILED, the study goes on."""


class MissingDependency(DetectorError, ImportError):
    """An optional package or data set is absent; the message names the command that installs it."""


class RunFolderError(DetectorError, OSError):
    """A run folder cannot be read, written or continued; what it holds is left as it was."""


class TrustError(DetectorError):
    """A file asks to start a program that the user has not asked for; nothing was started."""


class CheckFailed(DetectorError):
    """A contract test of `rl_detector.checks` found an environment, agent or simulator that breaks its contract."""
