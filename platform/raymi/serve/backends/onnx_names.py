"""What a converted file calls its inputs, and what else is written into it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from raymi.data.preprocessing import Preprocessing
from raymi.serve.backends.capture import blank_inputs

INPUTS = "raymi.inputs"
"""Metadata: the array of `Preprocessing.prepare` for each input, as JSON."""

FINGERPRINT = "raymi.bundle"
"""Metadata: the bundle it was made from."""

PRECISION = "raymi.precision"
"""Metadata: `fp32` or `int8`."""

OUTPUT = "outputs"
"""The output."""

ROWS = "rows"
"""The first dimension of every input and of the output."""


def input_names(preprocessing: Preprocessing) -> dict[str, str]:
    """The file's name of each input -> the array of `Preprocessing.prepare` that it is."""
    return name_safely(blank_inputs(preprocessing, 1))


def name_safely(names: Iterable[str]) -> dict[str, str]:
    """Distinct names of ASCII letters, digits and underscores -> the names they stand for.

    >>> name_safely(["numbers", "tensor:left eye", "tensor:left-eye"])
    {'numbers': 'numbers', 'tensor_left_eye': 'tensor:left eye', 'tensor_left_eye_2': ...}
    """
    safe: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII)
        unique, count = plain, 1
        while unique in safe:
            count += 1
            unique = f"{plain}_{count}"
        safe[unique] = name
    return safe


def quiet_runtime() -> Any:
    """ONNX Runtime, imported when it is needed, and told to report to nobody.

    Its builds record events about sessions and send them to Microsoft unless this is called.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
