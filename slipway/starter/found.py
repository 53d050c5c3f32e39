"""What was read from a repository, and the settings that follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from slipway.settings.model import Settings
from slipway.starter.environment import Environment, environment
from slipway.starter.reading.files import Repository
from slipway.starter.reading.project import Project


@dataclass(frozen=True)
class Found:
    """A setting's value, and where it was found. `details` has that for each item or key; `more` are optional lines to
    suggest."""

    setting: str
    value: Any
    where: str
    details: Mapping[str, str] = field(default_factory=dict)
    more: tuple[str, ...] = ()


@dataclass
class Reading:
    """What was read from a repository. `folder` is where the settings will be written."""

    project: Project
    folder: Path
    # The user's answers, by setting.
    answers: Mapping[str, Any] = field(default_factory=dict)
    # A function per setting.
    table: Mapping[str, Callable[[Reading], Found | None]] = field(default_factory=dict)
    # Found values that are invalid for the setting, with the reason.
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        return self.project.repository

    def relative(self, path: str) -> str:
        """A path of the repository as a setting's value."""
        return Path(os.path.relpath(self.repository.top / path, self.folder)).as_posix()

    @cached_property
    def environment(self) -> Environment:
        return environment(self.project.backend) if self.project.backend else Environment()

    @property
    def all_found(self) -> list[Found]:
        """All settings found, in the order of `table`."""
        return [one for function in self.table.values() if (one := function(self))]

    @property
    def settings(self) -> list[Found]:
        """The settings to write: those that are not answered already."""
        known = {*self.answers, *self.refused}
        return [one for one in self.all_found if one.setting not in known and one.setting in Settings.model_fields]

    def refuse(self, problems: list[str]) -> None:
        """Discard the found values that `problems` are about."""
        for one in self.settings:
            about = (f"{one.setting}:", f"{one.setting}[")
            if said := [problem for problem in problems if problem.startswith(about)]:
                self.refused[one.setting] = said[0]
