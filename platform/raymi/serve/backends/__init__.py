"""Ways to run a trained network: one protocol, one file each, and what this machine can do."""
