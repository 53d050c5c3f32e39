"""The backend of a project whose files come from Windows."""

from fastapi import FastAPI

app = FastAPI(root_path="/backend")


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
