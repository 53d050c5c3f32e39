"""Notes, of an application whose database's URL is in parts."""

from fastapi import FastAPI
from pymongo import MongoClient

from app import config

VERSION = "1"
app = FastAPI()
notes = MongoClient(config.URL)[config.DATABASE]["notes"]


@app.get("/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION, "key": "set" if config.SECRET_KEY else "missing"}


@app.get("/api/v1/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find()]


@app.post("/api/v1/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
