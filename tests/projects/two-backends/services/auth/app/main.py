"""One of two backends whose modules have the same names."""

import os

from fastapi import FastAPI
from pymongo import MongoClient

VERSION = "1"
app = FastAPI()
notes = MongoClient(os.environ["MONGODB_URL"]).get_default_database()["notes"]


@app.get("/api/auth/health")
def health() -> dict[str, str]:
    return {"service": "auth", "version": VERSION}


@app.get("/api/auth/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/api/auth/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
