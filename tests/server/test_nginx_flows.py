"""The described request flows, as a visitor has them: home page, login, a request with the token."""

from __future__ import annotations

import re

import pytest

FOR_EACH_SITE = True


@pytest.fixture(scope="session")
def credentials(server):
    secrets = server.settings.secrets
    if "ADMIN_PASSWORD" not in secrets:
        pytest.skip("this site has no ADMIN_PASSWORD among its secrets")
    email = server.settings.backend_environment.get("ADMIN_EMAIL", "admin@codementee.io")
    return {"email": email, "password": secrets["ADMIN_PASSWORD"]}


def test_the_home_page_names_files_that_are_all_there(server):
    page = server.site.get("/")
    files = re.findall(r'(?:src|href)="?(/[^"\s>]+)', page.text)
    assert files
    assert [server.site.get(path).status_code for path in files] == [200] * len(files)


def test_login_gives_a_token_that_opens_the_companies(server, credentials):
    login = server.site.post("/api/auth/login", json=credentials)
    assert login.status_code == 200, login.text
    token = login.json()["token"]
    answer = server.site.get("/api/companies", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert {"name", "city"} <= set(answer.json()[0])


def test_a_wrong_password_and_an_unknown_user_are_refused_alike(server, credentials):
    wrong = server.site.post("/api/auth/login", json={**credentials, "password": "wrong"})
    unknown = server.site.post("/api/auth/login", json={"email": "nobody@example.org", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_the_companies_are_closed_without_a_token(server, credentials):
    assert server.site.get("/api/companies").status_code == 401
    forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."}
    assert server.site.get("/api/companies", headers=forged).status_code == 401
