"""ONNX Runtime on the CPU, with a pool of threads of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch

from raymi.serve.backends.onnx_names import INPUTS, OUTPUT, quiet_runtime
from raymi.specs.backend import BackendName, ServingPrecision

_ERRORS_ONLY = 3


class OnnxBackend:
    """One session over one converted file."""

    def __init__(self, model: bytes, precision: ServingPrecision, *, num_threads: int) -> None:
        """Open what `onnx_model` gives."""
        onnxruntime = quiet_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        # Threads that wait must not burn what the host's other replicas could use.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._names: dict[str, str] = json.loads(metadata[INPUTS])
        self._precision = precision

    @property
    def name(self) -> BackendName:
        """Who executes it."""
        return BackendName.ONNX

    @property
    def precision(self) -> ServingPrecision:
        """With which arithmetic."""
        return self._precision

    @property
    def device(self) -> torch.device:
        """Where the outputs are."""
        return torch.device("cpu")

    def forward(self, inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        """One forward pass."""
        return torch.from_numpy(self.run(inputs))

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """One forward pass; float32."""
        feed = {name: inputs[array] for name, array in self._names.items()}
        outputs: np.ndarray
        (outputs,) = self._session.run([OUTPUT], feed)
        return outputs
