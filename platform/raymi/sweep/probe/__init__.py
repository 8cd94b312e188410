"""Probe before you train: speed and memory of every setting, in one worker group."""
