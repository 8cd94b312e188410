"""How a model is best served, found out by measurement: backend, precision, batch, replicas."""
