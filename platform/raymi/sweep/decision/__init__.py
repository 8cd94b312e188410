"""Who wins a sweep and why: a pure function of the evidence."""
