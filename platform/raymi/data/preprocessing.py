"""From columns to model inputs, as data: fitted on training rows, stored with the model.

Nothing here needs torch: `encode` turns an Arrow table into compact arrays once, `prepare`
turns a gathered batch of those into what the network reads. Training, evaluation and
serving call the same two functions, so they cannot disagree.

Model inputs are a dict of arrays, N rows each:
    numbers          float32 (N, 3F)  per feature: clipped z-score, rank in [-1, 1], is missing
    categories       int64   (N, K)   index into the vocabulary; 0 is unknown or missing
    tensor:<column>  float32 (N, ...) standardised
    tokens:<column>  int64   (N, W, G)  W words, each as G hashes; 0 is padding
    bytes:<column>   int64   (N, L)   UTF-8; 0 is padding
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from raymi.data.encoding import (
    byte_values,
    category_indices,
    class_indices,
    next_byte_targets,
    number_targets,
    number_values,
    token_ids,
)
from raymi.data.tensors import tensor_view
from raymi.store.record import Record

Arrays = dict[str, np.ndarray]

MAX_Z_SCORE = 8.0
"""Outliers are clipped here: one wild value must not own the gradient."""


class NumberFeature(Record):
    """A scalar number; dates and times count as seconds (dates: since 1970, UTC)."""

    kind: Literal["number"] = "number"
    column: str
    mean: float
    std: float
    quantiles: tuple[float, ...]
    nullable: bool


class CategoryFeature(Record):
    """One of a known set of values; index 0 is kept for anything else."""

    kind: Literal["category"] = "category"
    column: str
    vocabulary: tuple[str, ...]
    nullable: bool


class TensorFeature(Record):
    """A fixed-shape block of numbers, such as an image."""

    kind: Literal["tensor"] = "tensor"
    column: str
    shape: tuple[int, ...]
    mean: float
    std: float


class TextFeature(Record):
    """Free text, as a row of hashed words; see `raymi.data.encoding.token_ids`."""

    kind: Literal["text"] = "text"
    column: str
    num_buckets: int
    max_words: int
    num_grams: int
    nullable: bool


class BytesFeature(Record):
    """Text as it is stored, byte by byte; what is beyond `max_bytes` is not read."""

    kind: Literal["bytes"] = "bytes"
    column: str
    max_bytes: int


Feature = Annotated[
    NumberFeature | CategoryFeature | TensorFeature | TextFeature | BytesFeature,
    Field(discriminator="kind"),
]


class ClassTarget(Record):
    """Predict one of a known set of classes."""

    kind: Literal["classification"] = "classification"
    column: str
    classes: tuple[str | int | bool, ...]

    def labels(self, indices: Iterable[int]) -> list[str | int | bool]:
        """The classes that outputs stand for."""
        return [self.classes[index] for index in indices]


class NumberTarget(Record):
    """Predict a number; the network sees it standardised."""

    kind: Literal["regression"] = "regression"
    column: str
    mean: float
    std: float

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """Undo the standardisation: network outputs in the target's own unit, float64."""
        restored: np.ndarray = outputs.astype(np.float64) * self.std + self.mean
        return restored


class NextByteTarget(Record):
    """Predict, after each byte of a text, the one that follows."""

    kind: Literal["next_byte"] = "next_byte"
    column: str

    def labels(self, indices: Iterable[int]) -> list[str | int | bool]:
        """The characters that bytes stand for; `\\xe2` for one that is only a part of one."""
        return [bytes([index]).decode("utf-8", "backslashreplace") for index in indices]


Target = Annotated[ClassTarget | NumberTarget | NextByteTarget, Field(discriminator="kind")]

NUM_BYTES = 256
"""Values a byte can have."""


class Preprocessing(Record):
    """Everything between a row and a network, both ways."""

    features: tuple[Feature, ...]
    target: Target

    @property
    def numbers(self) -> tuple[NumberFeature, ...]:
        """Scalar numbers, in input order."""
        return tuple(f for f in self.features if isinstance(f, NumberFeature))

    @property
    def categories(self) -> tuple[CategoryFeature, ...]:
        """Categorical columns, in input order."""
        return tuple(f for f in self.features if isinstance(f, CategoryFeature))

    @property
    def tensors(self) -> tuple[TensorFeature, ...]:
        """Fixed-shape columns."""
        return tuple(f for f in self.features if isinstance(f, TensorFeature))

    @property
    def texts(self) -> tuple[TextFeature, ...]:
        """Free-text columns."""
        return tuple(f for f in self.features if isinstance(f, TextFeature))

    @property
    def bytes_features(self) -> tuple[BytesFeature, ...]:
        """Columns of text that are read byte by byte."""
        return tuple(f for f in self.features if isinstance(f, BytesFeature))

    @property
    def num_outputs(self) -> int:
        """Width of the network's last layer; for `next_byte` there is one for each position."""
        match self.target:
            case ClassTarget(classes=classes):
                return len(classes)
            case NumberTarget():
                return 1
            case NextByteTarget():
                return NUM_BYTES

    def encode(self, table: pa.Table) -> Arrays:
        """Turn columns into compact arrays: once per split, zero-copy for tensors."""
        arrays: Arrays = {}
        if self.numbers:
            columns = [number_values(table.column(f.column)) for f in self.numbers]
            arrays["numbers"] = np.stack(columns, axis=1)
        if self.categories:
            columns = [
                category_indices(table.column(f.column), f.vocabulary) for f in self.categories
            ]
            arrays["categories"] = np.stack(columns, axis=1)
        for tensor in self.tensors:
            arrays[f"tensor:{tensor.column}"] = tensor_view(
                table.column(tensor.column), tensor.shape
            )
        for text in self.texts:
            arrays[f"tokens:{text.column}"] = token_ids(
                table.column(text.column),
                num_buckets=text.num_buckets,
                max_words=text.max_words,
                num_grams=text.num_grams,
            )
        for raw in self.bytes_features:
            arrays[f"bytes:{raw.column}"] = byte_values(
                table.column(raw.column), max_bytes=raw.max_bytes
            )
        return arrays

    def encode_target(self, table: pa.Table) -> np.ndarray:
        """Return what the network is trained towards.

        Class indices, int64 (N,); for regression standardised numbers, float32 (N,); for
        `next_byte` the byte after each, int16 (N, L), `IGNORED` where there is none.

        Raises:
            DataError: A target is missing, or no known class; with its row.
        """
        target = self.target
        column = table.column(target.column)
        match target:
            case ClassTarget(classes=classes):
                return class_indices(column, classes, name=target.column)
            case NumberTarget(mean=mean, std=std):
                return number_targets(column, mean=mean, std=std, name=target.column)
            case NextByteTarget():
                (read,) = (f for f in self.bytes_features if f.column == target.column)
                return next_byte_targets(byte_values(column, max_bytes=read.max_bytes))

    def prepare(self, batch: Arrays) -> Arrays:
        """Turn gathered rows of `encode`'s arrays into model inputs."""
        inputs: Arrays = {}
        if self.numbers:
            inputs["numbers"] = self.prepare_numbers(batch["numbers"])
        if self.categories:
            inputs["categories"] = batch["categories"].astype(np.int64)
        for tensor in self.tensors:
            values = batch[f"tensor:{tensor.column}"].astype(np.float32)
            inputs[f"tensor:{tensor.column}"] = (values - np.float32(tensor.mean)) / np.float32(
                tensor.std
            )
        for text in self.texts:
            inputs[f"tokens:{text.column}"] = batch[f"tokens:{text.column}"].astype(np.int64)
        for raw in self.bytes_features:
            inputs[f"bytes:{raw.column}"] = batch[f"bytes:{raw.column}"].astype(np.int64)
        return inputs

    def prepare_numbers(self, values: np.ndarray) -> np.ndarray:
        """The `numbers` part of `prepare`: float64 (N, F) to float32 (N, 3F)."""
        return _standardise(values, self.numbers)


def _standardise(values: np.ndarray, features: tuple[NumberFeature, ...]) -> np.ndarray:
    missing = np.isnan(values)
    means = np.array([f.mean for f in features])
    stds = np.array([f.std for f in features])
    filled = np.where(missing, means, values)
    z_scores = np.clip((filled - means) / stds, -MAX_Z_SCORE, MAX_Z_SCORE)
    ranks = np.stack(
        [_rank(filled[:, index], feature) for index, feature in enumerate(features)], axis=1
    )
    ranks[missing] = 0.0
    return np.concatenate([z_scores, ranks, missing], axis=1, dtype=np.float32)


def _rank(values: np.ndarray, feature: NumberFeature) -> np.ndarray:
    """Where a value stands among the training rows, from -1 (smallest) to 1 (largest)."""
    quantiles = np.asarray(feature.quantiles, dtype=np.float64)
    positions = np.linspace(-1.0, 1.0, len(quantiles))
    # Repeated quantiles (a column that is mostly one value) share their middle position.
    knots, inverse = np.unique(quantiles, return_inverse=True)
    heights = np.bincount(inverse, weights=positions) / np.bincount(inverse)
    ranks: np.ndarray = np.interp(values, knots, heights)
    return ranks
