"""Raymi's speed against other people's, measured on this machine, in turns."""
