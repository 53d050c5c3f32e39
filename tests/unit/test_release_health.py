"""The health check of a release."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.releases.checks import LOG_LINES, QUICK_REQUESTS, RIGHT_ANSWERS, fix, last_error
from slipway.releases.host import Answer
from slipway.tasks.release_steps import command, step_seconds
from support.release_model import WELL, Model

NEXT = "codementee-backend-next.service"
UNWELL = Answer(500, "unwell")


@pytest.fixture
def model_of(settings_with) -> Callable[..., Model]:
    """A host where release 1 is live and release 2 is shipped."""
    return lambda **changes: Model.serving(settings_with(**{"backend_health_seconds": 2, **changes}), "1", "2")


@pytest.mark.parametrize(
    ("answer", "is_healthy"),
    [(Answer(204, "say: it's *well*!"), True), (Answer(204, "it's well"), False), (Answer(200, "it's *well*"), False)],
)
def test_an_answer_must_have_the_body_and_the_status_that_are_set(model_of, answer, is_healthy):
    model = model_of(backend_health_body="it's *well*", backend_health_status=204)
    model.says[NEXT] = answer
    assert model.step("begin", "2", "keep") is is_healthy


@pytest.mark.parametrize(
    ("status", "is_healthy"), [(200, True), (404, True), (307, True), (500, False), (503, False), (0, False)]
)
def test_without_a_health_path_any_answer_of_the_root_below_500_will_do(model_of, status, is_healthy):
    model = model_of(backend_health_path="")
    assert model.facts.services[0].health_path == "/"
    model.says[NEXT] = Answer(status, "")
    assert model.step("begin", "2", "keep") is is_healthy


@pytest.fixture
def says(model_of, monkeypatch) -> Callable[..., Model]:
    """A host whose next release gives these answers in turn, then healthy ones; `clock` is the time it took."""

    def says(*answers: Answer, seconds: int = 60) -> Model:
        model, left = model_of(), [*answers]
        monkeypatch.setattr(model, "answer", lambda *_: left.pop(0) if left else WELL, raising=False)
        model.facts = model.facts._replace(services=[model.facts.services[0]._replace(health_seconds=seconds)])
        return model

    return says


def test_the_next_release_is_healthy_only_after_five_right_answers_in_a_row(says):
    # One worker of several is late: all are asked again.
    for answers, asked in (((), 5), ((WELL,) * 3 + (UNWELL,), 9)):
        model = says(*answers)
        assert model.step("begin", "2", "discard")
        assert len(model.slept) == asked


def test_it_is_asked_quickly_at_first_and_calmly_then(says):
    model = says(*[UNWELL] * 7)
    assert model.step("begin", "2", "discard")
    quick = QUICK_REQUESTS - 1
    assert model.slept == [model.facts.poll_seconds] * quick + [1.0] * (12 - quick)


LIMITED = Answer(429, "slow down", retry_after=20)


def test_a_rate_limit_after_a_healthy_answer_counts_as_healthy(says):
    model = says(WELL, *[LIMITED] * 50)
    assert model.step("begin", "2", "discard")
    assert len(model.slept) == RIGHT_ANSWERS


@pytest.mark.parametrize("answer", [LIMITED, LIMITED._replace(status=503)])
def test_retry_after_is_respected(says, answer):
    model = says(answer, answer)
    assert model.step("begin", "2", "discard")
    assert model.slept[:2] == [20, 20]


def test_retry_after_does_not_exceed_the_time_limit(says):
    model = says(*[LIMITED] * 50, seconds=30)
    assert not model.step("begin", "2", "discard")
    assert model.slept == [20, 10]
    assert "/api/health answered: slow down 429; exempt /api/health from its rate limit" in model.error()


def test_a_wrong_path_and_a_redirect_are_reported_as_what_they_are(says):
    model = says(*[Answer(404, "Not Found")] * 90)
    assert not model.step("begin", "2", "discard")
    assert 'set backend_health_path to an existing path, or to "" to accept any answer below 500' in model.error()
    model = says(*[Answer(307, "", location="https://a.example/")] * 90)
    assert not model.step("begin", "2", "discard")
    assert "/api/health answered: 307, a redirect to https://a.example/;" in model.error()


# --- Crash loops


NOBODY = Answer(0, "")


@pytest.mark.parametrize(
    "spawned",
    [
        # uvicorn starts them again and again.
        [{str(2 * n), str(2 * n + 1)} for n in range(90)],
        # Before 0.30 never.
        [set(), {"1", "2"}, {"2"}, set()],
    ],
)
def test_a_release_whose_workers_end_is_given_up_long_before_its_time(says, spawned):
    model = says(*[NOBODY] * 90)
    model.spawned = spawned
    assert not model.step("begin", "2", "discard")
    assert model.clock < 10
    assert f"{NEXT}: exited unexpectedly" in model.error()


def test_a_worker_that_is_there_in_the_end_is_waited_for(says):
    model = says(*[NOBODY] * 20)
    model.spawned = [set(), {"1", "2"}, {"3", "4"}]
    assert model.step("begin", "2", "discard")


@pytest.mark.parametrize("is_crashing", [True, False])
def test_who_waits_for_a_service_that_ends_over_and_over_is_ended(model_of, is_crashing):
    model = model_of()
    model.files["/proc/42"] = ""
    model.sleep = lambda seconds: model.files.pop("/proc/42", None) and None  # the wait itself is over then
    model.said = "Traceback (most recent call last):\n  File 'x'\nKeyError: 'MONGO_URI'"
    if is_crashing:
        model.crashing.add("codementee-backend.service")
    assert model.step("watch", "backend", "42") is not is_crashing
    assert model.ended == ([42] if is_crashing else [])
    told = "codementee-backend.service: is crash-looping: KeyError: 'MONGO_URI'\nset MONGO_URI in backend_environment"
    assert (told in model.error()) is is_crashing


MISSING = """\
Traceback (most recent call last):
  File "/x/app/config.py", line 9, in <module>
    settings = Settings()
pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings
mongodb_uri
  Field required [type=missing, input_value={'a': 'secret'}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/missing
jwt_secret
  Field required [type=missing, input_value={'a': 'secret'}, input_type=dict]
"""
CHAINED = """\
Traceback (most recent call last):
  File "x"
KeyError: 'A'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x"
    import magic
ImportError: failed to find libmagic.  Check your installation
x.service: Control process exited, code=exited, status=1/FAILURE
"""
ERRORS = {
    "an own module": (
        'ERROR:    Error loading ASGI app. Could not import module "main".\n',
        'Error loading ASGI app. Could not import module "main".',
        "backend_app",
    ),
    "a package": (
        "Traceback (most recent call last):\n  File\nModuleNotFoundError: No module named 'jose'\n",
        "ModuleNotFoundError: No module named 'jose'",
        "slipway lock",
    ),
    "variables of settings": (
        MISSING,
        "pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings",
        "set the variable of mongodb_uri, the variable of jwt_secret in backend_environment",
    ),
    "a library": (CHAINED, "ImportError: failed to find libmagic.  Check your installation", "extra_packages"),
    "a folder": (
        "ERROR:    Traceback (most recent call last):\n  File\nOSError: [Errno 30] Read-only file system: 'up'\n",
        "OSError: [Errno 30] Read-only file system: 'up'",
        "shared_paths",
    ),
    "an exception of nobody's": ("Traceback (most recent call last):\n  x\nvalue.Odd\n", "value.Odd", ""),
    "none": ("INFO:     Started\nKeyError: 'NOT_OURS'\n", "", ""),
}


@pytest.mark.parametrize("what", ERRORS)
def test_the_exception_that_a_log_ends_with_is_told_with_its_fix(what):
    log, error, advice = ERRORS[what]
    lines = log.splitlines()
    assert last_error(lines) == error
    found = fix(error, lines)
    assert advice in found
    assert bool(advice) == bool(found)


def test_of_a_long_log_the_last_lines_are_shown_with_the_exception_before_them(model_of):
    model = model_of()
    model.broken.add(NEXT)
    model.said = "first\nTraceback (most recent call last):\n  x\nKeyError: 'SOME'\n" + "later\n" * LOG_LINES
    assert not model.step("begin", "2", "discard")
    assert "first" not in model.error()
    assert f"{NEXT}: failed to start: KeyError: 'SOME'\nset SOME in backend_environment" in model.error()


def test_a_step_may_take_as_long_as_the_settings_let_it_wait(settings_with):
    services = [{"name": "mailer", "command": "python -m mailer"}]
    settings = settings_with(release_hook_seconds=86_400, release_drain_seconds=3600, backend_health_seconds=3000)
    seconds = command(settings, "hook", "before", "2", "discard").connector_arguments["_timeout"]
    assert seconds > settings.limits.command + 86_400 + 2 * (2 * 3600 + 3000)
    waiting = settings_with(release_worker_seconds=600, services=services)
    assert step_seconds(waiting) >= step_seconds(settings_with()) + 2 * (600 - settings_with().release_worker_seconds)
