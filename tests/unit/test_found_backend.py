"""What the previous backend reads and writes: its MongoDB, its database, its files."""

from __future__ import annotations

import re

import pytest

from slipway.adoption import backend, backend_data
from support.obstacles import SERVICE, told
from support.previous_backend import ROOT, ask, server_in, write


@pytest.fixture
def server(tmp_path):
    return server_in(tmp_path)


# --- The database ----------------------------------------------------------------------------------------------------


def test_where_the_variables_lead_is_told_without_their_passwords(server):
    text = """
export MONGO_URL = "mongodb+srv://shop:hunter2@cluster0.ab1c.mongodb.net/prod?retryWrites=true"
REPLICAS='mongodb://u:hunter2@db.internal:27017,localhost/'
OWN=mongodb://u:p%40ss@own.example:27018/shop?x=y@z  # hunter2
HERE=mongodb://[::1]:27017
MONGODB_HOST=10.0.0.5
DB_NAME=of_the_file
DB_PASSWORD=hunter2
ODD=mongodb://u:hunter2/3@db.internal/x
"""
    write(server / ROOT[1:] / "backend/.env", text)
    found = ask(server)["databases"]
    assert found == [
        # systemd's own come before a .env.
        "DB_NAME - - of_the_unit",
        "MONGO_URL cluster0.ab1c.mongodb.net cluster0.ab1c.mongodb.net prod",
        "REPLICAS db.internal:27017,localhost db.internal:27017 -",
        "OWN own.example:27018 - shop",
        "HERE [::1]:27017 - -",
        "MONGODB_HOST 10.0.0.5 10.0.0.5 -",
    ]


def test_what_the_process_has_counts_and_then_the_last_file_of_the_unit(server):
    write(server / "etc/first", "DB_NAME=first\nLOG_DB=logs\n")
    write(server / "etc/last", "DB_NAME=last\n")
    files = f"{server}/etc/first (ignore_errors=no)\n{server}/etc/last (ignore_errors=yes)"
    assert ask(server, FILES=files)["databases"] == ["DB_NAME - - last", "LOG_DB - - logs"]
    (server / "proc/7/environ").write_bytes(b"DB_NAME=running\0X=y\0")
    assert ask(server, FILES=files)["databases"][0] == "DB_NAME - - running"


def test_a_file_that_uvicorn_reads_is_one_of_the_environment(server):
    write(server / ROOT[1:] / "backend/extra.env", "STRIPE_KEY=sk\nMONGO_URL=mongodb://db.internal/shop\n")
    found = ask(server)
    assert found["environment"] == ["MONGO_URL", "STRIPE_KEY"]
    assert "MONGO_URL db.internal db.internal shop" in found["databases"]


def test_a_database_that_code_names_is_known_unless_a_variable_has_its_place(server):
    top = server / ROOT[1:] / "backend"
    write(top / "a.py", 'db = client["of_client"]\nx = AsyncIOMotorClient(os.environ["MONGO_URL"])[\'of_call\']\n')
    write(
        top / "b.py", 'db = motor.get_database("of_method")\nos.environ.get("DB_NAME", "hidden")\nkey = row["title"]\n'
    )
    write(
        top / "c.py",
        'os.getenv("MONGO_DB", "of_default")\nclass S(BaseSettings):\n    database_name: str = "of_settings"\n',
    )
    write(top / "d.py", 'FEEDBACK = "no"\nlogs_db = "of_constant"\nos.getenv("OTHER", "no")\n')
    write(top / "venv/lib/e.py", 'client["no"]\n')
    named = [one.removeprefix("code - - ") for one in ask(server)["databases"][1:]]
    assert sorted(named) == ["of_call", "of_client", "of_constant", "of_default", "of_method", "of_settings"]


ATLAS = "MONGO_URL cluster0.mongodb.net cluster0.mongodb.net prod"
TWO = {"documents": {"codementee": 3, "test_database": 40}}
TO_ATLAS, TO_OTHER = f"{SERVICE}: MONGO_URL", "database test_database"


@pytest.mark.parametrize(
    ("line", "data", "given", "name"),
    [
        (ATLAS, {}, {}, TO_ATLAS),
        ("MONGO_URL 10.0.0.5:27017,localhost 10.0.0.5:27017 -", TWO, {}, TO_ATLAS),
        # The database is the user's own.
        (ATLAS, {}, {"backend_secrets": ["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL"]}, ""),
        (
            f"MONGODB_URI{ATLAS[9:]}",
            {},
            {"backend_environment": {"MONGODB_URI": "{mongo_url}"}},
            f"{SERVICE}: MONGODB_URI",
        ),
        (f"MONGODB_URI{ATLAS[9:]}", {}, {"backend_secrets": ["JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_URI"]}, ""),
        (
            "MONGO_HOST 10.0.0.5 10.0.0.5 -",
            {},
            {"backend_environment": {"MONGO_HOST": "{mongo_host}"}},
            f"{SERVICE}: MONGO_HOST",
        ),
        ("MONGO_HOST 10.0.0.5 10.0.0.5 -", {}, {"backend_environment": {"MONGO_HOST": "10.0.0.5"}}, ""),
        # Its own name, which the server does not resolve to an address of its own.
        ("MONGO_URL codementee.io:27017 codementee.io:27017 codementee", TWO, {}, ""),
        ("MONGO_URL localhost - -", TWO, {}, ""),
        ("MONGO_URL localhost - codementee", TWO, {}, ""),
        ("MONGO_URL localhost - test_database", TWO, {}, TO_OTHER),
        ("DB_NAME - - test_database", TWO, {"backend_environment": {"DB_NAME": "codementee"}}, TO_OTHER),
        ("code - - test_database", TWO, {}, TO_OTHER),
        ("DB_NAME - - test_database", TWO, {"mongodb_database": "test_database"}, ""),
        # Nothing is in it, or MongoDB's own obstacle names it.
        ("DB_NAME - - shop", TWO, {}, ""),
        ("DB_NAME - - test_database", {"documents": {"test_database": 40}}, {}, ""),
        # In a container of this server.
        ("MONGO_URL localhost:27018 - codementee", TWO, {}, TO_ATLAS),
        ("MONGO_URL localhost:27019 - codementee", TWO, {}, ""),
        ("MONGO_URL %2Ftmp%2Fmongodb-27017.sock - codementee", TWO, {}, ""),
    ],
)
def test_a_database_that_the_next_backend_would_not_use_is_named(monkeypatch, settings_with, line, data, given, name):
    for secret in given.get("backend_secrets", [])[2:]:
        monkeypatch.setenv(f"SLIPWAY_SECRET_{secret}", "mongodb://x/y")
    found = {f"databases {ROOT}": line, "listeners": "127.0.0.1:27018 docker-proxy docker.service"}
    assert told(backend_data.databases(found, data, settings_with(**given))) == ([name] if name else [])


def test_of_two_filled_databases_the_setting_is_said_or_that_one_is_to_hold_all(settings_with):
    found = {f"databases {ROOT}": "DB_NAME - - test_database"}
    (one,) = backend_data.databases(found, TWO, settings_with())
    assert one.found == f"40 documents in it and {SERVICE} using it (by DB_NAME)"
    assert one.need == 'mongodb_database = "test_database"'
    found[f"databases {ROOT}"] += "\nOTHER_DB - - codementee"
    (one,) = backend_data.databases(found, TWO, settings_with())
    assert one.need.endswith("or all data in codementee: Slipway's backend may use one database")
    found[f"folder {ROOT}"] = "backend -> current/backend"
    assert [*backend_data.databases(found, TWO, settings_with())] == []


# --- Files -----------------------------------------------------------------------------------------------------------

LATER = 1_790_000_000


def test_code_is_nothing_that_the_backend_writes_and_each_folder_is_told_once(server):
    top = server / ROOT[1:] / "backend"
    # A package named "media", and a `git pull` without a restart.
    for name in ("app/media/__init__.py", "app/media/router.py", "app/media/view.html", "media/app.js", "main.py"):
        write(top / name, time=LATER)
    for name in ("requirements.txt", "package.json", "README.md", ".env", "app.log", "venv/lib/new.bin"):
        write(top / name, time=LATER)
    assert ask(server)["written"] == []
    for number in range(5):
        write(top / f"uploads/2026/{number}.pdf", time=1)
        write(top / f"data/{number}.json", time=LATER)
    write(top / "old/data.json", time=1)
    write(top / "app.db", time=1)
    write(top / "app.db-wal", time=LATER)
    write(top.parent / "media/a.png", time=1)
    found = ask(server)["written"]
    assert [re.sub(r"\d\.", "N.", one) for one in sorted(found)] == [
        f"{ROOT}/backend/app.db",
        f"{ROOT}/backend/data/N.json",
        f"{ROOT}/backend/uploads/2026/N.pdf",
        f"{ROOT}/media/a.png",
    ]


def test_a_shared_folder_hides_no_database(settings_with):
    files = [*(f"{ROOT}/backend/uploads/{number}.pdf" for number in range(20)), f"{ROOT}/backend/app.db"]
    found = {f"written {ROOT}": "\n".join(files)}
    (one,) = backend.obstacles(found, settings_with(shared_paths=["uploads"]))
    assert (one.name, one.need) == (f"{ROOT}/backend/app.db", '"app.db" in shared_files')
    found = {f"written {ROOT}": f"{ROOT}/backend/app/uploads/2026/1.pdf"}
    (one,) = backend.obstacles(found, settings_with())
    assert one.need.startswith('"app/uploads" in shared_paths')


def test_places_outside_of_the_site_that_the_backend_writes_to_are_found(server):
    for folder in ("srv/uploads", "srv/exports", "opt/data", "home/dev/files", "var/lib/shop", "srv/read"):
        (server / folder).mkdir(parents=True)
    write(server / "srv/store/app.db")
    write(server / "srv/key.json")
    text = f"""
UPLOAD_DIR={server}/srv/uploads
FILES={server}/home/dev/files
KEY={server}/srv/key.json
HOME={server}/home/dev
INNER=./uploads
BESIDE=../beside
MISSING={server}/srv/missing
CERTIFICATES={server}/etc/ssl
DATABASE_URL=sqlite:///{server}/srv/store/app.db
"""
    top = server / ROOT[1:] / "backend"
    for folder in (top / "uploads", top.parent / "beside", server / "etc/ssl"):
        folder.mkdir(parents=True)
    write(top / ".env", text)
    write(top / "server.py", f"app.mount('/x', StaticFiles('{server}/srv/exports'))\nget('/data/items')\n")
    (server / "proc/7/fd/2").symlink_to(server / "var/www/app.log")
    for number, (name, flags) in enumerate({"var/lib/shop/q": "0102002", "srv/read/x": "0100000"}.items(), 5):
        write(server / name)
        (server / f"proc/7/fd/{number}").symlink_to(server / name)
        (server / f"proc/7/fdinfo/{number}").write_text(f"pos:\t0\nflags:\t{flags}\n")
    found = ask(server)["stores"]
    assert found == [
        "UPLOAD_DIR /srv/uploads",
        "FILES /home/dev/files",
        f"BESIDE {ROOT}/beside",
        "DATABASE_URL /srv/store/app.db",
        "open /var/lib/shop/q",
        "code /srv/exports",
    ]


def test_a_store_that_is_a_link_below_the_backend_is_none(server):
    top = server / ROOT[1:] / "backend/uploads"
    top.mkdir()
    (server / "srv/uploads").symlink_to(top)
    write(top.parent / ".env", f"UPLOAD_DIR={server}/srv/uploads\n")
    assert ask(server)["stores"] == []


def test_a_place_outside_of_the_site_is_named_with_what_brings_it_in(settings_with):
    lines = (
        "UPLOAD_DIR /srv/uploads\ncode /srv/uploads\nnewer /srv/uploads/1.pdf\nopen /srv/q.db\nopen /var/log/shop/a.log"
    )
    found = [*backend_data.stores({f"stores {ROOT}": f"HOME /root/x\n{lines}"}, settings_with())]
    assert told(found) == ["/srv/uploads", "/srv/q.db", "/var/log/shop/a.log"]
    assert "UPLOAD_DIR names, its code names, its user writes to" in found[0].found
    new = f"{ROOT}/backend/uploads"
    assert found[0].need == (
        f'it below the backend (mv /srv/uploads {new} && ln -s {new} /srv/uploads) and "uploads" in shared_paths'
    )
    assert found[1].need.endswith('"q.db" in shared_files')
    moved = settings_with(backend_environment={"UPLOAD_DIR": "uploads"})
    assert [*backend_data.stores({f"stores {ROOT}": "UPLOAD_DIR /srv/uploads"}, moved)] == []
    # Of a reason that is left it is said again.
    assert told(backend_data.stores({f"stores {ROOT}": lines}, moved))[0] == "/srv/uploads"
