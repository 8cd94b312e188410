"""Train the same problems with many seeds and keep what each model got right, row by row.

PYTHONPATH=platform:. python tests/recorded/record.py DIRECTORY
DIRECTORY holds `adult` and `california_housing` as published. Takes ten minutes of one core.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from raymi.data import stage as data_stage
from raymi.data.intake import import_spec
from raymi.evaluate import stage as evaluate_stage
from raymi.specs.loading import load_spec
from raymi.train import in_process

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

ADULT_SEEDS, CALIFORNIA_SEEDS = 20, 16
ADULT = {
    "fp32": [],
    "bf16": ["precision=bf16"],
    "narrow": ["model.hidden=[16]"],
}
CALIFORNIA = {
    "fp32": ["epochs=20"],
    "bf16": ["epochs=20", "precision=bf16"],
    "narrow": ["epochs=20", "model.hidden=[128, 64]"],
}


def predictions(problem: str, overrides: list[str], store_dir: Path) -> tuple[np.ndarray, ...]:
    """Predictions and targets of one run on the test rows, (N,) each."""
    spec = load_spec(ROOT / "jobs" / problem / "train.yaml", overrides)
    result = in_process.run(spec, store_dir=store_dir)
    evaluation = evaluate_stage.run(result, store_dir=store_dir)
    table = pq.read_table(Path(result.run_dir) / evaluation.predictions_file)
    return table["prediction"].to_numpy(), table["target"].to_numpy()


def import_as_published(problem: str, source: Path, store_dir: Path) -> None:
    """Import a dataset as its problem's README says."""
    template = ROOT / "jobs" / problem / "data.yaml"
    spec = import_spec(problem, source / problem, fields={}, csv={}, template=template)
    data_stage.run(spec, store_dir=store_dir)


def record_adult(store_dir: Path) -> None:
    """Whether each answer was right: bits, packed along the rows."""
    arrays = {}
    for setting, overrides in ADULT.items():
        rows = []
        for seed in range(ADULT_SEEDS):
            guesses, truth = predictions("adult", [*overrides, f"seed={seed}"], store_dir)
            rows.append(guesses == truth)
            say(f"adult {setting} seed {seed}: accuracy {np.mean(rows[-1]):.4f}")
        arrays[setting] = np.packbits(rows, axis=1)
    np.savez_compressed(HERE / "adult.npz", num_rows=len(rows[0]), **arrays)


def record_california(store_dir: Path) -> None:
    """How far off each answer was, in standard deviations of the target, to three digits."""
    arrays = {}
    for setting, overrides in CALIFORNIA.items():
        rows = []
        for seed in range(CALIFORNIA_SEEDS):
            guesses, truth = predictions(
                "california_housing", [*overrides, f"seed={seed}"], store_dir
            )
            rows.append(((guesses - truth) / np.std(truth)).astype(np.float16))
            root = np.sqrt(np.mean(np.square(rows[-1], dtype=np.float64)))
            say(f"california_housing {setting} seed {seed}: rmse {root:.4f}")
        arrays[setting] = np.array(rows)
    np.savez_compressed(HERE / "california_housing.npz", **arrays)


def say(line: str) -> None:
    """Progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(source: Path) -> None:
    """Record both problems."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        store_dir = Path(directory)
        for problem, record in (
            ("adult", record_adult),
            ("california_housing", record_california),
        ):
            import_as_published(problem, source, store_dir)
            record(store_dir)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
