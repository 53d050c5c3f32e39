"""Notes, of a factory that knows its database by host and port alone."""

import os

from fastapi import APIRouter, FastAPI
from pymongo import MongoClient

VERSION = "1"
router = APIRouter(prefix="/notes")


def collection():  # type: ignore[no-untyped-def]
    client = MongoClient(host=os.environ["MONGO_HOST"], port=int(os.environ["MONGO_PORT"]))
    return client["shop"]["notes"]


@router.get("")
def listed() -> list[str]:
    return [note["text"] for note in collection().find()]


@router.post("/{text}")
def add(text: str) -> None:
    collection().insert_one({"text": text})


def create_app() -> FastAPI:
    app = FastAPI()
    app.include_router(router)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        collection().find_one()
        return {"version": VERSION}

    return app
