"""How sure a comparison is: intervals, tests, and the rows and seeds they need."""
