"""Models that leave the platform: a directory that predicts with neither Ray nor torch."""
