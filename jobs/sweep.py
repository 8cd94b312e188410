"""Sweep settings of a run, on the cluster this job was submitted to.

ray job submit --working-dir . -- python jobs/sweep.py jobs/digits/sweep.yaml
"""

from raymi.driver import main

if __name__ == "__main__":
    main("sweep")
