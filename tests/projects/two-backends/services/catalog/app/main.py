"""One of two backends whose modules have the same names."""

import os

from fastapi import FastAPI
from pymongo import MongoClient

app = FastAPI()
notes = MongoClient(os.environ["MONGODB_URL"]).get_default_database()["notes"]


@app.get("/api/catalog/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"service": "catalog"}
