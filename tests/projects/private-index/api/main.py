"""An API with a package of a private index, beside pages by Nuxt's server."""

import os
from typing import Any

from fastapi import FastAPI
from greeting import GREETING
from pymongo import MongoClient

VERSION = "1"
app = FastAPI()
notes: Any = MongoClient(os.getenv("MONGODB_URI", "mongodb://localhost:27017"))["shop"]["notes"]


@app.get("/api/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION, "greeting": GREETING}


@app.get("/api/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/api/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
