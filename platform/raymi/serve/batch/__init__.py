"""Part of stage 6, a model over many rows at once: BatchPredictSpec -> BatchPredictions."""
