"""Predict with a model that was exported by Raymi; needs numpy and onnxruntime, nothing else.

    python run.py example.json
    python run.py --probabilities < rows.json

Reads rows as JSON, a list of objects or {"rows": [...]}, and prints {"predictions": [...]}.
`signature.json` says which columns a row has. This file is one of the exported directory, and
needs its neighbours: model.onnx, preprocessing.json and signature.json.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

BATCH_ROWS = 64
MAX_Z_SCORE = 8.0
DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
_WORD = re.compile(r"\w+|[^\w\s]")


class Model:
    """An exported directory, loaded."""

    def __init__(self, directory: Path) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            directory / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.inputs: dict[str, str] = json.loads(metadata["raymi.inputs"])
        self.preprocessing = json.loads((directory / "preprocessing.json").read_bytes())
        self.signature = json.loads((directory / "signature.json").read_bytes())

    def predict(self, rows: list[dict[str, Any]], *, probabilities: bool) -> list[dict[str, Any]]:
        """One prediction for each row."""
        check_rows(rows, self.signature)
        answers: list[dict[str, Any]] = []
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows[start : start + BATCH_ROWS]
            arrays = prepare(batch, self.preprocessing, self.signature)
            feed = {name: arrays[array] for name, array in self.inputs.items()}
            (outputs,) = self.session.run(["outputs"], feed)
            if outputs.ndim == 3:
                outputs = after_last_byte(outputs, next(iter(arrays.values())))
            answers += interpret(
                outputs, self.preprocessing, self.signature, probabilities=probabilities
            )
        return answers


def prepare(
    rows: list[dict[str, Any]], preprocessing: dict[str, Any], signature: dict[str, Any]
) -> dict[str, np.ndarray]:
    """From rows to the network's inputs, as the model was trained with them."""
    fields = {field["name"]: field for field in signature["inputs"]}
    features: dict[str, list[Any]] = {}
    for feature in preprocessing["features"]:
        features.setdefault(feature["kind"], []).append(feature)
    columns = {name: [row.get(name) for row in rows] for name in fields}
    types = {name: field["datatype"] for name, field in fields.items()}

    arrays: dict[str, np.ndarray] = {}
    if numbers := features.get("number"):
        values = [number_values(columns[f["column"]], types[f["column"]]) for f in numbers]
        arrays["numbers"] = standardise(np.stack(values, axis=1), numbers)
    if categories := features.get("category"):
        indices = [
            category_indices(columns[f["column"]], types[f["column"]], f["vocabulary"])
            for f in categories
        ]
        arrays["categories"] = np.stack(indices, axis=1)
    for feature in features.get("tensor", []):
        name = feature["column"]
        block = tensor_values(columns[name], types[name], tuple(feature["shape"]))
        scaled = (block - np.float32(feature["mean"])) / np.float32(feature["std"])
        arrays[f"tensor:{name}"] = scaled
    for feature in features.get("text", []):
        arrays[f"tokens:{feature['column']}"] = token_ids(columns[feature["column"]], feature)
    for feature in features.get("bytes", []):
        arrays[f"bytes:{feature['column']}"] = byte_values(
            columns[feature["column"]], feature["max_bytes"]
        )
    return arrays


def number_values(values: list[Any], datatype: str) -> np.ndarray:
    """Numbers as float64, NaN where missing; of a narrow type, what that type makes of them."""
    is_float = datatype.startswith("FP")
    present = np.array(
        [0 if value is None else value if is_float else int(value) for value in values],
        DTYPES[datatype],
    )
    missing = np.array([value is None for value in values], dtype=bool)
    numbers: np.ndarray = np.where(missing, np.nan, present.astype(np.float64))
    return numbers


def standardise(values: np.ndarray, features: list[dict[str, Any]]) -> np.ndarray:
    """Of each number its clipped z-score, its rank and whether it is missing; float32 (N, 3F)."""
    missing = np.isnan(values)
    means = np.array([f["mean"] for f in features])
    stds = np.array([f["std"] for f in features])
    filled = np.where(missing, means, values)
    z_scores = np.clip((filled - means) / stds, -MAX_Z_SCORE, MAX_Z_SCORE)
    ranks = np.stack(
        [rank(filled[:, i], feature["quantiles"]) for i, feature in enumerate(features)], axis=1
    )
    ranks[missing] = 0.0
    return np.concatenate([z_scores, ranks, missing], axis=1, dtype=np.float32)


def rank(values: np.ndarray, quantiles: list[float]) -> np.ndarray:
    """Where a value stands among the training rows, from -1 to 1; equal ones share a place."""
    positions = np.linspace(-1.0, 1.0, len(quantiles))
    knots, inverse = np.unique(np.asarray(quantiles, dtype=np.float64), return_inverse=True)
    heights = np.bincount(inverse, weights=positions) / np.bincount(inverse)
    ranks: np.ndarray = np.interp(values, knots, heights)
    return ranks


def category_indices(values: list[Any], datatype: str, vocabulary: list[str]) -> np.ndarray:
    """Index of each value in the vocabulary, from 1; 0 is unknown or missing."""
    known: dict[str, int] = {}
    for index, text in enumerate(vocabulary):
        known.setdefault(text, index + 1)
    return np.array(
        [0 if v is None else known.get(category_text(v, datatype), 0) for v in values],
        dtype=np.int64,
    )


def category_text(value: Any, datatype: str) -> str:
    """The text under which a value is in the vocabulary: `3` and `3.0` are "3"."""
    if datatype == "BYTES":
        return str(value)
    if datatype == "BOOL":
        return "true" if value else "false"
    if not datatype.startswith("FP"):
        return str(int(value))
    number = np.dtype(DTYPES[datatype]).type(value)
    if float(number).is_integer() and abs(float(number)) < 2.0**53:
        return str(int(number))
    mantissa, _, exponent = np.format_float_scientific(number, trim="-").partition("e")
    if -7 < int(exponent) < 10:
        return np.format_float_positional(number, trim="-")
    return f"{mantissa}e{int(exponent):+d}"


def tensor_values(values: list[Any], datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Blocks of numbers, nested like their shape or flat; float32 (N, *shape)."""
    blocks = [np.array(value, DTYPES[datatype]).reshape(shape) for value in values]
    return np.stack(blocks).astype(np.float32)


def token_ids(values: list[Any], feature: dict[str, Any]) -> np.ndarray:
    """The first words of each text as hashes, (N, words, grams); 0 is padding."""
    num_buckets, max_words = feature["num_buckets"], feature["max_words"]
    num_grams = feature["num_grams"]
    tokens = np.zeros((len(values), max_words, num_grams), dtype=np.int64)
    for row, text in enumerate(values):
        words = _WORD.findall((text or "").lower())[: max_words + 1]
        for place, word in enumerate(words[:max_words]):
            after = words[place + 1] if place + 1 < len(words) else ""
            marked = f"<{word}>"
            pieces = [
                f"#{marked[start : start + size]}"
                for size in (3, 4)
                if size < len(marked)
                for start in range(len(marked) - size + 1)
            ]
            grams = [word, f"{word} {after}", *pieces][:num_grams]
            tokens[row, place, : len(grams)] = [
                1 + zlib.crc32(gram.encode()) % (num_buckets - 1) for gram in grams
            ]
    return tokens


def byte_values(values: list[Any], max_bytes: int) -> np.ndarray:
    """The first bytes of each text in UTF-8; 0 is padding, so a NUL becomes 1."""
    octets = np.zeros((len(values), max_bytes), dtype=np.int64)
    for row, text in enumerate(values):
        data = (text or "").encode()[:max_bytes]
        octets[row, : len(data)] = [byte or 1 for byte in data]
    return octets


def after_last_byte(outputs: np.ndarray, octets: np.ndarray) -> np.ndarray:
    """Of outputs at every position those at each text's last byte."""
    last = np.maximum((octets != 0).sum(axis=1) - 1, 0)
    chosen: np.ndarray = outputs[np.arange(len(last)), last]
    return chosen


def interpret(
    outputs: np.ndarray,
    preprocessing: dict[str, Any],
    signature: dict[str, Any],
    *,
    probabilities: bool,
) -> list[dict[str, Any]]:
    """From raw outputs to predictions: a number, or a label with its probability."""
    target = preprocessing["target"]
    if target["kind"] == "regression":
        values = outputs[:, 0].astype(np.float64) * target["std"] + target["mean"]
        return [{"prediction": value} for value in values.tolist()]
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    classes = signature["outputs"][0]["classes"]
    names = [str(c).lower() if isinstance(c, bool) else str(c) for c in classes]
    answers: list[dict[str, Any]] = []
    for each in shares.tolist():
        best = max(range(len(each)), key=each.__getitem__)
        answer = {"label": classes[best], "probability": each[best]}
        if probabilities:
            answer["probabilities"] = dict(zip(names, each, strict=True))
        answers.append(answer)
    return answers


def check_rows(rows: Any, signature: dict[str, Any]) -> None:
    """Refuse rows that the model was not made for, naming the place."""
    fields = {field["name"]: field for field in signature["inputs"]}
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("rows: a list of objects is needed")
    for index, row in enumerate(rows):
        if unknown := sorted(row.keys() - fields.keys()):
            raise ValueError(f"rows[{index}].{unknown[0]}: the model has no such column")
        for name, field in fields.items():
            value = row.get(name)
            if value is None and not field["nullable"]:
                raise ValueError(f"rows[{index}].{name}: missing")
            if value is not None and not is_right_type(value, field):
                kind = f"{field['datatype']} {field['shape'] or ''}".strip()
                raise ValueError(f"rows[{index}].{name}: is no {kind}")


def is_right_type(value: Any, field: dict[str, Any]) -> bool:
    """Whether a value is text, true or false, a number that fits, or a block of such."""
    if field["shape"]:
        return isinstance(value, list) and are_right_elements(np.array(value), field)
    if field["datatype"] in ("BYTES", "BOOL"):
        return isinstance(value, str if field["datatype"] == "BYTES" else bool)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and fits(value, field["datatype"])


def fits(number: float, datatype: str) -> bool:
    """Whether a number is finite, in a type's range, and whole if the type is."""
    lowest, highest = limits(datatype)
    try:
        if datatype.startswith("FP"):
            return lowest <= float(number) <= highest
        return lowest <= number <= highest and number == int(number)
    except (OverflowError, ValueError):  # more than any float, or NaN
        return False


def are_right_elements(block: np.ndarray, field: dict[str, Any]) -> bool:
    """Whether a block has the field's size, and elements that fit."""
    if block.size != math.prod(field["shape"]):
        return False
    if field["datatype"] == "BOOL":
        return block.dtype.kind == "b"
    if block.dtype.kind not in "iuf":
        return False
    lowest, highest = limits(field["datatype"])
    fit = (block >= lowest) & (block <= highest)
    if not field["datatype"].startswith("FP"):
        fit &= block == np.floor(block)
    return bool(fit.all())


def limits(datatype: str) -> tuple[float, float]:
    """The smallest and largest number of a type; whole ones as `int`."""
    if datatype.startswith("FP"):
        # Networks read 32-bit floats whatever the column was.
        largest = min(float(np.finfo(DTYPES[datatype]).max), float(np.finfo("float32").max))
        return -largest, largest
    whole = np.iinfo(DTYPES[datatype])
    return int(whole.min), int(whole.max)


def read_rows(path: str | None) -> Any:
    """The rows of a JSON file, or of standard input."""
    text = Path(path).read_text(encoding="utf-8") if path else sys.stdin.read()
    document = json.loads(text)
    return document["rows"] if isinstance(document, dict) and "rows" in document else document


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Predict rows with this directory's model.")
    parser.add_argument("file", nargs="?", help="JSON with rows; default: standard input")
    parser.add_argument("--probabilities", action="store_true", help="of every class")
    arguments = parser.parse_args()
    try:
        rows = read_rows(arguments.file)
        model = Model(Path(__file__).resolve().parent)
        answers = model.predict(rows, probabilities=arguments.probabilities)
        text = json.dumps({"predictions": answers}, allow_nan=False)
    except (OSError, ValueError, OverflowError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
