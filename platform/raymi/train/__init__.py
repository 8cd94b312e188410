"""Stage 2, can a model learn it: TrainSpec -> TrainResult."""
