"""Stage 4, how good is it, really: TrainResult -> Evaluation."""
