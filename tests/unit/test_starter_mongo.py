"""The settings that connect a backend to the site's MongoDB, whatever its variables are called."""

from __future__ import annotations

import pytest

from support.repositories import APP, PINNED, notes_of, read, settings_of

PARTS = {
    "host": "{mongo_host}",
    "port": "{mongo_port}",
    "user": "{mongo_user}",
    "password": "{mongo_password}",
    "database": "{mongo_database}",
}


def found(top, code: str, **more: str) -> dict[str, object]:
    rows = read(
        top, {"main.py": f"import os\nimport db\n{APP}", "db.py": f"import os\nimport pymongo\n{code}\n", **more}
    )
    return {one.setting: one.value for one in rows.all_found}


@pytest.mark.parametrize(
    "name",
    ["MONGODB_URI", "MONGODB_URL", "DATABASE_URL", "MONGO_DETAILS", "MONGO_URI", "DB_URL", "MONGO_CONNECTION_STRING", "ATLAS_URI"],
)  # fmt: skip
def test_the_url_is_known_by_its_name(tmp_path, name):
    assert found(tmp_path, f"os.environ['{name}']")["backend_environment"] == {name: "{mongo_url}"}


def test_the_url_is_known_by_what_connects_to_it(tmp_path):
    code = "from motor.motor_asyncio import AsyncIOMotorClient\nclient = AsyncIOMotorClient(os.environ['WHERE'])"
    assert found(tmp_path, code)["backend_environment"] == {"WHERE": "{mongo_url}"}


@pytest.mark.parametrize(
    "code",
    [
        "if os.getenv('TESTING', ''):\n    url = 'mongodb://localhost'\nelse:\n    url = os.environ['WHERE']\npymongo.MongoClient(url)",
        "pymongo.MongoClient('mongodb://localhost' if __debug__ else os.environ['WHERE'])",
        "def connect():\n    url = 'mongodb://localhost'\n    if __debug__:\n        url = os.environ['WHERE']\n    return pymongo.MongoClient(url)",
        "if not (url := os.getenv('WHERE')):\n    raise SystemExit\npymongo.MongoClient(url)",
        "pymongo.MongoClient(**{'host': os.environ['WHERE']})",
    ],
)
def test_the_url_is_known_wherever_the_code_gets_it_from(tmp_path, code):
    rows = found(tmp_path, code)
    assert rows["backend_environment"] == {"WHERE": "{mongo_url}"}
    assert "is in the code" not in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    "code",
    [
        "def start(app, url):\n    return pymongo.MongoClient(url)\nstart(None, str(os.environ['WHERE']))",
        "def start(url):\n    return pymongo.MongoClient(url)\nstart(url=os.environ['WHERE'])\nstart(os.environ['WHERE'])",
        "class Db:\n    def __init__(self, url):\n        self.url = url\n    def open(self):\n        return pymongo.MongoClient(self.url)\ndb = Db(os.environ['WHERE'])",
        "class Db:\n    def open(self, url):\n        return pymongo.MongoClient(url)\ndb = Db()\ndb.open(os.environ['WHERE'])",
        "def start(url):\n    if not url:\n        start(url)\n    return pymongo.MongoClient(url)\nstart(os.environ['WHERE'])",
    ],
)
def test_the_url_is_known_as_a_parameter(tmp_path, code):
    assert found(tmp_path, code)["backend_environment"] == {"WHERE": "{mongo_url}"}


def test_the_database_is_known_as_a_parameter_of_a_class(tmp_path):
    code = (
        "class Db:\n    def __init__(self, name):\n        self.name = name\n"
        "        self.client = pymongo.MongoClient(os.environ['MONGO_URL'])\n        self.db = self.client[self.name]\n"
        "NAME = 'images'\ndb = Db(NAME)"
    )
    assert found(tmp_path, code)["mongodb_database"] == "images"
    # Which of the two is the main one is unknown.
    assert "mongodb_database" not in found(tmp_path / "two", f"{code}\nother = Db('other')")


@pytest.mark.parametrize(
    "composed", ["'mongodb://{u}:{p}@{h}:{n}/'.format(u=U, p=P, h=H, n=N)", "f'mongodb://{U}:{P}@{H}:{N}/'"]
)
def test_the_parts_are_known_in_the_body_of_a_class(tmp_path, composed):
    names = "".join(f"    {name} = os.environ.get('MD_{name}')\n" for name in "UPHN")
    assert found(tmp_path, f"class Config:\n{names}    URL = {composed}")["backend_environment"] == {
        "MD_U": "{mongo_user}",
        "MD_P": "{mongo_password}",
        "MD_H": "{mongo_host}",
        "MD_N": "{mongo_port}",
    }


def test_the_parts_are_known_in_a_dictionary_of_options(tmp_path):
    code = "O = {'host': os.environ['A'], 'port': 27017, 'username': os.environ['B'], 'password': os.environ['C']}\npymongo.MongoClient(**O)"
    assert found(tmp_path, code)["backend_environment"] == {
        "A": "{mongo_host}",
        "B": "{mongo_user}",
        "C": "{mongo_password}",
    }


def test_the_url_is_known_by_its_default_or_example(tmp_path):
    assert found(tmp_path / "a", "os.getenv('STORE', 'mongodb://localhost')")["backend_environment"] == {
        "STORE": "{mongo_url}"
    }
    example = {".env.example": "STORE=mongodb://localhost:27017/shop\n"}
    rows = found(tmp_path / "b", "os.environ['STORE']", **example)
    assert rows["backend_environment"] == {"STORE": "{mongo_url}"}
    assert rows["mongodb_database"] == "shop"


def test_mongo_url_is_set_by_default(tmp_path):
    assert "backend_environment" not in found(tmp_path, "pymongo.MongoClient(os.environ['MONGO_URL'])")


def test_another_database_is_not_mongodbs(tmp_path):
    code = "import sqlalchemy\nos.environ['DATABASE_URL']\nos.environ['MONGO_DSN']"
    assert found(tmp_path, code)["backend_environment"] == {"MONGO_DSN": "{mongo_url}"}
    example = {".env.example": "DATABASE_URL=postgresql://localhost/x\n"}
    assert found(tmp_path / "b", "os.getenv('DATABASE_URL', None)", **example)["backend_environment"] == {}


@pytest.mark.parametrize(
    "name", ["REDIS_DB", "POSTGRES_DB", "PG_DATABASE", "CACHE_HOST", "MONGO_COLLECTION", "DB_POOL_SIZE"]
)
def test_what_is_of_other_servers_is_not_mongodbs(tmp_path, name):
    assert found(tmp_path, f"os.environ['{name}']").get("backend_environment", {}) == {}


def test_parts_of_the_url_are_known_by_their_names(tmp_path):
    names = {"host": "DB_HOST", "port": "DB_PORT", "user": "DB_USERNAME", "password": "DB_PASS", "database": "DB_NAME"}
    code = "\n".join(f"os.environ['{name}']" for name in names.values())
    assert found(tmp_path, code)["backend_environment"] == {names[part]: PARTS[part] for part in PARTS}


@pytest.mark.parametrize(
    "url",
    [
        "f'mongodb://{U}:{P}@{H}:{N}/?authSource=admin'",
        "'mongodb://%s:%s@%s:%s/?authSource=admin' % (U, P, H, N)",
        "'mongodb://{}:{}@{}:{}'.format(U, P, H, N)",
        "'mongodb://' + U + ':' + P + '@' + H + ':' + N",
        "MongoDsn.build(scheme='mongodb', username=U, password=P, host=H, port=N)",
    ],
)
def test_parts_of_the_url_are_known_by_their_places(tmp_path, url):
    code = f"U, P = os.environ['ONE'], os.environ['TWO']\nH, N = os.environ['THREE'], os.environ['FOUR']\nurl = {url}"
    expected = {"ONE": "user", "TWO": "password", "THREE": "host", "FOUR": "port"}
    assert found(tmp_path, code)["backend_environment"] == {name: PARTS[part] for name, part in expected.items()}
    assert "authSource" not in notes_of(tmp_path, {})


def test_parts_are_known_as_arguments(tmp_path):
    code = "pymongo.MongoClient(os.environ['A_HOST'], int(os.environ['B']), username=os.environ['C'], password=os.environ['D'])"
    expected = {"A_HOST": "host", "B": "port", "C": "user", "D": "password"}
    assert found(tmp_path, code)["backend_environment"] == {name: PARTS[part] for name, part in expected.items()}


LOGIN = "{mongo_user}:{secrets.MONGODB_BACKEND_PASSWORD:url}@{mongo_host}"


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("url = f\"mongodb://{os.environ['A']}:{os.environ['B']}\"", {"A": LOGIN, "B": "{mongo_port}"}),
        ("url = f\"mongodb://{os.environ['A']}:27017/{os.environ['D']}\"", {"A": LOGIN, "D": "{mongo_database}"}),
        (
            "pymongo.MongoClient(os.environ['A_HOST'], int(os.environ['B']))",
            {"A_HOST": "{mongo_url}", "B": "{mongo_port}"},
        ),
        (
            "from mongoengine import connect\nconnect('shop', host=os.environ['A_HOST'], port=27017)",
            {"A_HOST": "{mongo_url}"},
        ),
        # Where there is a user too, it is for that.
        (
            "os.environ['MONGO_USER']\nurl = f\"mongodb://{os.environ['A']}:27017\"",
            {"MONGO_USER": "{mongo_user}", "A": "{mongo_host}"},
        ),
    ],
)
def test_what_is_composed_without_a_user_gets_one_with_the_host(tmp_path, code, values):
    assert found(tmp_path, code)["backend_environment"] == values


@pytest.mark.parametrize(
    ("appended", "value"),
    [
        ("/shop", f"mongodb://{LOGIN}:{{mongo_port}}"),
        ("/{os.environ['DB_NAME']}?authSource=admin", f"mongodb://{LOGIN}:{{mongo_port}}"),
        ("{os.environ['DB_NAME']}", f"mongodb://{LOGIN}:{{mongo_port}}/"),
        ("?retryWrites=true", f"mongodb://{LOGIN}:{{mongo_port}}/{{mongo_database}}"),
    ],
)
def test_a_url_to_which_the_code_appends_ends_where_that_begins(tmp_path, appended, value):
    code = f"pymongo.MongoClient(f\"{{os.environ['MONGO_URL']}}{appended}\")"
    assert found(tmp_path, code)["backend_environment"]["MONGO_URL"] == value


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("client['shop']", "shop"),
        ("db = client.shop", "shop"),
        ("users = client.shop.users", "shop"),
        ("db = client.get_database('shop')", "shop"),
        ("NAME = 'shop'\ndb = client[NAME]", "shop"),
        ("db = client[os.getenv('DB_NAME', 'shop')]", "shop"),
        ("db = getattr(client, 'shop')", "shop"),
        (
            "class D:\n    def __init__(self):\n        self.c = pymongo.MongoClient()\n        self.db = self.c['shop']",
            "shop",
        ),
        ("def get():\n    return client.shop", "shop"),
        ("client.admin.command('ping')\ndb = client['shop']", "shop"),
        ("from odmantic import AIOEngine\nengine = AIOEngine(client=client, database='shop')", "shop"),
        ("from mongoengine import connect\nconnect('shop', host=os.environ['MONGO_URL'])", "shop"),
        ("db: object = client.shop", "shop"),
        ("db = pymongo.MongoClient(os.environ['MONGO_URL'])['shop']\ndb['users']", "shop"),
        ("db = client.get_default_database()", None),
        ("client.close()\nx = client.address", None),
        ("settings = {'shop': 1}\nsettings['shop']", None),
        ("def f(db: pymongo.MongoClient):\n    return db['users']", None),
    ],
)
def test_the_database_is_found(tmp_path, use, name):
    code = f"client = pymongo.MongoClient(os.environ['MONGO_URL'])\n{use}"
    assert found(tmp_path, code).get("mongodb_database") == name


def test_the_database_is_found_across_modules(tmp_path):
    files = {
        "main.py": f"import store\n{APP}",
        "store.py": "from base import client\nfrom config import settings\ndb = client[settings.database]\n",
        "base.py": "import motor.motor_asyncio as m\nfrom config import settings\n"
        "client = m.AsyncIOMotorClient(settings.where.get_secret_value())\n",
        "config.py": "from functools import lru_cache\nfrom pydantic import SecretStr\nfrom pydantic_settings import BaseSettings\n"
        "class Settings(BaseSettings):\n    where: SecretStr\n    database: str = 'shop'\n"
        "@lru_cache\ndef get() -> Settings:\n    return Settings()\nsettings = get()\n",
    }
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["mongodb_database"] == "shop"
    assert rows["backend_environment"] == {"WHERE": "{mongo_url}", "DATABASE": "{mongo_database}"}
    assert "backend_secrets" not in rows


def test_a_name_may_be_a_property_of_settings(tmp_path):
    files = {
        "main.py": f"from config import s\nimport pymongo\n{APP}pymongo.MongoClient(s.url)\n",
        "config.py": "from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    a: str\n    b: str\n    c: str\n"
        "    @property\n    def url(self):\n        return f'mongodb://{self.a}:{self.b}@{self.c}'\ns = S()\n",
    }
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["backend_environment"] == {"A": "{mongo_user}", "B": "{mongo_password}", "C": "{mongo_host}"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("pymongo.MongoClient('mongodb://localhost:27017')", "MongoDB's address is in the code"),
        ("pymongo.MongoClient()", "MongoDB's address is in the code"),
        ("url = f\"mongodb+srv://{os.environ['U']}@{os.environ['H']}\"", "mongodb+srv:// is for clusters"),
        ("pymongo.MongoClient(os.environ['M'], tlsCAFile=certifi.where())", "connects by TLS"),
        ("pymongo.MongoClient(os.environ['M'], tls=True)", "connects by TLS"),
        ("pymongo.MongoClient(f\"{os.environ['MONGO_URL']}&w=1\")", "appends to MONGO_URL"),
        ("url = f\"mongodb://mongo:27017/{os.environ['D']}\"", "MongoDB's address is in the code"),
        ("url = f\"mongodb://{os.environ['U']}:{os.environ['P']}@mongo/\"", "MongoDB's host is 'mongo' in the code"),
        (
            "client = pymongo.MongoClient(os.environ['M'])\nclient['a']\nclient['a']\nclient['b']",
            "a second database, 'b'",
        ),
    ],
)
def test_what_cannot_reach_the_database_is_reported(tmp_path, code, said):
    files = {"main.py": f"import db\n{APP}", "db.py": f"import os, pymongo\n{code}\n"}
    assert f"db.py:{len(code.splitlines()) + 1}: {said}" in notes_of(tmp_path, files)


NESTED = """
from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from pymongo import AsyncMongoClient
class Mongo(BaseModel):
    host: str = "localhost"
    port: int = 27017
    user: str
    password: SecretStr
    database: str = "store"
class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")
    mongo: Mongo
def create_app(settings: Settings | None = None):
    m = (settings or Settings()).mongo
    AsyncMongoClient(f"mongodb://{m.user}:{m.password.get_secret_value()}@{m.host}:{m.port}")
"""


def test_the_parts_of_a_nested_model_are_known_by_the_names_of_their_variables(tmp_path):
    found = settings_of(tmp_path, {"main.py": f"{APP}{NESTED}", "requirements.txt": PINNED})
    assert found["backend_environment"] == {
        "SHOP_MONGO__HOST": "{mongo_host}",
        "SHOP_MONGO__PORT": "{mongo_port}",
        "SHOP_MONGO__USER": "{mongo_user}",
        "SHOP_MONGO__PASSWORD": "{mongo_password}",
        "SHOP_MONGO__DATABASE": "{mongo_database}",
    }
    assert found["mongodb_database"] == "store"
    assert "backend_secrets" not in found


def test_an_address_of_mongodb_that_is_in_no_variable_is_reported(tmp_path):
    code = "import yaml\nfrom mongoengine import connect\nCFG = yaml.safe_load(open('c.yaml'))\nconnect(db=CFG['db'], host=CFG['host'])\n"
    said = notes_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert 'main.py:4: found no variable with MongoDB\'s address; read os.environ["MONGO_URL"]' in said
    own = "import os\nfrom pymongo import MongoClient\nc = MongoClient(os.environ['MONGO_URL'])\n"
    assert "found no variable" not in notes_of(tmp_path / "own", {"main.py": f"{APP}{own}"})


def test_a_client_of_a_with_statement_is_one(tmp_path):
    code = "import os\nfrom pymongo import AsyncMongoClient\nasync def lifespan(app):\n    async with AsyncMongoClient(os.environ['DB_URI']) as c:\n        app.state.db = c['inventory']\n        yield\n"
    found = settings_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert found["mongodb_database"] == "inventory"
    assert found["backend_environment"] == {"DB_URI": "{mongo_url}"}
