"""Black boxes that turn layouts and primaries into energy deposits."""
