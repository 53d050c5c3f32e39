"""Routers that functions get as arguments."""

from __future__ import annotations

import pytest

from support.repositories import APP, read, settings_of


@pytest.mark.parametrize(
    ("code", "paths"),
    [
        ("router = APIRouter()\ndef add(to):\n    @to.get('/x')\n    def x(): ...\nadd(router)\napp.include_router(router, prefix='/api')", {"/api/x"}),
        ("def start():\n    app_ = APIRouter()\n    add(app_)\n    app.include_router(app_, prefix='/api')\n"
         "def add(to):\n    inner = APIRouter(prefix='/orgs')\n    @inner.get('/x')\n    def x(): ...\n    to.include_router(inner)", {"/api/orgs/x"}),
        ("a = APIRouter()\nb = APIRouter()\ndef add(to):\n    to.add_api_route('/x', f)\nadd(a)\nadd(b)\n"
         "app.include_router(a, prefix='/a')\napp.include_router(b, prefix='/b')", {"/a/x", "/b/x"}),
        ("router = APIRouter()\ndef add(one, to):\n    @to.get('/x')\n    def x(): ...\nboth = (1, router)\nadd(*both)\n"
         "app.include_router(router, prefix='/api')", {"/api/x"}),
        ("class Orders:\n    def __init__(self):\n        self.its = APIRouter(prefix='/orders')\norders = Orders()\n"
         "def add(orders):\n    @orders.its.get('/x')\n    def x(): ...\nadd(orders)\napp.include_router(orders.its, prefix='/api')",
         {"/api/orders/x"}),
        (
            "class Orders:\n    def __init__(self):\n        self.its = APIRouter(prefix='/orders')\norders = Orders()\n"
            "def add(orders):\n    to = orders.its\n    @to.get('/x')\n    def x(): ...\nadd(orders)\n"
            "app.include_router(orders.its, prefix='/api')",
            {"/api/orders/x"},
        ),
        ("def add(to):\n    @to.get('/x')\n    def x(): ...\nfor one in (add,):\n    one(app)", {"/x"}),
    ],
)  # fmt: skip
def test_a_router_as_an_argument_keeps_its_prefix(tmp_path, code, paths):
    files = {"main.py": f"from fastapi import APIRouter, FastAPI\napp = FastAPI()\n{code}\n"}
    backend = read(tmp_path, files).project.backend
    assert {path for path, _ in backend.paths} == paths
    assert not backend.routes.unknown


def test_a_router_that_no_call_tells_is_unknown(tmp_path):
    code = (
        "import routes\napi = APIRouter()\nfor one in routes.all:\n    one(api)\napp.include_router(api, prefix='/api')"
    )
    files = {
        "main.py": f"from fastapi import APIRouter, FastAPI\napp = FastAPI()\n{code}\n",
        "routes.py": "def orders(api):\n    @api.get('/orders')\n    def x(): ...\nall = [orders]\n",
    }
    backend = read(tmp_path, files).project.backend
    assert not backend.paths
    assert [str(one) for one in backend.routes.unknown] == ["routes.py:1"]


def test_a_short_name_of_a_health_check_is_one(tmp_path):
    files = {"main.py": f"{APP}@app.get('/ht')\ndef check(): ...\n"}
    assert settings_of(tmp_path, files)["backend_health_path"] == "/ht"
