"""The CodeMentee API.

uvicorn server:app --fd 3 --workers 2 --proxy-headers --forwarded-allow-ips '*'
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

import passwords
from database import Database, log
from request_ids import RequestIds, log_them
from settings import load

DATABASE_WAIT_SECONDS = 5

settings = load()
secret = settings.jwt_secret.get_secret_value()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.database = Database(settings)
    preparing = asyncio.create_task(app.state.database.prepare())
    # A worker takes no request before it can answer it; without a database it starts all the same.
    await asyncio.wait({preparing}, timeout=DATABASE_WAIT_SECONDS)
    yield
    preparing.cancel()
    await app.state.database.close()


# No documentation pages: they load their scripts from elsewhere, which the site's Content-Security-Policy forbids.
app = FastAPI(title="CodeMentee", lifespan=lifespan, openapi_url=None)
app.add_middleware(RequestIds)
log_them()

if settings.cors_origins:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )


# --- Who asks, and what of -------------------------------------------------------------------------------------------


def database(request: Request) -> AsyncDatabase:
    return request.app.state.database.ready


def user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> str:
    """The email address of who is logged in."""
    if credentials is None:
        raise HTTPException(401, "Please log in.", {"WWW-Authenticate": "Bearer"})
    try:
        # The algorithm is ours to name: the token's own word for it is not trusted.
        # The clock of the server that signed it may be ahead of this one's by some seconds.
        claims = jwt.decode(credentials.credentials, secret, ["HS256"], options={"require": ["exp", "sub"]}, leeway=5)
    except jwt.InvalidTokenError as error:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise HTTPException(401, "Your login has ended. Please log in again.", challenge) from error
    return claims["sub"]


@app.exception_handler(PyMongoError)
async def database_is_away(request: Request, error: PyMongoError) -> JSONResponse:
    log.warning("%s %s: %s", request.method, request.url.path, type(error).__name__)
    body = {"detail": "The database does not answer right now. Please try again in a few seconds."}
    return JSONResponse(body, 503, {"Retry-After": "5"})


@app.exception_handler(RequestValidationError)
async def request_is_wrong(request: Request, error: RequestValidationError) -> JSONResponse:
    # FastAPI's own answer repeats the input, and so a password.
    wrong = (f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    return JSONResponse({"detail": "; ".join(wrong)}, 422)


# --- Routes ----------------------------------------------------------------------------------------------------------


class Login(BaseModel):
    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


class Token(BaseModel):
    token: str
    token_type: str = "bearer"  # noqa: S105  RFC 6750's name for the kind
    expires_in: int
    """Seconds."""


class Company(BaseModel):
    name: str
    # Defaults, so that a document which somebody else put there does not cost everybody the list.
    city: str = ""
    country: str = ""
    field: str = ""
    mentors: int = 0


@app.post("/api/auth/login")
async def login(given: Login, database: Annotated[AsyncDatabase, Depends(database)], response: Response) -> Token:
    found = await database.users.find_one({"email": given.email.strip().lower()})
    if not await passwords.matches(given.password, found["password"] if found else passwords.NOBODY):
        raise HTTPException(401, "Wrong email or password.", {"WWW-Authenticate": "Bearer"})
    response.headers["Cache-Control"] = "no-store"
    life = timedelta(minutes=settings.token_minutes)
    now = datetime.now(UTC)
    token = jwt.encode({"sub": found["email"], "iat": now, "exp": now + life}, secret, "HS256")
    return Token(token=token, expires_in=int(life.total_seconds()))


@app.get("/api/companies", dependencies=[Depends(user)])
async def companies(database: Annotated[AsyncDatabase, Depends(database)]) -> list[Company]:
    return await database.companies.find({}, {"_id": False}).sort("name").to_list()


@app.api_route("/api/health", methods=["GET", "HEAD"])
async def health(request: Request) -> JSONResponse:
    """Well means that a login would work: the database answers, and the admin is in it."""
    try:
        await request.app.state.database.ready.command("ping")
    except PyMongoError as error:
        return JSONResponse({"status": "unavailable", "database": type(error).__name__}, 503)
    return JSONResponse({"status": "ok"})


@app.get("/api/client")
async def client(request: Request) -> dict[str, Any]:
    """Whom the backend believes to talk to: shows at a glance if the proxy passes on the visitor's address."""
    address = request.client.host if request.client else None
    return {"address": address, "scheme": request.url.scheme, "host": request.headers.get("host")}
