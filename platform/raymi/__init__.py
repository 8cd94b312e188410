"""Raymi: train, sweep and serve on Ray, with precision and batch size chosen by measurement."""

__version__ = "0.1.0"
