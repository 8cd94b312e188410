"""Network architectures, and no training code."""
