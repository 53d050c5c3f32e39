"""The API of a workspace: it uses a library of the repository, and pages are made by a server."""

import os
from typing import Any

from fastapi import FastAPI
from money import year
from pymongo import MongoClient

VERSION = "1"
app = FastAPI()
notes: Any = MongoClient(os.environ["MONGODB_URL"])["shop"]["notes"]


@app.get("/api/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION, "year": str(year("2026-11-30"))}


@app.get("/api/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find().sort("_id")]


@app.post("/api/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
