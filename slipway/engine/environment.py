"""The environment of every command on a host: our own, whatever a login there sets up.

A login brings the umask of a hardened image (077), a locale, aliases, a PATH, BASH_ENV, and a profile that prints; its
shell may be fish, zsh or csh. Of all that only the login shell sees something, and it gets one line that means the same
in each of them: it becomes `sh`, and that one starts the command with variables of ours.
"""

from __future__ import annotations

import base64
import gzip
import shlex

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What is set for the whole host, pam_env(8): of it the way to the network counts, a proxy. A login's own does not.
SYSTEM = "/etc/environment"
# SSH_CONNECTION: facts/ssh.py. The others are of who has logged in.
_KEPT = ("HOME", "USER", "LOGNAME", "SSH_CONNECTION")
# What sudo says where it is told `requiretty`.
NEEDS_TERMINAL = "must have a tty"
# An argument of a program has at most 128 KiB, execve(2): a longer command is compressed.
_LONG_BYTES = 60_000
# csh has a limit for a word of its own, of 1 KiB in its oldest form.
_WORD = 1000


def clean(command: str) -> str:
    """A line for `sh` that becomes `command`, one for `sh` as well, in an environment of our own.

    Where /tmp can't be written to, temporary files go elsewhere. Nothing of Slipway's runs from there: it may be
    mounted noexec.
    """
    kept = " ".join(f'${{{name}:+"{name}=${name}"}}' for name in _KEPT)
    return (
        "umask 022; elsewhere=; [ -w /tmp ] || elsewhere=/var/tmp;"
        f" exec /usr/bin/env -i PATH={PATH} LC_ALL=C.UTF-8 {_proxies()} {kept}"
        f' ${{elsewhere:+"TMPDIR=$elsewhere"}} {command}'
    )


def _proxies() -> str:
    """Words of `sh` that are NAME=VALUE for each of the host's proxies, without quotes, blanks and comments: each line
    is one word, whatever is in it."""
    tidy = "s|[[:space:]]#.*||; s|[^][A-Za-z0-9=:/.,@%_+~*-]||g"
    lines = f'/usr/bin/grep -Ei "^(http|https|ftp|all|no)_proxy=" {SYSTEM} 2> /dev/null'
    return f'$({lines} | /usr/bin/sed -E "{tidy}")'


def inside() -> str:
    """A line for `sh` before a command of another user, root by sudo: that one has read /etc/environment anew, and has
    an umask of its own."""
    return (
        f"umask 022; export PATH={PATH} LC_ALL=C.UTF-8 {_proxies()};"
        " unset BASH_ENV ENV CDPATH LANGUAGE POSIXLY_CORRECT TMOUT TMPDIR TMP TEMP;"
        " [ -w /tmp ] || export TMPDIR=/var/tmp;"
    )


def for_any_shell(line: str, *words: str) -> str:
    """A command that runs a line of `sh`, with `words` as $1, $2, ..., whichever shell the login has.

    The line has nothing in it that one of these takes for its own between single quotes, and neither have the words.
    """
    assert not set("'\\!\n") & set(line + "".join(words))
    return " ".join(["exec /bin/sh -c", f"'{line}'", "sh", *words])


def shell() -> str:
    """A command for any login shell: a `sh` that reads a script from its standard input."""
    return for_any_shell(clean("/bin/sh"))


def marked(command: str, mark: str) -> str:
    """A command for any login shell that runs `command`, one for `sh`. What is printed before the line `mark`, on
    standard output and on standard error, is the login's."""
    data = command.encode()
    reading = "/usr/bin/base64 -d"
    if len(data) > _LONG_BYTES:
        data, reading = gzip.compress(data, mtime=0), f"{reading} | /bin/gzip -d"
    line = f'echo $1; echo $1 >&2; shift; {clean(f"""/bin/sh -c "$(IFS=; echo "$*" | {reading})" """).rstrip()}'
    coded = base64.b64encode(data).decode()
    return for_any_shell(line, mark, *(coded[at : at + _WORD] for at in range(0, len(coded), _WORD)))


def with_terminal(command: str) -> str:
    """A command for `sh` that has a terminal, and input and outputs of its own all the same: a sudo that is told
    `requiretty` refuses to run without the first, and a script would be changed by it on its way in and out."""
    inner = f"{command} <&5 >&6 2>&7"
    return f"script -qec {shlex.quote(inner)} /dev/null 5<&0 6>&1 7>&2 < /dev/null > /dev/null 2>&1"
