"""From signals back to truth: least squares."""
