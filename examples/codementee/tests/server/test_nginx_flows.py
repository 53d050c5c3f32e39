"""The example's request flows, as a visitor has them: login, a request with the token, who the backend sees."""

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


def test_the_backend_sees_the_visitor_and_not_what_he_claims(server):
    answer = server.site.get("/api/client", headers={"X-Forwarded-For": "203.0.113.9"})
    if answer.status_code == 404:
        pytest.skip("this site's backend does not tell what it sees of a visitor")
    seen = answer.json()
    assert seen["scheme"] == "https"
    assert seen["host"] == server.settings.site_domain
    assert seen["address"] != "203.0.113.9"
    assert re.fullmatch(r"[0-9a-f.:]+", seen["address"])
