"""An application that serves the build of the frontend itself, from the folder that the build writes beside it."""

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pymongo import MongoClient

VERSION = "1"
DIST = Path(__file__).resolve().parent.parent / "client" / "dist"
notes: Any = MongoClient(os.getenv("MONGO_URI", "mongodb://localhost:27017/todo"))["todo"]["notes"]
app = FastAPI()


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


# The start fails without the folder.
app.mount("/assets", StaticFiles(directory=DIST / "assets"))


@app.get("/{path:path}")
def page(path: str) -> FileResponse:
    return FileResponse(DIST / "index.html")
