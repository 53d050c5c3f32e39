"""Which service of a site answers a path."""

from __future__ import annotations

import pytest

from slipway.settings.check import SettingsError, check
from slipway.settings.routes import place_of, route
from slipway.tasks.nginx import configuration
from slipway.tasks.policies import SHARED, policies

AUTH = {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/health"}


@pytest.mark.parametrize(
    ("text", "locations"),
    [
        ("/api/", {"= /api": "", "/api/": ""}),
        ("/api", {"= /api": "", "/api/": ""}),
        ("/api/ -> /", {"= /api": "/", "/api/": "/"}),
        ("/api -> /v1", {"= /api": "/v1", "/api/": "/v1/"}),
        ("= /docs", {"= /docs": ""}),
        ("=/api/docs -> /docs", {"= /api/docs": "/docs"}),
        ("/", {"/": ""}),
        ("/~me/a.b+c@d/", {"= /~me/a.b+c@d": "", "/~me/a.b+c@d/": ""}),
    ],
)
def test_a_path_is_it_and_all_below_it_or_it_alone_and_may_become_another(text, locations):
    assert route(text).locations == locations


@pytest.mark.parametrize(
    "text", ["", "api", "//", "/a//b", "/a b", "~ /a", "/a;", "/a/*", "/(a|b)", "/a ->", "/a -> b", "/ -> /v1/", "/a\n"]
)
def test_a_path_that_nginx_would_read_as_something_else_is_refused(text):
    with pytest.raises(ValueError, match=r'"/'):
        route(text)


def answered(settings, *paths: str) -> list[tuple[str, str]]:
    """The service that answers each path, and the path that it gets."""
    found = [(place_of(path, settings.places), path) for path in paths]
    return [(place.service, place.passed(path) or path) if place else ("", path) for place, path in found]


def test_the_longest_path_wins_and_an_exact_one_before_it(settings_with):
    paths = ["/api/ -> /", "/", "= /api/raw"]
    settings = settings_with(backend_paths=paths, services=[AUTH])
    assert answered(settings, "/api/users/5", "/api", "/api/raw", "/api/auth", "/api/author", "/page") == [
        *(("backend", "/users/5"), ("backend", "/"), ("backend", "/api/raw")),
        *(("auth", "/api/auth"), ("backend", "/author"), ("backend", "/page")),
    ]


def test_without_a_frontend_the_backend_answers_all_that_no_service_does(settings_with):
    settings = settings_with(frontend_source="", services=[AUTH])
    assert answered(settings, "/", "/users", "/api/auth/x") == [
        ("backend", "/"),
        ("backend", "/users"),
        ("auth", "/api/auth/x"),
    ]
    rest = {"name": "web", "app": "web:app", "path": "/", "health_path": ""}
    assert answered(settings_with(frontend_source="", services=[rest]), "/", "/api/x") == [
        ("web", "/"),
        ("backend", "/api/x"),
    ]


OVERLAPS = {
    "two of the backend": ({"backend_paths": ["/api/", "/api"]}, "found = /api for '/api/' and for '/api'"),
    "the backend and the files": (
        {"backend_paths": ["/static/"]},
        "frontend_assets: found '/static/', expected a path of their own; found /static/ for the frontend's"
        " files and for backend_paths '/static/'",
    ),
    "Slipway's own": ({"backend_paths": ["/slipway-closing/"]}, "for Slipway"),
    "the ACME server's": ({"backend_paths": ["/.well-known/acme-challenge/"]}, "for the ACME server"),
    "a service and what stays": (
        {"shared_paths": ["uploads"], "shared_urls": {"/api/auth/": "uploads"}, "services": [AUTH]},
        "found /api/auth/ for shared_urls and for auth",
    ),
    "the backend and what stays": (
        {"shared_paths": ["uploads"], "shared_urls": {"/api/": "uploads"}},
        "found /api/ for the backend and for shared_urls",
    ),
    "the login of nobody": ({"nginx_login_path": "/login"}, "nginx_login_path: found '/login', expected a path that"),
}


@pytest.mark.parametrize("what", OVERLAPS)
def test_two_programs_on_one_path_are_reported_by_their_names(defaults, what):
    changes, told = OVERLAPS[what]
    with pytest.raises(SettingsError) as caught:
        check({**defaults, **changes})
    assert told in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_release_of_a_part_that_the_site_has_not_is_reported(defaults):
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "frontend_source": "", "release_parts": ["frontend"]}, {"release_parts": "--data"})
    assert "release_parts: found ['frontend'], expected some of backend, as frontend_source is" in str(caught.value)


def test_the_parts_of_a_site_are_those_that_it_has(settings_with):
    assert settings_with().released_parts == ["backend", "frontend"]
    assert settings_with(frontend_source="").released_parts == ["backend"]


def test_a_login_is_limited_where_it_is_passed_on_without_its_prefix(settings_with):
    settings = settings_with(backend_paths=["/v1/ -> /"], nginx_login_path="/v1/login")
    text = configuration(settings)["sites-available/codementee"]
    login = text[text.index("location = /v1/login") :]
    assert "proxy_pass http://codementee-backend/login;" in login[: login.index("}")]


def test_a_login_path_that_is_the_backends_own_exact_one_is_one_location(settings_with):
    settings = settings_with(backend_paths=["= /login"], nginx_login_path="/login")
    assert configuration(settings)["sites-available/codementee"].count("location = /login {") == 1


def test_where_nothing_answers_the_login_nothing_is_limited(settings_with):
    text = configuration(settings_with(backend_paths=["/v1/"]))["sites-available/codementee"]
    assert "limit_req" not in text


def test_only_pages_that_the_backend_answers_may_load_the_documentations_scripts(settings_with):
    assert policies(settings_with(backend_paths=["/v1/"])) == {}
    found = policies(settings_with(backend_paths=["/docs", "/v1/"], nginx_docs_paths=["/docs", "/redoc"]))
    assert found == dict.fromkeys(["/docs", "/docs/oauth2-redirect"], "$policy_of_documentation")
    assert {"/docs", "/redoc", "/api/docs"} <= {*policies(settings_with(frontend_source=""))}


def test_uploaded_files_run_no_scripts(settings_with):
    settings = settings_with(shared_paths=["data"], shared_urls={"/uploads/": "data/up"}, backend_paths=["/v1/"])
    assert policies(settings) == {"~^/uploads/": "$policy_of_what_stays"}
    assert "script" not in SHARED
    assert SHARED.startswith("default-src 'none';")
    text = configuration(settings)["sites-available/codementee"]
    assert "alias /var/www/codementee/shared/data/up/;" in text
    assert "disable_symlinks on from=/var/www/codementee/shared;" in text
