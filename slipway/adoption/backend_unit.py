"""The previous backend's unit: what it does for its application that Slipway's does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from slipway.adoption import Obstacle

# Commands of a unit around its start, and what does the same.
BEFORE = {
    "ExecStartPre": "it in pre_activate, if a release needs it, or in the application",
    "ExecStartPost": "it in post_activate, if a release needs it, or in the application",
}
# Programs that a unit runs for itself: its folders, its socket, a pause.
PREPARES = {"mkdir", "install", "chown", "chmod", "rm", "touch", "test", "[", "sleep", "true", "kill", "fuser"}
# Options of [Service] that Slipway's unit has too, that restrict the application, or that only say how it starts, stops
# and logs. https://www.freedesktop.org/software/systemd/man/252/systemd.directives.html
USUAL = re.compile(
    r"Type|User|Group|DynamicUser|UMask|WorkingDirectory|(Pass|Unset)?Environment|EnvironmentFile|Exec(Start|Reload|Stop)"
    r"|ExecStopPost|Restart\w*|StartLimit\w*|Timeout\w*|RuntimeMaxSec|WatchdogSec|NotifyAccess|PIDFile|GuessMainPID"
    r"|RemainAfterExit|SuccessExitStatus|Kill(Mode|Signal)|FinalKillSignal|Send(SIGKILL|SIGHUP)|Standard\w+|Syslog\w+"
    r"|Log(LevelMax|ExtraFields|RateLimit\w+|Namespace)|TTY\w+|Nice|CPUScheduling\w+|IOScheduling\w+|OOM\w+"
    r"|PermissionsStartOnly|RootDirectoryStartOnly|Slice|Delegate|NonBlocking|IgnoreSIGPIPE|\w+Accounting|\w+Weight"
    r"|(CPU|BlockIO)Shares|NoNewPrivileges|Protect\w+|Private(Tmp|Devices|Users|Mounts|IPC)|Restrict\w+|SystemCall\w+"
    r"|MemoryDenyWriteExecute|LockPersonality|CapabilityBoundingSet|SecureBits|RemoveIPC|ProcSubset|KeyringMode"
    r"|(ReadOnly|Inaccessible|Exec|NoExec)(Paths|Directories)|DevicePolicy|DeviceAllow|MountFlags|RuntimeDirectory\w*"
    r"|CacheDirectory\w*|\w+DirectoryMode|Limit(NOFILE|NPROC|CORE|STACK|AS)|Memory(Min|Low|High|Max|Limit|SwapMax)"
    r"|TasksMax|SELinuxContext|AppArmorProfile|SmackProcessLabel|Personality|CoredumpFilter"
)
# What does the same as other options.
INSTEAD = {
    **dict.fromkeys(
        ("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted"),
        "its content in backend_secrets, and the application to read it there",
    ),
    **dict.fromkeys(
        ("StateDirectory", "BindPaths", "ReadWritePaths", "ReadWriteDirectories"),
        "its files below the backend's folder, and their folder in shared_paths",
    ),
    "BindReadOnlyPaths": "its files in the application",
    "LogsDirectory": "a log to standard output, which the journal keeps",
    "AmbientCapabilities": "an application that does without these capabilities",
}
# Places that any unit may write to, also Slipway's.
SCRATCH = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm", "/var/cache")  # noqa: S108


def lost(lines: Sequence[str], unit: str, own: Sequence[str]) -> Iterator[Obstacle]:
    """What the lines of a unit say. A line may have secrets in it. `own` are the site's folders."""
    section = ""
    for line in _joined(lines):
        if line.startswith("["):
            section = line
            continue
        key, _, value = (part.strip() for part in line.partition("="))
        words = value.lstrip("-@:!+").split()
        program = PurePosixPath(words[0]).name if words else ""
        if key in BEFORE and words and program not in PREPARES:
            yield Obstacle(f"{unit}: {key}", f"{program}, which Slipway's unit does not run", BEFORE[key])
        elif key == "SupplementaryGroups" and {*words} - {"www-data"}:
            need = "an application that does without these groups"
            yield Obstacle(f"{unit}: {key}", f"{value}, which Slipway's user is not in", need)
        elif key == "ExecStart" and program.endswith(".sh"):
            need = "its variables in backend_environment or backend_secrets, its other commands in pre_activate"
            yield Obstacle(f"{unit}: {key}", f"the script {program}, which Slipway's unit does not run", need)
        elif key == "ExecStart" and any(word.partition("=")[0] == "--root-path" for word in words):
            need = "it in the application, as FastAPI(root_path=...)"
            yield Obstacle(f"{unit}: --root-path", "an option that Slipway's unit does not have", need)
        elif value and _is_other(section, key, value, own):
            need = INSTEAD.get(key, "an application that does without it")
            yield Obstacle(f"{unit}: {key}", "an option that Slipway's unit does not have", need)


def _joined(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a unit without comments, and with those that a backslash continues as one."""
    whole = ""
    for line in lines:
        if line.strip().startswith(("#", ";")):
            continue
        whole += line.strip()
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
        else:
            yield whole
            whole = ""


def _is_other(section: str, key: str, value: str, own: Sequence[str]) -> bool:
    if section == "[Unit]":
        return key in ("OnFailure", "JoinsNamespaceOf")
    if section != "[Service]" or key in BEFORE or key == "SupplementaryGroups" or USUAL.fullmatch(key):
        return False
    if key in ("ReadWritePaths", "ReadWriteDirectories"):
        paths = [path.lstrip("-+") for path in value.split()]
        return not all(f"{path}/".startswith(tuple(f"{place}/" for place in (*own, *SCRATCH))) for path in paths)
    return not (key == "PrivateNetwork" and value in ("no", "false", "0"))
