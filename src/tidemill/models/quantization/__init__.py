"""From float weights to integers: rounding, calibration, the guard on quality, and the packed form on disk."""
