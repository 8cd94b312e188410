"""Decide what each column means, from the training rows' statistics alone.

number, date, time      NumberFeature (times as seconds; dates since 1970, UTC)
text, few values        CategoryFeature, of the values seen at least twice
text, mostly sentences  TextFeature
true or false           CategoryFeature
fixed-shape block       TensorFeature
always the same, never there, or a different word in every row: left out

`next_byte` reads one column of text, byte by byte, and no other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from raymi.data.encoding import value_text
from raymi.data.preprocessing import (
    BytesFeature,
    CategoryFeature,
    ClassTarget,
    Feature,
    NextByteTarget,
    NumberFeature,
    NumberTarget,
    Preprocessing,
    Target,
    TensorFeature,
    TextFeature,
)
from raymi.data.version import Column, ColumnStatistics, DatasetVersion
from raymi.errors import DataError, SpecError
from raymi.specs.data import Split
from raymi.specs.paths import closest

Task = Literal["auto", "classification", "regression", "next_byte"]

MAX_CLASSES = 1000
"""More distinct targets than this are not classes (as many as the statistics keep)."""

MAX_INTEGER_CLASSES = 20
"""An integer target with more distinct values is a quantity, unless the problem says else."""

FEW_VALUES = 64
"""A text column with at most this many values keeps all of them, rare ones too."""

MIN_SENTENCE_WORDS = 3.0
MIN_SENTENCE_DISTINCT = 0.5
"""Text with this many words on average, and this share of distinct values, is sentences."""

NUM_TEXT_BUCKETS = 1 << 15
MAX_TEXT_WORDS = 64
NUM_TEXT_GRAMS = 12

DEFAULT_CONTEXT = 256
"""Bytes of a text that a `next_byte` model reads, unless the problem says else."""


def fit_preprocessing(
    dataset: DatasetVersion,
    *,
    task: Task = "auto",
    ignore: Collection[str] = (),
    categories: Collection[str] = (),
    texts: Collection[str] = (),
    context: int = DEFAULT_CONTEXT,
) -> Preprocessing:
    """Fit everything between a row and a network.

    Args:
        dataset: What to learn from; it names the target (`next_byte` can do without).
        task: `auto` tells it from the target: floats, and integers with more than
            `MAX_INTEGER_CLASSES` values, are regression.
        ignore: Columns that must not be learned from.
        categories: Columns whose values are names, even if they are numbers.
        texts: Text columns that are sentences, whatever they look like.
        context: `next_byte` only: bytes of a row that are read; the rest is left out.

    Raises:
        SpecError: No target, or a column that does not exist, is named twice or has the wrong
            type for its role.
        DataError: The target or the columns hold nothing to learn.
    """
    if task == "next_byte":
        _check_names(dataset, ignore=ignore, categories=categories, texts=texts)
        column = _text_to_continue(dataset, ignore)
        return Preprocessing(
            features=(BytesFeature(column=column.name, max_bytes=context),),
            target=NextByteTarget(column=column.name),
        )
    if dataset.target is None:
        raise SpecError(
            f"dataset {dataset.name}: no target",
            why="it was imported without saying which column to predict",
            fix=f"import it again: `raymi data import {dataset.name} FILE --target COLUMN`",
        )
    _check_names(dataset, ignore=ignore, categories=categories, texts=texts)
    fitted = [
        _fit_feature(column, as_category=column.name in categories, as_text=column.name in texts)
        for column in dataset.columns
        if column.name != dataset.target and column.name not in ignore
    ]
    features = tuple(feature for feature in fitted if feature is not None)
    if not features:
        raise DataError(
            f"dataset {dataset.name}: nothing to learn from",
            why="every column is the target, ignored, constant, empty or an identifier",
            fix="import more columns, or name text columns in the problem's `texts`",
        )
    target = _fit_target(dataset.column(dataset.target), task)
    return Preprocessing(features=features, target=target)


def _text_to_continue(dataset: DatasetVersion, ignore: Collection[str]) -> Column:
    """The target, or the one column of text.

    Raises:
        SpecError: There is none, or it is not clear which.
        DataError: A row has no text.
    """
    texts = [c for c in dataset.columns if c.type == "string" and c.name not in ignore]
    if dataset.target is not None:
        texts = [column for column in texts if column.name == dataset.target]
    if len(texts) != 1:
        found = ", ".join(f"{c.name} ({c.type})" for c in dataset.columns)
        raise SpecError(
            f"dataset {dataset.name}: next_byte continues one column of text",
            why=f"the target is {dataset.target or 'not named'}; the columns are {found}",
            fix="import it again with the text as target, or name the others in the problem's "
            "`ignore`",
        )
    _check_target(texts[0])
    return texts[0]


def _fit_target(column: Column, task: Task) -> Target:
    """Decide between classes and a number.

    Classes are those of all splits: which answers exist is part of the question. A class
    without training rows cannot be learned, and its rows count as errors.

    Raises:
        SpecError: The task does not fit the target's type.
        DataError: The target has missing values, one value only, or too many classes.
    """
    train = column.statistics[Split.TRAIN]
    _check_target(column)
    if task == "auto":
        task = "regression" if _is_quantity(column, train) else "classification"
    if task == "classification":
        return ClassTarget(column=column.name, classes=_classes(column))
    if not _is_number(column):
        raise SpecError(
            f"target {column.name!r}: {column.type} is not a number",
            why="regression predicts a number",
            fix="choose another target, or task='classification' in the problem",
        )
    mean, std = _scale(train)
    return NumberTarget(column=column.name, mean=mean, std=std)


def _scale(train: ColumnStatistics) -> tuple[float, float]:
    """Mean and spread to standardise with; a constant is only shifted."""
    return train.mean or 0.0, train.std or 1.0


def _fit_feature(column: Column, *, as_category: bool, as_text: bool) -> Feature | None:
    train = column.statistics[Split.TRAIN]
    if column.shape:
        return _fit_tensor(column, train, named=as_category or as_text)
    if as_text and column.type != "string":
        raise _wrong_role(column, "texts", "it holds no text")
    if as_category and not train.top_values and train.num_values:
        raise _wrong_role(column, "categories", "it has values that are not whole numbers")
    if train.num_values == 0 or (train.num_distinct == 1 and train.num_nulls == 0):
        return None
    if as_text or (column.type == "string" and not as_category and _is_sentences(train)):
        return TextFeature(
            column=column.name,
            num_buckets=NUM_TEXT_BUCKETS,
            max_words=MAX_TEXT_WORDS,
            num_grams=NUM_TEXT_GRAMS,
            nullable=train.num_nulls > 0,
        )
    if as_category or column.type in ("string", "bool"):
        return _fit_category(column, train)
    return _fit_number(column, train)


def _fit_tensor(column: Column, train: ColumnStatistics, *, named: bool) -> TensorFeature:
    if named:
        raise _wrong_role(column, "categories or texts", "it holds blocks of numbers")
    mean, std = _scale(train)
    return TensorFeature(column=column.name, shape=column.shape, mean=mean, std=std)


def _fit_number(column: Column, train: ColumnStatistics) -> NumberFeature:
    mean, std = _scale(train)
    return NumberFeature(
        column=column.name,
        mean=mean,
        std=std,
        quantiles=train.quantiles,
        nullable=train.num_nulls > 0,
    )


def _fit_category(column: Column, train: ColumnStatistics) -> CategoryFeature | None:
    distinct = train.num_distinct or 0
    keeps_all = distinct <= FEW_VALUES and distinct < train.num_values
    vocabulary = tuple(
        value_text(value) for value, count in train.top_values if keeps_all or count >= 2
    )
    if not vocabulary:
        return None
    return CategoryFeature(column=column.name, vocabulary=vocabulary, nullable=train.num_nulls > 0)


def _is_sentences(train: ColumnStatistics) -> bool:
    is_varied = (train.num_distinct or 0) >= MIN_SENTENCE_DISTINCT * train.num_values
    return is_varied and (train.mean_words or 0.0) >= MIN_SENTENCE_WORDS


def _is_number(column: Column) -> bool:
    return column.type.startswith(("int", "uint", "float", "double")) and not column.shape


def _is_quantity(column: Column, train: ColumnStatistics) -> bool:
    if column.type.startswith(("float", "double")):
        return True
    return _is_number(column) and (train.num_distinct or 0) > MAX_INTEGER_CLASSES


def _check_target(column: Column) -> None:
    if not (_is_number(column) or column.type in ("string", "bool")):
        raise SpecError(
            f"target {column.name!r}: {column.type} cannot be predicted",
            why="a target is a number, a truth value or text",
            fix="import the dataset with another target",
        )
    missing = {split: stats.num_nulls for split, stats in column.statistics.items()}
    if num_missing := sum(missing.values()):
        raise DataError(
            f"target {column.name!r}: missing in {num_missing} rows",
            why="nothing can be learned from, or said about, a row without a target",
            fix="remove these rows and import the dataset again",
        )


def _classes(column: Column) -> tuple[str | int | bool, ...]:
    splits = [stats for stats in column.statistics.values() if stats.num_values]
    classes = {value for stats in splits for value, _ in stats.top_values}
    if any(len(stats.top_values) != stats.num_distinct for stats in splits):
        if column.type.startswith(("float", "double")):
            raise SpecError(
                f"target {column.name!r}: not classes",
                why="it holds numbers with a fractional part",
                fix="use task='regression', or turn the column into integers or text",
            )
        classes = set(range(MAX_CLASSES + 1))
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"target {column.name!r}: more than {MAX_CLASSES} classes",
            why="that many distinct values are an identifier or a quantity, not classes",
            fix="choose another target, or task='regression' in the problem if it is a number",
        )
    if len(classes) < 2:
        raise DataError(
            f"target {column.name!r}: only one class, {next(iter(classes))!r}",
            why="there is nothing to tell apart",
            fix="import rows of at least two classes",
        )
    return tuple(sorted(classes))


def _check_names(
    dataset: DatasetVersion,
    *,
    ignore: Collection[str],
    categories: Collection[str],
    texts: Collection[str],
) -> None:
    names = [column.name for column in dataset.columns]
    roles = {"ignore": ignore, "categories": categories, "texts": texts}
    seen: dict[str, str] = {dataset.target or "": "target"}
    for role, columns in roles.items():
        for name in columns:
            if name not in names:
                raise SpecError(
                    f"{role}: no column {name!r} in dataset {dataset.name}",
                    why=f"the columns are {', '.join(names)}",
                    fix=closest(name, names),
                )
            if name in seen:
                raise SpecError(
                    f"{role}: column {name!r} is also in {seen[name]}",
                    why="a column has one role",
                    fix=f"remove it from {role} or from {seen[name]}",
                )
            seen[name] = role


def _wrong_role(column: Column, role: str, why: str) -> SpecError:
    return SpecError(
        f"{role}: column {column.name!r} is {column.type}",
        why=why,
        fix=f"remove {column.name!r} from {role}",
    )
