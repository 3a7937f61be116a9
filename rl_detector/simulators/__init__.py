"""Black boxes that turn designs and primaries into signals."""
