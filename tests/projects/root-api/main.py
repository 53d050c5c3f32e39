"""An API without a frontend: routes at the root, FastAPI's own pages, files that it keeps, a stream and a chat."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, StreamingResponse

app = FastAPI(title="Notes")
VERSION = "1"
UPLOADS = Path("uploads")


@app.get("/")
def root() -> dict[str, str]:
    return {"version": VERSION, "home": os.environ["HOME"]}


@app.get("/notes")
def notes() -> list[str]:
    with sqlite3.connect("notes.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        return [text for (text,) in database.execute("SELECT text FROM notes")]


@app.post("/notes/{text}")
def add(text: str) -> list[str]:
    notes()
    with sqlite3.connect("notes.db") as database:
        database.execute("INSERT INTO notes VALUES (?)", (text,))
    return notes()


@app.put("/upload/{name}")
async def upload(name: str, request: Request) -> dict[str, int]:
    UPLOADS.mkdir(exist_ok=True)
    return {"bytes": (UPLOADS / name).write_bytes(await request.body())}


@app.get("/cache")
def cache() -> str:
    file = Path.home() / "kept"
    file.write_text("kept")
    return file.read_text()


@app.get("/events")
async def events() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.get("/chat")
def chat() -> HTMLResponse:
    return HTMLResponse("<!doctype html><p id=p></p><script>document.getElementById('p').textContent = 'chat'</script>")


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())
