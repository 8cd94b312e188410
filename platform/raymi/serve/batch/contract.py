"""Does the input have what the model reads, and what do the predictions look like: by schema."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa

from raymi.data.preprocessing import NumberTarget, Target
from raymi.errors import DataError, SpecError
from raymi.registry.signature import InputField, OutputField, Signature
from raymi.serve.columns import ARROW_TYPES, expectation
from raymi.specs.batch_predict import ALL_COLUMNS
from raymi.specs.data import FileFormat
from raymi.specs.paths import closest

ROW, PREDICTION, PROBABILITY, PROBABILITIES, ERROR = OWN_COLUMNS = (
    "row",
    "prediction",
    "probability",
    "probabilities",
    "error",
)
"""Columns of the output that are not the input's."""

_types = pa.types


def require_inputs(
    signature: Signature, schema: pa.Schema, *, where: str, file_format: FileFormat
) -> None:
    """Check that a file has every column the model reads, of a type it can be read from.

    Args:
        signature: The model's contract.
        schema: The file's.
        where: The file, for errors.
        file_format: Of CSV files only names and shapes can be checked: every value is text.

    Raises:
        DataError: Naming the column.
    """
    for field in signature.inputs:
        index = schema.get_field_index(field.name)
        if index < 0:
            raise _no_column(field.name, schema, where, why=f"the model reads {expectation(field)}")
        if file_format is FileFormat.CSV:
            fits, found = not field.shape, "text in a CSV file"
        else:
            fits, found = _fits(field, schema.field(index).type), str(schema.field(index).type)
        if not fits:
            raise DataError(
                f"{where}: column {field.name!r} is {found}",
                why=f"the model reads {expectation(field)}",
                fix="convert the column, or use a model that was trained on such rows",
            )


def kept_columns(
    keep: Sequence[str], schemas: Sequence[pa.Schema], *, wheres: Sequence[str]
) -> pa.Schema:
    """The columns of the input that are written out, of one type for all files.

    Raises:
        DataError: A file has no such column, or one of another kind.
        SpecError: It is called as a column of the predictions.
    """
    names = list(schemas[0].names) if ALL_COLUMNS in keep else list(dict.fromkeys(keep))
    for name in names:
        if name in OWN_COLUMNS:
            raise SpecError(
                f"keep: {name!r} is also a column of the predictions",
                why=f"they have the columns {', '.join(OWN_COLUMNS)}",
                fix=f"rename it in the input, or leave it out; rows are told by their {ROW!r}",
            )
    kept = []
    for schema, where in zip(schemas, wheres, strict=True):
        for name in names:
            if schema.get_field_index(name) < 0:
                raise _no_column(name, schema, where, why="`keep` names it")
        kept.append(pa.schema([(name, plain_type(schema.field(name).type)) for name in names]))
    try:
        return pa.unify_schemas(kept, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            "keep: a column has several types",
            why=" ".join(str(error).split())[:300],
            fix="leave it out of `keep`, or predict files of the same columns together",
        ) from error


def output_schema(
    kept: pa.Schema, target: Target, outputs: Sequence[OutputField], *, probabilities: bool
) -> pa.Schema:
    """The columns of the predictions: the row's number, what is kept, what the model says.

    Raises:
        SpecError: Probabilities of a regression are asked for.
    """
    fields = [pa.field(ROW, pa.int64(), nullable=False), *kept]
    if isinstance(target, NumberTarget):
        if probabilities:
            raise SpecError(
                "probabilities: this model has none",
                why=f"it predicts a number, {target.column!r}",
                fix="leave `probabilities` out",
            )
        fields.append(pa.field(PREDICTION, pa.float64()))
    else:
        (label,) = (output for output in outputs if not output.shape)
        fields.append(pa.field(PREDICTION, ARROW_TYPES[label.datatype]))
        fields.append(pa.field(PROBABILITY, pa.float32()))
        if probabilities:
            fields.append(pa.field(PROBABILITIES, pa.list_(pa.float32(), len(label.classes))))
    return pa.schema([*fields, pa.field(ERROR, pa.string())])


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type a column is written with: without dictionaries and extensions."""
    if isinstance(data_type, pa.BaseExtensionType):
        return plain_type(data_type.storage_type)
    return data_type.value_type if _types.is_dictionary(data_type) else data_type


def is_text(data_type: pa.DataType) -> bool:
    """Whether values are text, in any of Arrow's layouts."""
    return any(
        is_it(data_type)
        for is_it in (_types.is_string, _types.is_large_string, _types.is_string_view)
    )


def is_list(data_type: pa.DataType) -> bool:
    """Whether values are lists, in any of Arrow's layouts."""
    return any(
        is_it(data_type)
        for is_it in (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
    )


def _fits(field: InputField, data_type: pa.DataType) -> bool:
    if field.shape:
        return _fits_tensor(field, data_type)
    plain = plain_type(data_type)
    if _types.is_null(plain):
        return field.nullable
    if field.datatype == "BYTES":
        return is_text(plain)
    if field.datatype == "BOOL":
        return bool(_types.is_boolean(plain))
    is_time = _types.is_temporal(plain) and field.kind == "number"
    return is_time or _is_number(plain)


def _fits_tensor(field: InputField, data_type: pa.DataType) -> bool:
    """Whether it is a list of numbers of the field's depth and sizes, or a flat one."""
    if isinstance(data_type, pa.FixedShapeTensorType):
        order = list(data_type.permutation or ())
        in_order = order == sorted(order)
        return (
            in_order and tuple(data_type.shape) == field.shape and _is_number(data_type.value_type)
        )
    sizes: list[int | None] = []
    while is_list(data_type):
        sizes.append(data_type.list_size if _types.is_fixed_size_list(data_type) else None)
        data_type = data_type.value_type
    wanted = field.shape if len(sizes) == len(field.shape) else (math.prod(field.shape),)
    same_depth = len(sizes) == len(wanted)
    is_element = _types.is_boolean(data_type) if field.datatype == "BOOL" else _is_number(data_type)
    return (
        same_depth
        and is_element
        and all(size in (None, expected) for size, expected in zip(sizes, wanted, strict=True))
    )


def _is_number(data_type: pa.DataType) -> bool:
    return any(
        is_it(data_type) for is_it in (_types.is_integer, _types.is_floating, _types.is_decimal)
    )


def _no_column(name: str, schema: pa.Schema, where: str, *, why: str) -> DataError:
    return DataError(
        f"{where}: no column {name!r}",
        why=why,
        fix=closest(name, list(schema.names)),
    )
