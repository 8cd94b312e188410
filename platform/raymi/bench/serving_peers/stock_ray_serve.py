"""Ray Serve as it comes, with FastAPI and `@serve.batch`.

`python stock_ray_serve.py PORT REPLICAS`

FastAPI reads the types of methods in another process: they must not be postponed.
"""

import sys
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve

app = FastAPI()


class Row(BaseModel):
    """One row."""

    image: list[float]


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Bench:
    """The model."""

    def __init__(self) -> None:
        """Load it, in each replica."""
        from network import Network

        self.network = Network()

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def many(self, rows: list[list[float]]) -> list[dict[str, Any]]:
        """Predict the rows of many requests."""
        return self.network.predict(rows)

    @app.post("/predict")
    async def predict(self, body: Rows) -> dict[str, Any]:
        """Predict one row, together with those of other requests."""
        prediction = await self.many(body.rows[0].image)
        return {"model": "bench", "version": 1, "predictions": [prediction]}


if __name__ == "__main__":
    port, num_replicas = map(int, sys.argv[1:])
    ray.init(num_cpus=num_replicas + 1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Bench.options(num_replicas=num_replicas).bind())
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
