"""Package indexes beside PyPI: their packages are locked, and their logins are nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.dependencies import explain, lockfile, resolve
from slipway.dependencies.indexes import Index, bare, login_names
from slipway.dependencies.model import DependenciesError
from support.package_index import PackageIndex

PASSWORD = "s3cret/@:p"


def listed(folder: Path, text: str) -> Path:
    (folder / "requirements.txt").write_text(text)
    return folder


@pytest.fixture
def company(tmp_path, index) -> Iterator[str]:
    """An index behind a login, beside the one that anybody may ask."""
    index.add("server", "1.0", requires="own>=1")
    private = PackageIndex(tmp_path / "private")
    private.add("own", "1.5")
    with private.behind_login("deploy", PASSWORD) as url:
        yield url


def company_index(url: str, password: str = PASSWORD) -> Index:
    user, secret = login_names("company")
    return Index("company", url, ((user, "deploy"), (secret, password)))


def test_a_package_of_an_index_with_a_login_is_locked_and_the_login_is_nowhere(tmp_path, company):
    host = company.partition("://")[2]
    folder = listed(tmp_path, f"--extra-index-url http://me:old@{host}/\nserver\n")
    its = company_index(company)
    wanted = resolve.inputs(folder, "", indexes=[its])
    text = explain.lock(folder, wanted, "3.11")
    (folder / lockfile.NAME).write_text(text)
    found = resolve.locked(folder, "", "3.11.2", indexes=[its])
    assert [*map(str, found.packages)] == ["own==1.5", "server==1.0"]
    assert found.indexes == (its,)
    assert lockfile.versions(text) == {"own": "1.5", "server": "1.0"}
    for secret in ("deploy", "s3cret", "old"):
        assert secret not in text
        assert secret not in repr(found)
    # One that is left out, or that another one takes the place of, is another list.
    for others in ((), (company_index("http://elsewhere.example"),)):
        with pytest.raises(DependenciesError):
            resolve.locked(folder, "", "3.11.2", indexes=others)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_an_index_that_refuses_a_login_is_told_with_the_secrets_for_it(tmp_path, company, password):
    its = company_index(company, password) if password else Index("company", company)
    folder = listed(tmp_path, "own\n")
    with pytest.raises(DependenciesError) as error:
        explain.lock(folder, resolve.inputs(folder, "", indexes=[its]), "3.11")
    (problem,) = error.value.problems
    assert problem == (
        f"requirements.txt: the package index {company} answers 401: give the login to it as the secrets"
        " UV_INDEX_COMPANY_USERNAME and UV_INDEX_COMPANY_PASSWORD"
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://me:pw@pypi.example.org/simple", "example"),
        ("https://${USER}:${TOKEN}@gitlab.com/api/v4/projects/7/packages/pypi/simple", "gitlab"),
        ("http://10.0.0.7:8080/simple", "private"),
        ("http://packages/", "packages"),
    ],
)
def test_an_index_that_no_setting_names_is_told_with_the_setting(tmp_path, url, name):
    folder = listed(tmp_path, f"-i {url}\nserver\n")
    with pytest.raises(DependenciesError) as error:
        resolve.inputs(folder, "")
    (problem,) = error.value.problems
    assert f'set python_indexes = {{"{name}": "{bare(url)}"}}' in problem
    assert f"UV_INDEX_{name.upper()}_PASSWORD" in problem
    assert "@" not in problem
    its = Index(name, bare(url))
    assert resolve.inputs(folder, "", indexes=[its]).indexes == (its,)
