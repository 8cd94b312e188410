"""LitServe, batching if asked to: `python litserve_server.py PORT WORKERS MAX_BATCH_SIZE`.

LitServe reads the types of methods: they must not be postponed.
"""

import sys
from typing import Any

import litserve
from fastapi import Request
from network import Network


class Bench(litserve.LitAPI):
    """The model."""

    def setup(self, _device: str) -> None:
        """Load it, in each worker."""
        self.network = Network()

    def decode_request(self, request: Request) -> list[float]:
        """One row a request."""
        # LitServe parses a body of JSON before it calls this, whatever the type says.
        (row,) = request["rows"]
        image: list[float] = row["image"]
        return image

    def predict(self, x: Any) -> Any:
        """Predict one row, or with batching a list of them."""
        if x and isinstance(x[0], list):
            return self.network.predict(x)
        return self.network.predict([x])[0]

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Rows as they are."""
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Predictions as they are."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer that all servers here give."""
        return {"model": "bench", "version": 1, "predictions": [output]}


if __name__ == "__main__":
    port, num_workers, max_batch_size = map(int, sys.argv[1:])
    api = Bench(max_batch_size=max_batch_size, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=num_workers)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=num_workers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
