import os
from typing import Any

from celery import Celery
from pymongo import MongoClient

VERSION = "1"
URL = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")
queue = Celery("shop", broker=URL, backend=URL)
queue.conf.beat_schedule = {"tick": {"task": "shop.tasks.tick", "schedule": 1.0}}


def collection(name: str) -> Any:
    return MongoClient(os.environ["MONGO_URI"]).get_default_database()[name]


@queue.task
def add(a: int, b: int) -> dict[str, Any]:
    return {"sum": a + b, "version": VERSION}


@queue.task
def tick() -> None:
    collection("ticks").insert_one({})
