"""An API beside a frontend whose pages a server makes."""

import os
from typing import Any

from fastapi import FastAPI
from pymongo import MongoClient

VERSION = "1"
app = FastAPI()
notes: Any = MongoClient(os.environ["MONGODB_URI"]).get_default_database()["notes"]


@app.get("/api/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION}


@app.get("/api/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/api/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
