"""An API that has Celery do its work."""

from typing import Any

from fastapi import FastAPI

from shop.tasks import VERSION, add, collection

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    return {"version": VERSION}


@app.post("/sum/{a}/{b}")
def start(a: int, b: int) -> dict[str, Any]:
    found: dict[str, Any] = add.delay(a, b).get(timeout=20)
    return found


@app.get("/ticks")
def count() -> int:
    return int(collection("ticks").count_documents({}))


@app.get("/notes")
def listed() -> list[str]:
    return [note["text"] for note in collection("notes").find().sort("_id")]


@app.post("/notes/{text}")
def write(text: str) -> None:
    collection("notes").insert_one({"text": text})
