"""A site's backend that shows what its environment has."""

from importlib.metadata import distributions

from fastapi import FastAPI

app = FastAPI()


@app.get("/api/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/packages")
def packages() -> dict[str, str]:
    return {found.name.lower(): found.version for found in distributions()}
