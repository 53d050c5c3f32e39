"""The first content of the database. Every worker runs it at each start; it changes only what is not there yet."""

from __future__ import annotations

import asyncio
from typing import Any

import bcrypt
from pymongo.asynchronous.database import AsyncDatabase

CITIES = ("Pune", "Bengaluru", "Hyderabad", "Chennai", "Mumbai")
FIRST = ("Northwind", "Bluefin", "Kestrel", "Lantern", "Meridian", "Orchard", "Quartz", "Saffron", "Tamarind", "Zephyr")
KINDS = ("Labs", "Systems", "Data", "Mobility", "Health")


def sample_companies() -> list[dict[str, str]]:
    """50 companies that don't exist."""
    return [
        {"name": f"{first} {kind}", "city": CITIES[(i + j) % len(CITIES)]}
        for i, first in enumerate(FIRST)
        for j, kind in enumerate(KINDS)
    ]


async def seed(database: AsyncDatabase[dict[str, Any]], email: str, password: str) -> None:
    """The administrator, with the password that the environment gives, and the companies."""
    await database.users.create_index("email", unique=True)
    await database.companies.create_index("name", unique=True)
    admin = await database.users.find_one({"email": email})
    secret = password.encode()[:72]
    if admin is None or not await asyncio.to_thread(bcrypt.checkpw, secret, admin["password"]):
        hashed = await asyncio.to_thread(bcrypt.hashpw, secret, bcrypt.gensalt())
        await database.users.update_one({"email": email}, {"$set": {"password": hashed}}, upsert=True)
    if await database.companies.estimated_document_count() == 0:
        for company in sample_companies():
            await database.companies.update_one({"name": company["name"]}, {"$setOnInsert": company}, upsert=True)
