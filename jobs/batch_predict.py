"""Predict many rows with a registered model, on the cluster this job was submitted to.

ray job submit --working-dir . -- python jobs/batch_predict.py jobs/digits/batch_predict.yaml
"""

from raymi.driver import main

if __name__ == "__main__":
    main("batch_predict")
