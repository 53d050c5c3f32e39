"""What stays when a release changes: folders and files that the application writes, with a link to each in every
release. Capistrano calls them linked_dirs and linked_files."""

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

# Nginx's workers.
WEB = "www-data"


@dataclass(frozen=True)
class Place:
    """A folder or a file of the host with whom it belongs to; of a folder that is `whole` all that is in it does."""

    path: str
    owner: str
    group: str
    mode: str
    is_folder: bool = True
    whole: bool = False


def places(settings: Settings) -> Iterator[Place]:
    """What stays, and the folders that it is in, those before. Folders of folders are root's: nobody else can put
    something in the place of one."""
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
    """Make the folders that stay, the application's to write to and nobody else's."""
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
    """A command that does something with files that stay and are not the application's; one may not be there yet."""
    files = " ".join(settings.shared_places[path] for path in settings.shared_files)
    find = f"find $file -maxdepth 0 -type f ! -user {settings.backend_unit} {action}"
    return f"for file in {files}; do [ ! -f $file ] || {find}; done"


def _owned_files(settings: Settings) -> str:
    user = settings.backend_unit
    return _of_others(settings, f"-exec chown {user}:{user} {{}} + -exec chmod 640 {{}} +")


def owned(place: Place) -> str:
    """A command that gives a folder to whom it belongs, where it does not yet. The folder itself is the last to be
    given: what was interrupted begins anew. No link that is there is followed."""
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
    """Lead every release on the host to what stays, also those that were shipped before it was to stay."""
    if not settings.shared_places:
        return
    links = "; ".join(f'[ "$(readlink $id/backend/{path})" = {place} ] || echo $id' for path, place in _pairs(settings))
    each = f"for id in $({artifact.IDS}); do [ ! -d $id/backend ] || {{ {links}; }}; done"
    found = sorted({*host.get_fact(Output, command=f"cd {settings.site_root}/releases && {each}").split()})
    if not found:
        return
    notes.note("\n".join(f"{path} -> {place} in releases {', '.join(found)}" for path, place in _pairs(settings)))
    # The current one first: what it has becomes what stays.
    releases, now = f"{settings.site_root}/releases", f"readlink {settings.site_root}/current"
    loop = f"for id in $({now} | grep -o '[^/]*$') {' '.join(found)}; do backend={releases}/$id/backend"
    yield f"set -eu; {loop}; {'; '.join(link_steps(settings, '$backend'))}; done"


def _pairs(settings: Settings) -> list[tuple[str, str]]:
    return [*settings.shared_places.items()]


def link_steps(settings: Settings, backend: str) -> list[str]:
    """Steps of a shell script that put links into the folder `backend` of a release. What it has at their places
    becomes what stays where that is not there yet, and is dropped otherwise: what stays is never overwritten."""
    if not settings.shared_places:
        return []
    steps = []
    for path, place in _pairs(settings):
        here, by_hand = f"{backend}/{path}", f"{settings.site_root}/backend.by-hand/{path}"
        steps += [
            f"mkdir -p $(dirname {place} {here})",
            # First what a server built by hand has kept, which visitors have brought.
            f"for from in {by_hand} {here}; do if [ ! -e {place} ] && [ -e $from ] && [ ! -L $from ]; then"
            f" rm -rf {place}.new; cp -a $from {place}.new; mv -T {place}.new {place}; fi; done",
            f"rm -rf {here}; ln -s {place} {here}",
        ]
    if settings.shared_paths:
        steps.append(f"mkdir -p {' '.join(settings.shared_places[path] for path in settings.shared_paths)}")
    # On a fresh host the user comes later, and with it what it owns.
    owners = [owned(place) for place in places(settings)]
    owners += [_owned_files(settings)] if settings.shared_files else []
    return [*steps, f"if getent passwd {settings.backend_unit} > /dev/null; then {'; '.join(owners)}; fi"]


def take_along(settings: Settings, backend: str) -> Iterator[str]:
    """Lines of a shell script for a server that was built by hand: what stays moves out of the folder `backend`, and a
    link takes its place, by which the application that is still running there goes on writing."""
    for path, place in _pairs(settings):
        here = f"{backend}/{path}"
        yield (
            f"if [ -e {here} ] && [ ! -L {here} ] && [ ! -e {place} ]; then mkdir -p $(dirname {place});"
            f" mv -T {here} {place}; ln -s {place} {here}; fi"
        )


def there(settings: Settings) -> list[str]:
    """The paths that a release need not bring, as they are on the host already."""
    if not settings.shared_places:
        return []
    listed = host.get_fact(Output, command=f"ls -d {' '.join(settings.shared_places.values())}").splitlines()
    return [path for path, place in _pairs(settings) if place in listed]
