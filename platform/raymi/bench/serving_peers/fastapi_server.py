"""FastAPI + uvicorn, as their documentation has it: `uvicorn fastapi_server:app --workers 2`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from network import Network
from pydantic import BaseModel

network = Network()
app = FastAPI()


class Row(BaseModel):
    """One row."""

    image: list[float]


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


@app.post("/predict")
async def predict(body: Rows) -> dict[str, Any]:
    """Predict in the event loop: the pass is shorter than a hop to a thread and back."""
    predictions = network.predict([row.image for row in body.rows])
    return {"model": "bench", "version": 1, "predictions": predictions}
