"""Notes, of a repository whose top is the backend, with pages beside it, and files of visitors."""

import os
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from pymongo import AsyncMongoClient

VERSION = "1"
UPLOADS = Path("uploads")
app = FastAPI()
app.mount("/files", StaticFiles(directory="uploads"))
notes = AsyncMongoClient(os.environ["DATABASE_URL"]).get_default_database("journal")["notes"]


@app.get("/api/health")
async def health() -> dict[str, str]:
    await notes.find_one()
    return {"version": VERSION}


@app.get("/api/notes")
async def listed() -> list[str]:
    return [note["text"] async for note in notes.find()]


@app.post("/api/notes/{text}")
async def add(text: str) -> None:
    await notes.insert_one({"text": text})


@app.put("/api/files/{name}")
async def upload(name: str, request: Request) -> None:
    (UPLOADS / name).write_bytes(await request.body())


@app.get("/api/shipped")
def shipped() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if ".venv" not in path.parts and path.is_file())
