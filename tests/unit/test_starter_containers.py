"""What a repository's containers run beside the backend, and Celery's broker in the code."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of

COMPOSE = "services:\n  api:\n    build: api\n    command: uvicorn main:app\n"


def said(top, more: str, **files: str) -> str:
    return notes_of(top, {"api/main.py": APP, "docker-compose.yml": f"{COMPOSE}{more}", **files})


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("    build: ./api\n    command: python listen.py --all\n", "python listen.py --all"),
        ("    build:\n      context: ./api\n    command: [python, listen.py]\n", "python listen.py"),
        ("    build:\n      context: .\n      dockerfile: api/listen.Dockerfile\n", "python listen.py"),
    ],
)
def test_another_process_is_reported(tmp_path, service, command):
    files = {"api/listen.Dockerfile": 'FROM python\nCMD ["python", "listen.py"]\n'}
    notes = said(tmp_path, f"  listen:\n{service}", **files)
    assert f"a container runs it beside the backend: `{command}`; add it to services" in notes


@pytest.mark.parametrize(
    "service",
    [
        "    build: ./web\n    command: python -m http.server\n",
        "    build: ./api\n    command: celery -A main worker\n",
        "    build: ./api\n    command: pytest --cov listen.py\n",
        "    build: ./api\n    command: sh start-worker.sh\n",
        "    image: mongo\n    command: python listen.py\n",
    ],
)
def test_what_is_no_process_of_the_backend_is_not_reported(tmp_path, service):
    files = {"api/start-worker.sh": "celery -A main worker\n"}
    assert "beside the backend" not in said(tmp_path, f"  listen:\n{service}", **files)


@pytest.mark.parametrize(
    ("more", "is_first"),
    [
        ('    restart: "no"\n', True),
        ("  other:\n    image: x\n    depends_on:\n      migrate:\n        condition: service_completed_successfully\n", True),
        ("    restart: always\n", False),
    ],
)  # fmt: skip
def test_a_process_that_ends_runs_before_the_backend(tmp_path, more, is_first):
    notes = said(tmp_path, f"  migrate:\n    build: api\n    command: python migrate.py\n{more}")
    assert ("docker-compose.yml:5: runs before the backend: `python migrate.py`" in notes) is is_first


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"api/prestart.sh": "python seed.py\n"}, "prestart.sh"),
        ({"api/Dockerfile": 'CMD ["sh", "-c", "python seed.py && uvicorn main:app"]\n'}, "python seed.py"),
        ({"api/Dockerfile": "CMD cd /app && python seed.py && exec uvicorn main:app\n"}, "python seed.py"),
        ({"api/start.sh": "#!/bin/sh\ncd /python\nsleep 3\npython seed.py\nexec uvicorn main:app\n"}, "python seed.py"),
    ],
)
def test_a_command_before_the_server_is_reported(tmp_path, files, command):
    notes = notes_of(tmp_path, {"api/main.py": APP, **files})
    assert notes.count("runs before the backend") == 1
    assert f"runs before the backend: `{command}`; if a release needs it, set pre_activate" in notes


ENTRY = 'FROM python\nRUN pip install fastapi\nCOPY . /srv\nENTRYPOINT ["/srv/entry.sh"]\nCMD ["uvicorn", "main:app"]\n'


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("set -e\nalembic upgrade head\npython seed.py\nexec \"$@\"\n", ["alembic upgrade head", "python seed.py"]),
        ("if [ -n \"$SEED\" ]; then python seed.py; fi\nexec \"$@\"\n", ["python seed.py"]),
        ("python -m shop.seed \\\n  --all && \\\n  python more.py\nexec \"$@\"\n", ["python -m shop.seed --all", "python more.py"]),
        ("python -c 'import a; a.b()'\nexec \"$@\"\n", ["python -c 'import a; a.b()'"]),
        ("echo \"run alembic; python seed.py\"\n# python seed.py\nwait-for-it.sh db:27017\nexec \"$@\"\n", []),
        ("until python ping.py; do sleep 1; done\nexec \"$@\"\npython seed.py\n", []),
        ("python seed.py 2>&1 || exit 1\nexec gosu app \"$@\"\n", ["python seed.py 2>&1"]),
    ],
)  # fmt: skip
def test_what_the_script_of_an_entrypoint_runs_first_is_reported(tmp_path, script, commands):
    files = {"api/main.py": APP, "api/Dockerfile": ENTRY, "api/entry.sh": f"#!/bin/sh\n{script}"}
    notes = notes_of(tmp_path, files)
    assert notes.count("runs before the backend") == len(commands)
    for command in commands:
        assert f"runs before the backend: `{command}`; if a release needs it, set pre_activate" in notes


def test_what_the_script_of_an_entrypoint_leaves_in_the_background_is_beside_the_backend(tmp_path):
    files = {"main.py": APP, "Dockerfile": ENTRY, "entry.sh": '#!/bin/sh\npython listen.py &\nexec "$@"\n'}
    notes = notes_of(tmp_path, files)
    assert "entry.sh:2: a container runs it beside the backend: `python listen.py`; add it to services" in notes


@pytest.mark.parametrize(
    ("files", "place"),
    [
        # Copied by another name and without a suffix; below the folder of the Dockerfile; as a word of a shell.
        ({"api/Dockerfile": ENTRY.replace("COPY .", "COPY tools/first /srv/entry.sh\nCOPY ."), "api/tools/first": "#!/bin/bash\npython seed.py\n"}, "api/tools/first:2"),
        ({"api/Dockerfile": ENTRY, "api/tools/entry.sh": "python seed.py\n"}, "api/tools/entry.sh:1"),
        ({"api/Dockerfile": ENTRY.replace('["/srv', '["tini", "--", "sh", "/srv'), "api/entry.sh": "python seed.py\n"}, "api/entry.sh:1"),
        # The stage that it is made from, and not another one.
        ({"api/Dockerfile": f"{ENTRY.replace('FROM python', 'FROM python AS base')}FROM x AS y\nENTRYPOINT [\"other.sh\"]\nFROM base\nCMD uvicorn main:app\n", "api/entry.sh": "python seed.py\n", "api/other.sh": "python x.py\n"}, "api/entry.sh:1"),
        # That of a compose file or of the service that it starts, and the nearest one.
        ({"compose.yaml": "services:\n  x:\n    build: api\n    entrypoint: [sh, entry.sh]\n    command: uvicorn main:app\n", "api/entry.sh": "python seed.py\n"}, "api/entry.sh:1"),
        ({"docker/x.Dockerfile": ENTRY, "compose.yaml": "services:\n  x:\n    build: {context: api, dockerfile: ../docker/x.Dockerfile}\n    command: uvicorn main:app\n", "api/entry.sh": "python seed.py\n"}, "api/entry.sh:1"),
        ({"api/Dockerfile": ENTRY.replace('"uvicorn", "main:app"', '"python", "main.py"'), "api/entry.sh": "python seed.py\n"}, "api/entry.sh:1"),
    ],
)  # fmt: skip
def test_the_script_of_an_entrypoint_is_found(tmp_path, files, place):
    notes = notes_of(tmp_path, {"api/main.py": APP, **files})
    assert notes.count("runs before the backend") == 1
    assert f"{place}: runs before the backend: `python seed.py`" in notes


def test_a_script_that_another_one_runs_is_reported_once(tmp_path):
    files = {
        "main.py": APP,
        "Dockerfile": ENTRY,
        "entry.sh": './prestart.sh\nexec "$@"\n',
        "prestart.sh": "python x.py\n",
    }
    notes = notes_of(tmp_path, files)
    assert notes.count("runs before the backend") == 1
    assert "entry.sh:1: runs before the backend: `./prestart.sh`" in notes


@pytest.mark.parametrize(
    ("code", "address", "is_rabbit"),
    [
        ("tasks = Celery('a', broker='redis://localhost:6379/0')", "redis://localhost:6379/0", False),
        ("URL = 'redis://queue'\ntasks = Celery('a', broker=URL)", "redis://queue", False),
        ("tasks = Celery('a')\ntasks.conf.broker_url = 'amqp://guest:hunter2@queue//'", "amqp://queue//", True),
    ],
)
def test_a_broker_in_the_code_is_reported(tmp_path, code, address, is_rabbit):
    notes = notes_of(tmp_path, {"main.py": f"from celery import Celery\n{APP}{code}\n"})
    assert f"Celery's broker is in the code: {address!r}" in notes
    assert ("RabbitMQ, which Slipway does not install" in notes) is is_rabbit
    assert "found no variable with the URL of Celery's broker" not in notes
    assert "hunter2" not in notes


@pytest.mark.parametrize(
    ("command", "files", "is_told"),
    [
        ("python -m todo", {"todo/__main__.py": "from todo.cli import main\nmain()\n"}, False),
        ("python /srv/run.py", {"run.py": "import uvicorn\nuvicorn.run('todo.main:app')\n"}, False),
        ("python -m todo.cli", {}, False),
        ("python -m jobs", {"jobs.py": "import time\nfrom todo.main import app\n"}, True),
        ("python -m elsewhere", {}, True),
    ],
)
def test_a_container_that_starts_the_server_by_a_module_is_no_service(tmp_path, command, files, is_told):
    main = f"{APP}if __name__ == '__main__':\n    import uvicorn\n    uvicorn.run(app)\n"
    cli = "import uvicorn\n\ndef main():\n    uvicorn.run('todo.main:app', port=80)\n"
    compose = f"services:\n  web:\n    build: .\n    command: {command}\n"
    files = {"todo/__init__.py": "", "todo/main.py": main, "todo/cli.py": cli, "docker-compose.yml": compose, **files}
    notes = notes_of(tmp_path, files)
    assert (f"a container runs it beside the backend: `{command}`; add it to services" in notes) is is_told
