"""One of two backends whose modules have the same names."""

import os

from fastapi import FastAPI
from pymongo import MongoClient

app = FastAPI()
seen = MongoClient(os.environ["MONGODB_URL"]).get_default_database()["seen"]


@app.get("/api/auth/health")
def health() -> dict[str, str]:
    seen.find_one()
    return {"service": "auth"}
