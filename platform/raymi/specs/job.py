"""Everything that can be submitted, told apart by `kind`."""

from __future__ import annotations

from raymi.specs.base import Spec
from raymi.specs.batch_predict import BatchPredictSpec
from raymi.specs.data import DataSpec
from raymi.specs.deploy import DeploySpec
from raymi.specs.sweep import SweepSpec
from raymi.specs.train import TrainSpec
from raymi.specs.tune_serving import TuneServingSpec

JobSpec = DataSpec | TrainSpec | SweepSpec | DeploySpec | BatchPredictSpec | TuneServingSpec

KINDS: dict[str, type[Spec]] = {
    "data": DataSpec,
    "train": TrainSpec,
    "sweep": SweepSpec,
    "deploy": DeploySpec,
    "batch_predict": BatchPredictSpec,
    "tune_serving": TuneServingSpec,
}
"""`kind:` in a file -> the spec it must satisfy."""
