"""Settings of the policy gradient for one-shot design, checked."""

from __future__ import annotations

from dataclasses import dataclass

from rl_detector.errors import ConfigError

TRICKS = (
    *("antithetic", "posterior", "conditional", "caution", "box", "sigma", "lack_of_fit", "hidden", "shape"),
    *("restarts", "relevance", "reach", "confirmed", "trust", "incumbent", "turnover", "far"),
    *("evidence", "errors", "misfit", "bowl", "quadratic", "interaction", "coupled", "remainder", "landscape", "batch"),
)
"""Names that `without` may switch off; the docstring of `PolicyGradient` says what each does."""


@dataclass(frozen=True)
class Settings:
    """Settings of `PolicyGradient`, whose docstring says what each means.

    Raises:
        ConfigError: a setting has an impossible value, or there is no such trick.
    """

    sigma: float
    sigma_minimum: float
    exploration: float
    posterior_share: float
    memory: int
    without: tuple[str, ...]

    def __post_init__(self) -> None:
        spreads = 0 < self.sigma_minimum <= self.sigma
        if not (spreads and 0 < self.exploration <= 1 and 0 <= self.posterior_share <= 1 and self.memory >= 0):
            raise ConfigError(
                "policy_gradient needs 0 < sigma_minimum <= sigma, 0 < exploration <= 1, 0 <= posterior_share <= 1 and "
                f"memory >= 0, got {self.sigma_minimum}, {self.sigma}, {self.exploration}, {self.posterior_share}, "
                f"{self.memory}"
            )
        unknown = [trick for trick in self.without if trick not in TRICKS]
        if unknown:
            raise ConfigError(
                f"policy_gradient has no trick {unknown[0]!r} to do without: known are {', '.join(TRICKS)}"
            )

    @property
    def tricks(self) -> frozenset[str]:
        """Names of what is not switched off."""
        return frozenset(TRICKS) - frozenset(self.without)
