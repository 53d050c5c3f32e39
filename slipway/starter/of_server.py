"""Settings of a new project that match an existing server, by `slipway inspect`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.engine.errors import RunFailed
from slipway.inspection.report import Report
from slipway.starter.found import Found
from slipway.starter.questions import SERVER, problems_of


@dataclass(frozen=True)
class Server:
    """An inspected server, and the port of the connection; 0 for ssh's default."""

    report: Report
    port: int = 0

    @staticmethod
    def asked(host: str, data: Sequence[str]) -> Server:
        """Inspect HOST ([user@]name[:port]). Raises RunFailed, SettingsError."""
        # Imports pyinfra, which is not needed without a server.
        from slipway.engine.one_host import OneHost, Target
        from slipway.inspection import collect

        try:
            target = Target.parse(host)
        except ValueError as error:
            raise RunFailed(f"--from: {error}") from None
        connection, settings = collect.given(data)
        with OneHost(target, connection) as one:
            return Server(collect.inspect(one, settings), target.port)

    def settings(self, project: Path, in_project: Sequence[Found]) -> list[Found]:
        """The settings of the server and of the project's files, each once: for the code the files take precedence, for
        all else the server."""
        own = {one.setting: one.value for one in in_project}
        told = [Found(SERVER, self.report.host, "slipway init --from")]
        for one in self.report.settings:
            if one.name == "backend_app" and one.name in own and not has_module(project, own, str(one.value)):
                continue
            if not problems_of({one.name: one.value}):
                told.append(Found(one.name, one.value, f"{self.report.host}: {one.where}"))
        names = {one.setting for one in told}
        return [*told, *(one for one in in_project if one.setting not in names)]

    @property
    def login(self) -> str:
        """The host's data in the inventory: the user until the administrator exists, and the port, if a router forwards
        it."""
        may_become_root = self.report.user != "root" and not self.report.without_root
        user = json.dumps(self.report.user if may_become_root else "admin")
        sshd_port = next((one.value for one in self.report.settings if one.name == "sshd_port"), 22)
        port = f', "ssh_port": {self.port}' if self.port and self.port != sshd_port else ""
        return f'{{"ssh_user": {user}, "_sudo": True{port}}}'

    @property
    def remarks(self) -> list[str]:
        """Remarks about the server that no setting expresses, a line each."""
        lines = [f"slipway apply would refuse: {text}" for text in self.report.refusals]
        if self.report.without_root:
            lines.append(f"{self.report.without_root}: the inspection is incomplete")
        for site in self.report.sites:
            if site.fate and site.fate.verdict in ("remove", "refuse"):
                lines.append(f"{', '.join(site.names)}: {site.fate.reason}")
        names = sorted({name for one in self.report.services if one.database for name in one.variables})
        if names:
            lines.append(f"its backend has {', '.join(names)}: name the secrets among them in backend_secrets")
        return lines


def has_module(project: Path, own: dict[str, object], app: str) -> bool:
    """Whether the project's backend has the module that the server runs, which then is the application to deploy."""
    source = project / str(own.get("backend_source", "."))
    module = source.joinpath(*app.partition(":")[0].split("."))
    return module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()
