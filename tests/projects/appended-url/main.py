"""Notes, of an application that appends its database to a URL, and reads a list from its environment."""

import json
import os

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pymongo import MongoClient

VERSION = "1"
ORIGINS = json.loads(os.environ["BACKEND_CORS_ORIGINS"])
app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=ORIGINS)
client = MongoClient(f"{os.environ['MONGODB_URL']}/{os.environ['DB_NAME']}?retryWrites=false")
notes = client[os.environ["DB_NAME"]].notes


@app.get("/status")
def status() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION, "origin": ORIGINS[0]}


@app.get("/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find()]


@app.post("/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
