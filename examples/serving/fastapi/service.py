"""A FastAPI service as tutorials write it. Nothing here knows of softlaunch."""

from contextlib import asynccontextmanager

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

models = {}


@asynccontextmanager
async def lifespan(app: FastAPI):
    models["delay"] = joblib.load("model.joblib")
    yield
    models.clear()


app = FastAPI(title="Flight delays", lifespan=lifespan)


class Flight(BaseModel):
    distance: float
    hour: int


class Score(BaseModel):
    late: float


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/score")
def score(flight: Flight) -> Score:
    late = models["delay"].predict_proba([[flight.distance, flight.hour]])[0][1]
    return Score(late=late)
