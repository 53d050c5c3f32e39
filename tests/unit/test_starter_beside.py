"""What is beside an application: workers of queues, and packages of the same repository."""

from __future__ import annotations

import re

import pytest

from slipway.starter.notes import next_steps
from support.repositories import APP, notes_of, read, settings_of

WORKERS = {
    "app/__init__.py": "",
    "app/main.py": f"from app.tasks import queue\n{APP}",
    "app/tasks.py": "import os\nfrom celery import Celery\nqueue = Celery('shop', broker=os.environ['QUEUE_URL'])\n",
}


@pytest.mark.parametrize(
    ("file", "text", "commands"),
    [
        ("Procfile", "web: uvicorn app.main:app\nworker: celery -A app.tasks worker --loglevel=info -Q mail,bills\n", ["celery -A app.tasks worker --loglevel=info -Q mail,bills"]),
        ("docker-compose.yml", "  worker:\n    command: [\"celery\", \"-A\", \"app.tasks.queue\", \"worker\", \"-l\", \"info\"]\n", ["celery -A app.tasks.queue worker -l info"]),
        ("compose.yaml", "  beat:\n    command: celery --app=app.tasks beat --schedule=/data/beat\n", ["celery --app=app.tasks beat --schedule=/tmp/celerybeat-schedule --pidfile="]),
        ("docker-compose.yml", "    command: sh -c 'celery -A app.tasks worker -B'\n", ["celery -A app.tasks worker -B --schedule=/tmp/celerybeat-schedule"]),
        ("Procfile", "a: arq app.tasks.WorkerSettings\r\nb: dramatiq app.tasks\r\n", ["arq app.tasks.WorkerSettings", "dramatiq app.tasks"]),
        # Options before the application or the subcommand, and what only a container or a terminal needs.
        ("compose.yaml", "  w:\n    command: ['celery', '--workdir=/srv', '-A', 'app.tasks', 'worker', '-l', 'INFO']\n", ["celery -A app.tasks worker -l INFO"]),
        ("compose.yaml", "  w:\n    command:\n      [\n        \"celery\",\n        \"-A\", \"app.tasks\",\n        \"worker\"\n      ]\n", ["celery -A app.tasks worker"]),
        ("compose.yaml", "  w:\n    command:\n      - celery\n      - -A\n      - app.tasks\n      - worker\n    ports:\n      - x\n", ["celery -A app.tasks worker"]),
        ("compose.yaml", "  w:\n    command: >\n      celery -A app.tasks\n      worker -l info\n    restart: always\n", ["celery -A app.tasks worker -l info"]),
        ("start.sh", "exec celery -A app.tasks.queue --loglevel=info worker \\\n  --logfile=/var/log/w.log -c ${COUNT:-2} &\n", ["celery -A app.tasks.queue worker --loglevel=info -c 2"]),
        ("Procfile", "w: celery -A app.tasks -b redis://redis:6379/0 worker\n", ["celery -A app.tasks worker"]),
        ("Procfile", "w: celery worker -A app.tasks -n $NAME\n", ["celery -A app.tasks worker"]),
        ("Procfile", "w: poetry run taskiq worker --fs-discover app.tasks:queue\n", ["taskiq worker --fs-discover app.tasks:queue"]),
        ("Procfile", "w: taskiq scheduler app.tasks:clock\n", ["taskiq scheduler app.tasks:clock"]),
        ("Procfile", "w: saq app.tasks.settings\nx: huey_consumer app.tasks.queue -w 4\n", ["saq app.tasks.settings", "huey_consumer app.tasks.queue -w 4"]),
        ("Procfile", "w: dramatiq -p 2 app.tasks --watch .\nx: python -m arq app.tasks.Settings\n", ["dramatiq -p 2 app.tasks", "arq app.tasks.Settings"]),
        ("Dockerfile", 'CMD ["sh", "-c", "sleep 5 && celery -A app.tasks worker"]\n', ["celery -A app.tasks worker"]),
        ("worker.service", "ExecStart=/srv/shop/.venv/bin/celery -A app.tasks worker -l info\n", ["celery -A app.tasks worker -l info"]),
        ("supervisord.conf", "[program:w]\ncommand=celery -A app.tasks worker\nuser=x\n", ["celery -A app.tasks worker"]),
        ("compose.yaml", "  w:\n    command: ['/opt/bin/celery', '-A', 'app.tasks', 'worker']\n", ["celery -A app.tasks worker"]),
        ("Procfile", "w: celery --app=app.tasks worker\n", ["celery --app=app.tasks worker"]),
        ("start.sh", "celery -A app.tasks worker -n 'a\nb'\n", ["celery -A app.tasks worker -n a"]),
        ("compose.yaml", "services:\n  w: {command: celery -A app.tasks worker -c ${N:-2}}\n", ["celery -A app.tasks worker -c 2"]),
        # The same twice; for development; of something else.
        ("docker-compose.yml", "    command: arq app.tasks.Settings\n    command: arq app.tasks.Settings\n", ["arq app.tasks.Settings"]),
        ("deploy/latest/docker-compose.yml", "    command: arq app.tasks.Settings\n", ["arq app.tasks.Settings"]),
        ("docker-compose.dev.yml", "    command: arq app.tasks.Settings\n", []),
        ("README.md", "    arq app.tasks.Settings\n", []),
        ("Procfile", "worker: celery -A other.tasks worker\n", []),
    ],
)  # fmt: skip
def test_a_worker_of_a_queue_becomes_a_service(tmp_path, file, text, commands):
    found = settings_of(tmp_path, {**WORKERS, file: text})
    assert [one["command"] for one in found.get("services", [])] == commands
    assert [one["name"] for one in found.get("services", [])] == ["worker", "worker-2"][: len(commands)] or re.search(
        "beat|scheduler", text
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("Procfile", "w: rq worker high low\n", "Procfile:1: not understood: `rq worker high low`; add what it runs to services"),
        ("compose.yaml", "  w:\n    command: celery multi start w1 -A app.tasks\n", "compose.yaml:2: not understood: `celery multi start w1 -A app.tasks`"),
        ("compose.yaml", "  w:\n    command: >\n      celery $MODE\n", "not understood: `celery $MODE`"),
        ("compose.yaml", "  w:\n    command: [\"celery\", \"worker\"]\n", "not understood: `celery worker`"),
        ("supervisord.conf", "command = /opt/bin/rq worker\n", "not understood: `rq worker`"),
        # A monitor, another text, and one that is found.
        ("compose.yaml", "  w:\n    command: celery -A app.tasks flower\n", ""),
        ("start.sh", "echo starting celery workers\n", ""),
        ("Procfile", "w: celery -A app.tasks worker\n", ""),
        ("compose.yaml", "  celery worker:\n    container_name: celery worker\n    image: x\n", ""),
    ],
)  # fmt: skip
def test_a_worker_that_is_not_understood_is_reported(tmp_path, file, text, said):
    notes = notes_of(tmp_path, {**WORKERS, file: text})
    assert said in notes
    assert ("not understood" in notes) is bool(said)


def test_a_broker_in_an_option_of_celery_is_reported(tmp_path):
    tasks = "from celery import Celery\nqueue = Celery('shop')\n"
    files = {**WORKERS, "app/tasks.py": tasks, "Procfile": "w: celery -A app.tasks -b redis://redis:6379 worker\n"}
    assert "CELERY_BROKER_URL, which Celery reads itself, to {valkey_celery_url}" in notes_of(tmp_path, files)


def test_what_only_a_worker_reads_is_found(tmp_path):
    files = {
        **WORKERS,
        "Procfile": "w: arq app.jobs.Settings\n",
        "app/jobs.py": "import os\nHOOK = os.environ['HOOK_URL']\n",
    }
    assert "HOOK_URL" in notes_of(tmp_path, files)
    del files["Procfile"]
    assert "HOOK_URL" not in notes_of(tmp_path / "without", files)


@pytest.mark.parametrize(
    ("broker", "value"),
    [
        ("Celery('x', broker=os.environ['QUEUE'])", "{valkey_celery_url}"),
        ("Celery('x')\nqueue.conf.broker_url = os.getenv('QUEUE', 'redis://redis:6379/0')", "{valkey_celery_url}"),
        ("Celery('x')\nqueue.conf.update(result_backend=os.environ['QUEUE'])", "{valkey_celery_url}"),
        ("Celery('x', broker=os.getenv('QUEUE', 'amqp://guest@mq'))", None),
        ("Celery('x')\nclass C:\n  CELERY_BROKER_URL = os.environ['QUEUE']\nqueue.config_from_object(C, namespace='CELERY')", "{valkey_celery_url}"),
        ("Celery('x')\nclass C:\n  CELERY_BROKER_URL = os.getenv('QUEUE', 'amqp://mq')\nqueue.config_from_object(C, namespace='CELERY')", None),
    ],
)  # fmt: skip
def test_the_broker_of_celery_is_valkey(tmp_path, broker, value):
    found = settings_of(
        tmp_path, {**WORKERS, "app/tasks.py": f"import os\nfrom celery import Celery\nqueue = {broker}\n"}
    )
    assert found.get("backend_environment", {}).get("QUEUE") == value
    assert ("valkey" in found) is (value is not None)


def test_results_of_celery_in_mongodb_do_not_name_the_applications_database(tmp_path):
    code = (
        "import os\nfrom celery import Celery\nfrom pymongo import MongoClient\nqueue = Celery('shop')\n"
        "class Config:\n    CELERY_RESULT_BACKEND = os.environ['CELERY_RESULT_BACKEND']\n"
        "client = MongoClient(os.environ['MONGO_URL'])\n"
    )
    example = "CELERY_RESULT_BACKEND=mongodb://root:root@mongodb:27017/celery\n"
    found = settings_of(tmp_path, {**WORKERS, "app/tasks.py": code, ".env.example": example})
    assert "mongodb_database" not in found
    assert found["backend_environment"]["CELERY_RESULT_BACKEND"] == "{mongo_url}"


def test_a_broker_without_a_variable_is_reported(tmp_path):
    files = {**WORKERS, "app/tasks.py": "from celery import Celery\nqueue = Celery('shop')\n"}
    assert "found no variable with the URL of Celery's broker" in notes_of(tmp_path, files)
    assert "Celery's broker" not in notes_of(tmp_path / "with", WORKERS)


WORKSPACE = {
    "pyproject.toml": '[project]\nname = "root"\nversion = "0"\n[tool.uv.workspace]\nmembers = ["packages/*", "services/*"]\n',
    "packages/common/pyproject.toml": '[project]\nname = "common"\ndependencies = ["pymongo"]\n',
    "packages/common/src/common/__init__.py": "",
    "packages/common/src/common/db.py": "import os\nfrom pymongo import MongoClient\ndb = MongoClient(os.environ['MONGODB_URI']).orders\n",
    "packages/other/pyproject.toml": '[project]\nname = "other"\n',
    "packages/other/src/other/__init__.py": "import os\nos.environ['NOT_READ']\n",
    "services/api/pyproject.toml": '[project]\nname = "api"\ndependencies = ["fastapi", "uvicorn", "common"]\n',
    "services/api/src/api/__init__.py": "",
    "services/api/src/api/main.py": f"from common.db import db\n{APP}",
}


def test_packages_of_the_repository_are_imported_from_where_they_are(tmp_path):
    lock = '[[package]]\nname = "api"\nsource = { editable = "services/api" }\n[[package]]\nname = "pymongo"\n'
    found = settings_of(tmp_path, {**WORKSPACE, "uv.lock": lock})
    assert (found["backend_source"], found["backend_app"]) == (".", "api.main:app")
    assert found["backend_environment"] == {
        "MONGODB_URI": "{mongo_url}",
        "PYTHONPATH": "services/api/src:packages/common/src",
    }
    assert found["backend_requirements"] == "services/api/pyproject.toml"
    assert found["mongodb_database"] == "orders"
    assert "pymongo" not in notes_of(tmp_path, {}), "the lock of the workspace lists it"
    steps = [command for command, _ in next_steps(read(tmp_path, {}), "host")]
    assert "slipway lock" not in steps


def test_of_the_same_worker_for_several_environments_that_for_production_is_taken(tmp_path):
    files = {
        **WORKERS,
        "docker-compose.yml": "    command: celery -A app.tasks worker -l debug\n",
        "docker-compose.prod.yml": "    command: celery -A app.tasks worker -l warning\n    command: celery -A app.tasks worker -Q mail\n",
    }
    commands = [one["command"] for one in settings_of(tmp_path, files)["services"]]
    assert commands == ["celery -A app.tasks worker -l warning", "celery -A app.tasks worker -Q mail"]
