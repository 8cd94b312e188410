"""Load for an endpoint: when requests arrive, who sends them, and what came back."""
