"""Train one model, on the cluster this job was submitted to.

ray job submit --working-dir . -- python jobs/train.py jobs/digits/train.yaml
"""

from raymi.driver import main

if __name__ == "__main__":
    main("train")
