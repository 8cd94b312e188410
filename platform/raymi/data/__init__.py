"""Stage 1, what do we learn from: DataSpec -> DatasetVersion."""
