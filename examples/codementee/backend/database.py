"""MongoDB: the connection, and what a new database starts with."""

import asyncio
import json
import logging
from pathlib import Path

import pymongo
from pymongo import ASCENDING, AsyncMongoClient, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

import passwords
from settings import Settings

log = logging.getLogger("uvicorn.error")

COMPANIES = json.loads(Path(__file__).with_name("companies.json").read_text(encoding="utf-8"))


class NotReadyError(PyMongoError):
    """The database has not been there since the backend started."""


class Database:
    """The database, which may be away at any time: a caller gets a PyMongoError within seconds, never a hang."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncMongoClient = AsyncMongoClient(
            settings.mongo_url.get_secret_value(),
            appname="codementee-backend",
            # One operation in all: finding the server, sending, waiting for the answer, trying again.
            timeoutMS=2000,
            # Of that, finding the server, also where an operation allows itself longer.
            serverSelectionTimeoutMS=2000,
        )
        self._database = self._client.get_default_database()
        self._ready = False

    @property
    def ready(self) -> AsyncDatabase:
        """The database with its indexes, admin and companies in place."""
        if not self._ready:
            raise NotReadyError("the database has not answered yet")
        return self._database

    async def prepare(self) -> None:
        """Seed the database, as soon as it is there. Runs in the background, so that the backend starts without it."""
        complained = False
        while not self._ready:
            try:
                # A new database on a slow disk takes its time to make an index.
                with pymongo.timeout(15):
                    await self._seed()
                self._ready = True
                log.info("The database is ready")
            except PyMongoError as error:
                if not complained:
                    log.warning("The database is not ready, trying again every second: %s", type(error).__name__)
                complained = True
                await asyncio.sleep(1)

    async def close(self) -> None:
        await self._client.close()

    async def _seed(self) -> None:
        """Bring in what is missing. Every worker does so at once: the unique indexes keep them from doing it twice."""
        users, companies = self._database.users, self._database.companies
        await users.create_index([("email", ASCENDING)], unique=True)
        await companies.create_index([("name", ASCENDING)], unique=True)
        await companies.bulk_write(
            [UpdateOne({"name": company["name"]}, {"$setOnInsert": company}, upsert=True) for company in COMPANIES],
            ordered=False,
        )

        email, password = self._settings.admin_email.lower(), self._settings.admin_password.get_secret_value()
        admin = await users.find_one({"email": email})
        if admin and await passwords.matches(password, admin["password"]):
            return
        hashed = await passwords.hashed(password)
        if admin:
            await users.update_one({"email": email}, {"$set": {"password": hashed}})
        else:
            new = {"password": hashed, "role": "admin"}
            await users.update_one({"email": email}, {"$setOnInsert": new}, upsert=True)
