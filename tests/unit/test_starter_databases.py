"""Which database of MongoDB is the application's, and which are others."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of, read

CLIENT = "import os\nimport pymongo\nclient = pymongo.MongoClient(os.environ['MONGO_URL'])\n"


def files(code: str, **more: str) -> dict[str, str]:
    return {"main.py": f"import db\n{APP}", "db.py": f"{CLIENT}{code}\n", **more}


def found(top, code: str, **more: str) -> dict[str, object]:
    return {one.setting: one.value for one in read(top, files(code, **more)).all_found}


ARCHIVE = "db = client[os.environ['NAME']]\ndb.client['gone']['a']\ndb.client['gone']['b']\ndb.client['gone']['c']"


def test_the_database_that_a_variable_selects_is_the_main_one(tmp_path):
    rows = found(tmp_path, ARCHIVE, **{".env.example": "NAME=shop\n"})
    assert rows["mongodb_database"] == "shop"
    assert rows["backend_environment"] == {"NAME": "{mongo_database}"}
    assert "a second database, 'gone'; the backend's user may use only mongodb_database ('shop')" in notes_of(
        tmp_path, {}
    )


def test_a_database_in_the_code_is_not_the_main_one_if_a_variable_without_a_value_selects_that(tmp_path):
    assert "mongodb_database" not in found(tmp_path, ARCHIVE)
    assert "a second database, 'gone'; the backend's user may use only mongodb_database" in notes_of(tmp_path, {})


HOLDER = (
    "class Store:\n    def __init__(self, stage='dev'):\n        self.stage = stage\n"
    "    @property\n    def connection(self) -> pymongo.MongoClient:\n        return client\n"
    "def store(stage: str = None):\n    if not stage:\n        stage = os.getenv('ENV', 'dev')\n    return Store(stage)\n"
)


def test_a_stage_that_selects_the_database_is_its_name(tmp_path):
    code = f"{HOLDER}def orders():\n    its = store()\n    return its.connection[its.stage]['orders']"
    rows = found(tmp_path, code)
    assert rows["mongodb_database"] == "production"
    assert rows["backend_environment"] == {"ENV": "{mongo_database}"}


def test_a_stage_that_selects_nothing_is_production(tmp_path):
    rows = found(tmp_path, f"{HOLDER}client['shop']")
    assert rows["mongodb_database"] == "shop"
    assert rows["backend_environment"] == {"ENV": "production"}


def test_a_database_of_unknown_name_is_reported(tmp_path):
    code = "def orders(request):\n    return client[request.tenant]['orders']"
    assert "db.py:5: found no name of this database" in notes_of(tmp_path, files(code))


@pytest.mark.parametrize(
    "use",
    [
        "host = request.client.host",
        "return request.client.port",
        "return http.client['gone']",
    ],
)
def test_a_client_of_another_object_is_not_mongodbs(tmp_path, use):
    code = (
        "class Store:\n    def __init__(self):\n        self.client = pymongo.MongoClient(os.environ['MONGO_URL'])\n"
        f"        self.db = self.client['shop']\ndef ask(request, http):\n    {use}"
    )
    rows = found(tmp_path, code)
    assert rows["mongodb_database"] == "shop"
    assert "a second database" not in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    "use",
    [
        "class Db:\n    client: pymongo.MongoClient = None\ndb = Db()\ndef start():\n    db.client = pymongo.MongoClient()\n"
        "def its():\n    return db.client['shop']",
        "class Db:\n    def __init__(self):\n        self.client = pymongo.MongoClient()\nclass Orders(Db):\n"
        "    def all(self):\n        return self.client['shop']",
        "def start(app):\n    app.state.mongo = pymongo.MongoClient()\ndef its(request):\n"
        "    return request.app.state.mongo['shop']",
        "def connect():\n    return pymongo.MongoClient()\ndef its():\n    made = connect()\n    return made['shop']",
        "from pymongo.database import Database as Db\ndef its(db: Db):\n    return db.client['shop']",
    ],
)
def test_a_client_is_known_by_its_object(tmp_path, use):
    assert found(tmp_path, use)["mongodb_database"] == "shop"


def test_what_the_calls_give_comes_before_a_parameters_default(tmp_path):
    code = (
        "def start(url='mongodb://localhost:27017'):\n    return pymongo.MongoClient(url)\nstart(os.environ['WHERE'])"
    )
    assert found(tmp_path, code)["backend_environment"] == {"WHERE": "{mongo_url}"}
    assert "is in the code" not in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    "use",
    [
        "client['latest_orders']",
        "client['contest']",
        "client['shop_test']",
        "from odmantic import AIOEngine\nengine = AIOEngine(client, database='test')",
    ],
)
def test_a_database_whose_name_has_test_in_it_is_the_main_one_if_there_is_no_other(tmp_path, use):
    name = use.rpartition("'")[0].rpartition("'")[2]
    assert found(tmp_path, use)["mongodb_database"] == name


@pytest.mark.parametrize("tests", ["test", "shop_test", "shopTest", "testdb", "test-2"])
def test_a_database_of_tests_is_neither_the_main_one_nor_a_second_one(tmp_path, tests):
    rows = found(tmp_path, f"client['{tests}']['a']\nclient['{tests}']['b']\nclient['shop']")
    assert rows["mongodb_database"] == "shop"
    assert "a second database" not in notes_of(tmp_path, {})


def test_test_within_a_word_is_a_second_database(tmp_path):
    assert found(tmp_path, "client['shop']\nclient['shop']\nclient['contest']")["mongodb_database"] == "shop"
    assert "a second database, 'contest'" in notes_of(tmp_path, {})


STORE = "class Store:\n{}    def __init__(self):\n        self.db = client[self.NAME]\n"


@pytest.mark.parametrize("declared", ["", "    NAME: str\n", "    NAME = None\n"])
def test_a_subclass_has_the_name_of_the_database(tmp_path, declared):
    code = f"{STORE.format(declared)}class Orders(Store):\n    NAME = 'shop'\nclass Late(Orders):\n    x = 1"
    assert found(tmp_path, code)["mongodb_database"] == "shop"
    assert "a second database" not in notes_of(tmp_path, {})


def test_subclasses_with_different_names_are_several_databases(tmp_path):
    code = (
        f"{STORE.format('')}class Orders(Store):\n    NAME = 'shop'\nclass Old(Store):\n    NAME = 'archive'\n"
        "class Other:\n    NAME = 'no'"
    )
    assert found(tmp_path, code)["mongodb_database"] == "shop"
    notes = notes_of(tmp_path, {})
    assert "a second database, 'archive'" in notes
    assert "'no'" not in notes


def test_the_name_in_the_class_itself_comes_before_its_subclasses(tmp_path):
    code = STORE.format("    NAME = 'shop'\n") + "class Old(Store):\n    NAME = 'archive'"
    assert found(tmp_path, code)["mongodb_database"] == "shop"
