"""BentoML with a worker for each core: `bentoml serve bentoml_service:Bench`."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from network import Network


@bentoml.service(
    workers=int(os.environ.get("BENCH_WORKERS", "2")),
    logging={"access": {"enabled": False}},
    metrics={"enabled": True},
    traffic={"timeout": 60},
)
class Bench:
    """The model."""

    def __init__(self) -> None:
        """Load it, in each worker."""
        self.network = Network()

    @bentoml.api(route="/predict")
    async def predict(self, rows: list[dict[str, list[float]]]) -> dict[str, Any]:
        """Predict in the event loop."""
        predictions = self.network.predict([row["image"] for row in rows])
        return {"model": "bench", "version": 1, "predictions": predictions}
