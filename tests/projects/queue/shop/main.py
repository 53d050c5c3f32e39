"""An API that has Celery do its work."""

from typing import Any

from fastapi import FastAPI

from shop.tasks import add, ticks

app = FastAPI()


@app.post("/sum/{a}/{b}")
def start(a: int, b: int) -> dict[str, Any]:
    found: dict[str, Any] = add.delay(a, b).get(timeout=20)
    return found


@app.get("/ticks")
def count() -> int:
    return int(ticks().count_documents({}))
