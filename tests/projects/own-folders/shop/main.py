"""Notes, of an application with folders that a project of Slipway's has too."""

from pathlib import Path
from string import Template

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pymongo import MongoClient

from shop.settings import MONGO_URL
from tasks import words

VERSION = "1"
app = FastAPI()
notes = MongoClient(MONGO_URL)["shop"].notes


@app.get("/")
def page() -> HTMLResponse:
    text = Template(Path("templates/page.html").read_text())
    return HTMLResponse(text.substitute(version=VERSION, count=words.count(listed())))


@app.get("/health")
def health() -> dict[str, str]:
    notes.find_one()
    return {"version": VERSION}


@app.get("/notes")
def listed() -> list[str]:
    return [note["text"] for note in notes.find()]


@app.post("/notes/{text}")
def add(text: str) -> None:
    notes.insert_one({"text": text})
