"""The gRPC flavour of the Open Inference Protocol: the same models, limits and answers as HTTP."""
