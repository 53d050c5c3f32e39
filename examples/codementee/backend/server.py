"""CodeMentee's API: login with a password, then a list of companies. FastAPI on MongoDB."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import bcrypt
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, ValidationError
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from seed import seed

ALGORITHM = "HS256"


class Settings(BaseModel):
    """What the service's environment says; a wrong or missing variable stops it with one line."""

    mongo_url: str = "mongodb://127.0.0.1:27017/codementee"
    # RFC 7518 section 3.2: an HS256 key is at least as long as the hash, 32 bytes.
    jwt_secret: str = Field(min_length=32)
    admin_email: str = "admin@codementee.io"
    admin_password: str = Field(min_length=8)
    cors_origins: str = ""
    token_minutes: int = 60


def read_settings() -> Settings:
    found = {name: os.environ[name.upper()] for name in Settings.model_fields if name.upper() in os.environ}
    try:
        return Settings(**found)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SystemExit(f"environment: {wrong}") from None


settings = read_settings()
# A database that is away is told in two seconds, not in the driver's default of thirty.
client: AsyncMongoClient = AsyncMongoClient(settings.mongo_url, serverSelectionTimeoutMS=2000)
database = client.get_default_database("codementee")


async def seed_when_possible() -> None:
    """The application starts without its database, and fills it when it is there."""
    while True:
        try:
            return await seed(database, settings.admin_email, settings.admin_password)
        except PyMongoError:
            await asyncio.sleep(1)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    seeding = asyncio.create_task(seed_when_possible())
    yield
    seeding.cancel()
    await client.close()


app = FastAPI(title="CodeMentee", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
if settings.cors_origins:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins.split(","),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )


@app.exception_handler(PyMongoError)
async def database_is_away(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "The database does not answer."}, status_code=503)


class Login(BaseModel):
    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


# Compared with where there is no such user, so that the time of an answer does not tell which e-mails exist.
NOBODY = bcrypt.hashpw(b"nobody", bcrypt.gensalt())


@app.post("/api/auth/login")
async def login(attempt: Login) -> dict[str, object]:
    user = await database.users.find_one({"email": attempt.email.lower()})
    # bcrypt reads 72 bytes. In a thread, as it is slow on purpose.
    password = attempt.password.encode()[:72]
    right = await asyncio.to_thread(bcrypt.checkpw, password, user["password"] if user else NOBODY)
    if user is None or not right:
        raise HTTPException(401, "Wrong e-mail or password.")
    ends = datetime.now(UTC) + timedelta(minutes=settings.token_minutes)
    token = jwt.encode({"sub": user["email"], "exp": ends}, settings.jwt_secret, ALGORITHM)
    return {"token": token, "token_type": "bearer", "expires_in": settings.token_minutes * 60}


bearer = HTTPBearer(auto_error=False)


def current_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
    """The e-mail in a valid token."""
    try:
        claims = jwt.decode(credentials.credentials if credentials else "", settings.jwt_secret, [ALGORITHM])
    except jwt.PyJWTError:
        raise HTTPException(401, "Log in first.", headers={"WWW-Authenticate": "Bearer"}) from None
    return str(claims["sub"])


@app.get("/api/companies")
async def companies(_: Annotated[str, Depends(current_user)]) -> list[dict[str, str]]:
    found = database.companies.find({}, {"_id": False}).sort("name")
    return [company async for company in found]


@app.get("/api/health")
async def health() -> dict[str, str]:
    await client.admin.command("ping")
    return {"status": "ok"}


@app.get("/api/client")
async def client_seen(request: Request) -> dict[str, str | None]:
    """The visitor as the backend sees him: what the proxy in front forwards."""
    return {
        "address": request.client.host if request.client else None,
        "scheme": request.url.scheme,
        "host": request.headers.get("host"),
    }
