"""Shared folders and files: the application writes them, and every release has a link to each (Capistrano: linked_dirs,
linked_files)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts.base import Output
from slipway.facts.files import FileStates
from slipway.ops.commands import Commands
from slipway.releases import artifact
from slipway.settings.model import Settings
from slipway.tasks.owners import record

# Nginx's workers.
WEB = "www-data"


@dataclass(frozen=True)
class Place:
    """A folder or file with its owner; `whole`: all content of the folder belongs to the owner too."""

    path: str
    owner: str
    group: str
    mode: str
    is_folder: bool = True
    whole: bool = False


def places(settings: Settings) -> Iterator[Place]:
    """Shared folders, after their parents. Parents of shared folders are root's, so that nobody else can replace
    them."""
    user, top = settings.backend_unit, PurePosixPath(settings.site_root)
    served = [f"{path}/" for path in settings.shared_urls.values()]
    above: dict[str, str] = {}
    for path, place in settings.shared_places.items():
        owner = "root" if path in settings.shared_paths else user
        above |= {str(one): owner for one in PurePosixPath(place).parents if one.is_relative_to(top) and one != top}
    for folder in sorted(above):
        owner = above[folder]
        yield Place(folder, owner, owner, "755" if owner == "root" else "750")
    for path in settings.shared_paths:
        is_served = any(one.startswith(f"{path}/") for one in served)
        group, mode = (WEB, "2750") if is_served else (user, "750")
        yield Place(settings.shared_places[path], user, group, mode, whole=True)


@operation()
def keep(settings: Settings) -> Commands:
    """Create the shared folders, writable only by the application."""
    wanted = [*places(settings)]
    states = host.get_fact(FileStates, paths=tuple(place.path for place in wanted)) if wanted else {}
    for place in wanted:
        state = states.get(place.path, {})
        if state == {"kind": "directory", "owner": place.owner, "group": place.group, "mode": place.mode}:
            continue
        found = f"{state['kind']} {state['owner']}:{state['group']} {state['mode']}" if state else "nothing"
        notes.note(f"{place.path}: {found} -> directory {place.owner}:{place.group} {place.mode}")
        yield owned(place)
    if not settings.shared_files:
        return
    if found := host.get_fact(Output, command=_of_others(settings, "-print")).strip():
        user = settings.backend_unit
        notes.note("\n".join(f"{file}: owner -> {user}" for file in found.splitlines()))
        yield _owned_files(settings)


def _of_others(settings: Settings, action: str) -> str:
    """A command that applies `action` to existing shared files that the application does not own."""
    files = " ".join(settings.shared_places[path] for path in settings.shared_files)
    find = f"find $file -maxdepth 0 -type f ! -user {settings.backend_unit} {action}"
    return f"for file in {files}; do [ ! -f $file ] || {find}; done"


def _owned_files(settings: Settings) -> str:
    user = settings.backend_unit
    return _of_others(settings, f"-exec chown {user}:{user} {{}} + -exec chmod 640 {{}} +")


def owned(place: Place) -> str:
    """A command that sets a folder's owner and mode if they differ. The folder itself comes last, so that an
    interrupted run is repeated. Links are not followed."""
    who, path = f"{place.owner}:{place.group}", place.path
    steps = [f"mkdir -p -m 755 {path}"]
    if place.whole:
        for_web = place.group == WEB
        modes = f"chmod -R u+rwX,g-w,{'g+rX,' * for_web}o-rwx"
        steps.append(f"find {path} -mindepth 1 -maxdepth 1 ! -type l -exec chown -Rh {who} {{}} + -exec {modes} {{}} +")
        if for_web:
            steps.append(f"find {path} -mindepth 1 -type d -exec chmod g+s {{}} +")
    steps.append(f"find {path} -maxdepth 0 -type d -exec chown {who} {{}} + -exec chmod {place.mode} {{}} +")
    is_so = f"[ \"$(stat -c '%U:%G %a' {path} 2> /dev/null)\" = '{who} {place.mode}' ]"
    return f"{is_so} || {{ {' && '.join(steps)}; }}"


@operation()
def link(settings: Settings) -> Commands:
    """Link the shared folders and files into every release on the host, also into older ones."""
    if not settings.shared_places:
        return
    links = "; ".join(f'[ "$(readlink $id/backend/{path})" = {place} ] || echo $id' for path, place in _pairs(settings))
    each = f"for id in $({artifact.IDS}); do [ ! -d $id/backend ] || {{ {links}; }}; done"
    found = sorted({*host.get_fact(Output, command=f"cd {settings.site_root}/releases && {each}").split()})
    if not found:
        return
    notes.note("\n".join(f"{path} -> {place} in releases {', '.join(found)}" for path, place in _pairs(settings)))
    # The current release first: its content becomes the shared one.
    releases, now = f"{settings.site_root}/releases", f"readlink {settings.site_root}/current"
    loop = f"for id in $({now} | grep -o '[^/]*$') {' '.join(found)}; do backend={releases}/$id/backend"
    yield f"set -eu; {loop}; {'; '.join(link_steps(settings, '$backend'))}; done"


def _pairs(settings: Settings) -> list[tuple[str, str]]:
    return [*settings.shared_places.items()]


def link_steps(settings: Settings, backend: str) -> list[str]:
    """Steps of a shell script that put links into the folder `backend` of a release. The release's own content becomes
    the shared one if there is none yet, else it is dropped: shared content is never overwritten."""
    if not settings.shared_places:
        return []
    steps = []
    for path, place in _pairs(settings):
        here, by_hand = f"{backend}/{path}", f"{settings.site_root}/backend.by-hand/{path}"
        steps += [
            f"mkdir -p $(dirname {place} {here})",
            # First the content of an adopted site, such as uploads.
            f"for from in {by_hand} {here}; do if [ ! -e {place} ] && [ -e $from ] && [ ! -L $from ]; then"
            f" rm -rf {place}.new; cp -a $from {place}.new; mv -T {place}.new {place}; fi; done",
            f"rm -rf {here}; ln -s {place} {here}",
        ]
    if settings.shared_paths:
        steps.append(f"mkdir -p {' '.join(settings.shared_places[path] for path in settings.shared_paths)}")
    # On a fresh host the user is created later, and owners are set then.
    owners = [owned(place) for place in places(settings)]
    owners += [_owned_files(settings)] if settings.shared_files else []
    return [*steps, f"if getent passwd {settings.backend_unit} > /dev/null; then {'; '.join(owners)}; fi"]


def take_along(settings: Settings, backend: str) -> Iterator[str]:
    """Lines of a shell script for an adoption: record the owners of shared content, as they will change, move it out of
    the folder `backend` and leave a link, through which the still running application keeps writing."""
    for path, place in _pairs(settings):
        here = f"{backend}/{path}"
        # It is in `place` already where an adoption was interrupted, or was undone.
        yield f"for from in {here} {place}; do [ ! -e $from ] || [ -L $from ] || {record(place, '$from')}; done"
        yield (
            f"if [ -e {here} ] && [ ! -L {here} ] && [ ! -e {place} ]; then mkdir -p $(dirname {place});"
            f" mv -T {here} {place}; ln -s {place} {here}; fi"
        )


def there(settings: Settings) -> list[str]:
    """The shared paths that exist on the host, so that a release need not ship them."""
    if not settings.shared_places:
        return []
    listed = host.get_fact(Output, command=f"ls -d {' '.join(settings.shared_places.values())}").splitlines()
    return [path for path, place in _pairs(settings) if place in listed]
