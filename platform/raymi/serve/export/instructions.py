"""The README of an exported directory."""

from __future__ import annotations

from raymi.registry.bundle import Bundle
from raymi.serve.columns import expectation
from raymi.serve.export.parity import ExportParity
from raymi.specs.backend import ServingPrecision

_PAGE = """\
# {model}, as ONNX

{target} {result}.

## Run it

Python and two packages; neither Raymi, Ray nor torch:

```console
$ pip install numpy=={numpy} onnxruntime=={onnxruntime}
$ python run.py example.json
$ python run.py --probabilities < rows.json
```

Rows are a list of objects, or `{{"rows": [...]}}`. `run.py` does with them what was done in
training (`preprocessing.json`), runs `model.onnx` on the CPU and prints `{{"predictions": [...]}}`.
Other languages need what `run.py` does, and the metadata `raymi.inputs` of `model.onnx`, which says
what each of its inputs is.

| column | a row has |
|---|---|
{columns}

## How good a copy it is

`run.py` was run as it is here on {num_rows} rows, {num_test_rows} of them test rows, and compared
with the registered network in fp32: {sentence}. `parity.json` has the numbers.
{note}
Registered bundle: `{bundle}`. `MANIFEST.json` has the sha256 of every file.
"""

_INT8 = """
int8 rounds the weights of linear layers once, and their inputs by the largest of each batch: the
rows that share a batch move each other's answers a little. `run.py` makes batches of 64.
"""


def readme(bundle: Bundle, parity: ExportParity) -> str:
    """The page, for whoever finds the directory without us."""
    target = bundle.preprocessing.target
    kind = {
        "classification": f"Says which `{target.column}` a row has.",
        "regression": f"Predicts the number `{target.column}` of a row.",
        "next_byte": f"Says which byte follows the text `{target.column}`.",
    }[target.kind]
    return _PAGE.format(
        model=parity.model,
        target=kind,
        result=f"Registered with {bundle.evaluation.sentence}",
        numpy=parity.versions["numpy"],
        onnxruntime=parity.versions["onnxruntime"],
        columns="\n".join(
            f"| `{field.name}` | {expectation(field)} |" for field in bundle.signature.inputs
        ),
        num_rows=parity.num_rows,
        num_test_rows=parity.num_test_rows,
        sentence=parity.sentence,
        note=_INT8 if parity.precision is ServingPrecision.INT8 else "",
        bundle=parity.bundle,
    )
