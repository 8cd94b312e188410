"""Stage 5, which model do we trust: Evaluation -> ModelVersion."""
