"""Notes: the application of the projects that differ in the form of their list of packages. A copy of each gets it."""

import os
from importlib.metadata import distributions
from typing import Any

from fastapi import FastAPI
from pymongo import MongoClient

VERSION = "1"
app = FastAPI()
notes: Any = MongoClient(os.getenv("MONGODB_URI", "mongodb://localhost:27017"))["shop"]["notes"]


@app.get("/api/health")
def health() -> dict[str, str]:
    return {"version": VERSION}


@app.get("/api/packages")
def packages() -> dict[str, str]:
    return {found.name.lower(): found.version for found in distributions()}


@app.get("/api/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/api/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
