"""Notes, of a factory that is below src."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from pymongo import AsyncMongoClient

from shop.settings import Settings

VERSION = "1"


def create_app(settings: Settings | None = None) -> FastAPI:
    its = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        m = its.mongo
        login = f"{m.user}:{m.password.get_secret_value()}"
        client = AsyncMongoClient(f"mongodb://{login}@{m.host}:{m.port}/{m.database}?authSource=admin")
        app.state.notes = client[m.database]["notes"]
        yield
        await client.close()

    app = FastAPI(lifespan=lifespan, docs_url="/v1/docs", openapi_url="/v1/openapi.json")

    @app.get("/healthz")
    async def healthz(request: Request) -> dict[str, str]:
        await request.app.state.notes.find_one()
        return {"version": VERSION, "key": "set" if its.auth.secret_key.get_secret_value() else "missing"}

    @app.get("/v1/notes")
    async def listed(request: Request) -> list[str]:
        return [note["text"] async for note in request.app.state.notes.find()]

    @app.post("/v1/notes/{text}")
    async def add(request: Request, text: str) -> None:
        await request.app.state.notes.insert_one({"text": text})

    return app
