"""The arguments of one run: what a release or a rollback is of.

They are no settings of a host: the command line gives them, `slipway release --ref v1` or, with plain pyinfra,
`--data release_ref=v1`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from slipway.settings.types import Words, matching

# How `slipway` takes each.
OPTIONS = {
    "release_site": "--site NAME",
    "release_ref": "slipway release --ref REF",
    "release_path": "slipway release --path DIR",
    "release_parts": "slipway release --only PART,...",
    "release_id": "slipway rollback ID",
    "release_partial": "--partial",
}


class Arguments(BaseModel):
    """Arguments of one run

    They describe one release or rollback, and are no settings: give them as an option of `slipway`, or to plain pyinfra
    as `--data release_ref=v1`. In `group_data/` and in the inventory they are an error.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    release_site: Annotated[str, Words("a site_name")] = ""
    """Which of the host's sites is released, rolled back or put into maintenance; `""` for the first."""

    # As git-check-ref-format(1) forbids, and nothing that git would take for an option.
    release_ref: Annotated[str, matching(r"([^\s~^:?*\[\\-][^\s:?*\[\\]*)?", "a branch, tag or commit")] = ""
    """What is released, of the git repository that holds `backend_source` and `frontend_source`; it is fetched from
    `origin` if it is not here. `""` for the folders as they are."""

    release_path: Annotated[str, Words("a folder on your machine, relative to where you stand")] = ""
    """Another folder that holds backend and frontend; `""` for none."""

    release_parts: Annotated[list[Literal["backend", "frontend"]], Field(min_length=1)] = ["backend", "frontend"]
    """The parts that the release changes. The other one stays as it is."""

    release_id: Annotated[str, matching(r"([0-9][\w.-]*)?", "a release's id, as `slipway releases` shows it")] = ""
    """The release that a rollback activates; `""` for the previous one."""

    release_partial: bool = False
    """Whether some of the application servers may be left out: those that are down, and drained where there is a load
    balancer."""

    @field_validator("release_ref", "release_id", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        # pyinfra's own --data reads the id 20261126031500 as a number.
        return str(value) if type(value) is int else value

    @field_validator("release_path")
    @classmethod
    def _instead_of_a_ref(cls, value: str, info: ValidationInfo) -> str:
        if value and not Path(value).is_dir():
            raise ValueError("a folder on this machine, relative to where you stand")
        if value and info.data.get("release_ref"):
            raise ValueError("'' with release_ref: one of the two says what is released")
        return value
