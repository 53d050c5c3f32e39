"""The settings of several services and of several sites."""

from __future__ import annotations

import pytest

from slipway.ops.templates import render
from slipway.settings.check import SettingsError, check
from slipway.settings.routes import place_of
from slipway.tasks.backend_units import all_units, of_service, unit_values

AUTH = {"name": "auth", "app": "auth.main:app", "path": "/api/auth/", "health_path": "/api/auth/health"}
MAILER = {"name": "mailer", "command": "python -m mailer"}
WEB = {"name": "web", "command": "node server.js", "listen": 3000, "path": "/web/", "health_path": ""}
BLOG = {"site_name": "blog", "site_domain": "blog.example.org"}


def problems(defaults, **changes) -> str:
    with pytest.raises(SettingsError) as caught:
        check({**defaults, **changes}, {"release_site": "--data"})
    assert len(caught.value.problems) == 1, caught.value
    return caught.value.problems[0]


WRONG = {
    "services, once each": ([AUTH, {**AUTH, "path": "/api/b/"}], "names, each once"),
    "a name of a release's own": ([{**AUTH, "name": "next"}], "found 'next' again"),
    "two on one path": ([AUTH, {**AUTH, "name": "b"}], "found /api/auth/ for auth and for b"),
    "one on the backend's path": ([{**AUTH, "path": "/api/"}], "found /api/ for the backend and for auth"),
    "one on the frontend's files": ([{**AUTH, "path": "/static/"}], "for the frontend's files and for auth"),
    "one at the site's name": ([{**AUTH, "path": "", "host": "codementee.io"}], "for the site and for auth"),
    "a pattern as its path": ([{**AUTH, "path": "/api/(a|b)/"}], 'a URL path: "/api/" for it'),
    "a path that any character fits": ([{**AUTH, "path": "/api/.*/"}], 'a URL path: "/api/" for it'),
    "Nginx's sign of a pattern": ([{**AUTH, "path": "~ ^/api/"}], 'a URL path: "/api/" for it'),
    "a path that ends the line": ([{**AUTH, "path": "/api/auth/\n"}], 'a URL path: "/api/" for it'),
    "neither app nor command": ([{"name": "auth"}], "either app, which answers requests, or command"),
    "both": ([{**AUTH, **MAILER}], "either app, which answers requests, or command"),
    "an end that nobody waits for": ([{**AUTH, "stop_seconds": 60}], "stop_seconds with a command alone"),
    "no place": ([{**AUTH, "path": ""}], "with app either path or host"),
    "two places": ([{**AUTH, "host": "auth.example.org"}], "with app either path or host"),
    "no health path": ([{**AUTH, "health_path": None}], "with app a health_path"),
    "a path below the backend's of the same length": ([{**AUTH, "path": "/api"}], "found = /api for the backend"),
    "an app that listens": ([{**AUTH, "listen": 3000}], "with app no listen"),
    "a program that listens nowhere": ([{**MAILER, "listen": 3000}], "with listen either path or host"),
    "a program without a health path": ([{**MAILER, "listen": 3000, "path": "/x/"}], "with listen a health_path"),
    "a port of root's": ([{**WEB, "listen": 80}], "a port from 1024 to 65534"),
    "no port": ([{**WEB, "listen": "3000"}], "found '3000'"),
    "two on one port": ([WEB, {**WEB, "name": "b", "path": "/b/", "listen": 3001}], "found 3001 for web and for b"),
    "MongoDB's port": ([{**WEB, "listen": 27016}], "found 27017 for MongoDB and for web"),
    "workers of its own": ([{**WEB, "workers": 2}], "with command no workers"),
    "an app by the clock": ([{**AUTH, "schedule": "hourly"}], "with schedule a command"),
    "a worker with a path": ([{**MAILER, "path": "/mail/"}], "with command no path, host or health_path, or listen"),
    "a schedule that ends the line": ([{**MAILER, "schedule": "hourly\nUser=root"}], "a time of systemd.time(7)"),
    "little memory": ([{**MAILER, "memory_max_mb": 5}], "memory_max_mb of 0, or at least 128"),
    "an unknown key": ([{**MAILER, "wokers": 2}], "services[0]['wokers']: there is no such key"),
    "no name": ([{"command": "x"}], "services[0]['name']: found nothing"),
    "a secret that is not the backend's": ([{**MAILER, "secrets": ["OTHER"]}], "found OTHER besides"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_service_is_reported(defaults, what):
    services, told = WRONG[what]
    assert told in problems(defaults, services=services)


def test_the_longest_path_wins(settings_with):
    settings = settings_with(services=[AUTH])
    assert [place_of(path, settings.places).service for path in ("/api/auth/login", "/api/auth", "/api/companies")] == [
        *("auth", "auth", "backend")
    ]
    assert place_of("/companies", settings.places) is None


def test_a_host_name_of_a_service_is_in_the_certificate(settings_with):
    settings = settings_with(services=[{**AUTH, "path": "", "host": "auth.codementee.io"}])
    assert settings.domains == ["codementee.io", "auth.codementee.io"]


def test_units_are_named_by_site_and_service(settings_with):
    settings = settings_with(services=[AUTH, MAILER, {**MAILER, "name": "report", "schedule": "hourly"}])
    assert {"codementee-auth-next.socket", "codementee-mailer.service", "codementee-report.timer"} <= {
        *all_units(settings)
    }
    assert "codementee-mailer.socket" not in all_units(settings)


def test_another_site_has_its_own_where_it_says_nothing(settings_with):
    first, blog = settings_with(sites=[BLOG], services=[AUTH], swap_mb=77).all_sites
    assert (blog.site_name, blog.swap_mb, blog.services) == ("blog", 77, [])
    assert blog.backend_listen == "/run/blog-backend.sock"
    assert (blog.mongodb_database, blog.mongodb_backend_user) == ("blog", "blog")
    assert blog.credentials_folder == "/etc/blog/credentials"
    assert blog.admin_credentials_folder == first.credentials_folder == "/etc/codementee/credentials"
    assert (first.is_further_site, blog.is_further_site) == (False, True)


WRONG_SITES = {
    "no dictionary": ([7], "sites[0]: found 7, expected settings of another site"),
    "no domain": (
        [{"site_name": "blog", "site_aliases": ["blog.example.org"]}],
        "sites[0]: site_domain: found nothing",
    ),
    "a shared setting": ([{**BLOG, "swap_mb": 5}], "sites[0]: swap_mb: found a setting that sites of a host share"),
    "a wrong value": ([{**BLOG, "backend_app": "x"}], "sites[0]: backend_app: found 'x', expected module:attribute"),
    "another's name": ([BLOG, {**BLOG, "site_domain": "b.example.org"}], "sites[1]"),
    "another's domain": ([{**BLOG, "site_aliases": ["codementee.io"]}], "host name: found 'codementee.io'"),
    "another's port": (
        [{**BLOG, "services": [WEB]}, {**BLOG, "site_name": "b", "site_domain": "b.example.org", "services": [WEB]}],
        "port of a service: found '3000', expected one that no other site has",
    ),
    "another's database": ([{**BLOG, "mongodb_database": "codementee"}], "mongodb_database: found 'codementee'"),
}


@pytest.mark.parametrize("what", WRONG_SITES)
def test_a_wrong_site_is_reported(defaults, what):
    sites, told = WRONG_SITES[what]
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "sites": sites})
    assert told in str(caught.value)


def test_a_release_is_of_a_site_that_there_is(defaults, settings_with):
    assert settings_with(sites=[BLOG], release_site="blog").released.site_name == "blog"
    assert "found 'blok', expected '' or one of codementee, blog" in problems(
        defaults, sites=[BLOG], release_site="blok"
    )


@pytest.mark.parametrize(
    ("health", "weak"),
    [
        ({"health_path": "/x"}, ""),
        ({"health_path": ""}, 'health_path of the service web is "": any answer below 500 of / counts as healthy'),
        (
            {"health_path": "/x", "health_status": 0},
            "health_status of the service web is 0: any answer below 500 of /x counts as healthy",
        ),
    ],
)
def test_a_weak_health_check_is_told_by_its_setting(settings_with, health, weak):
    settings = settings_with(services=[WEB | health])
    (web,) = settings.services
    assert settings.weak_health(web) == weak


def test_no_answer_has_a_status_of_less_than_200(defaults):
    told = problems(defaults, services=[WEB | {"health_status": 100}])
    assert "an HTTP status from 200 to 599, or 0 for any below 500" in told


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("celery -A tasks worker", "exec celery -A tasks worker"),
        ("exec python -m celery -A tasks worker", "exec python -m celery -A tasks worker"),
        # All its processes get the signal.
        ("cd jobs && celery -A tasks worker", ""),
        ("python -m mailer", ""),
    ],
)
def test_a_task_of_a_worker_that_ends_its_processes_itself_gets_no_signal(settings_with, command, started):
    settings = settings_with(services=[{"name": "jobs", "command": command, "stop_seconds": 600}])
    values = unit_values(settings, 819, database_is_here=True)
    unit = render("backend/worker.service", **of_service(settings, settings.services[0], values))
    assert f'-euc "{started or command}"\n' in unit
    assert ("KillMode=mixed\n" in unit) == bool(started)
    assert "TimeoutStopSec=600\n" in unit
