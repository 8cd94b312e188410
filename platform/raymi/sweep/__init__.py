"""Stage 3, which settings win: SweepSpec -> SweepResult."""
