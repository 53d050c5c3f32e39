"""The backend of a project whose files come from Windows."""

import os
from typing import Any

from fastapi import FastAPI
from pymongo import MongoClient

VERSION = "1"
app = FastAPI(root_path="/backend")
notes: Any = MongoClient(os.getenv("MONGO_URL", "mongodb://localhost:27017"))["shop"]["notes"]


@app.get("/health")
def health() -> dict[str, str]:
    return {"version": VERSION}


@app.get("/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
