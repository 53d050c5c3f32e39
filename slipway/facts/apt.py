"""Whether apt's sources work, checked without refreshing the host's package lists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from slipway.facts.base import Fact

# The system's own sources, which a server can't do without.
PARTS = "/etc/apt/sources.list.d"
SYSTEMS_OWN = ("/etc/apt/sources.list", f"{PARTS}/debian.sources", f"{PARTS}/ubuntu.sources")
# Working sources cause warnings too: only these ones count.
ERROR = re.compile("E: |W: .*(GPG error|Failed to fetch)")
CONFLICT = "Conflicting values set for option Signed-By regarding source"
# Refreshes only the signed index of each source, into a temporary folder and without hooks: takes a second.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Packages::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
Acquire::Retries "0";
APT::Update::Error-Mode "any";
"""


@dataclass
class Sources:
    """`unreadable` is apt's error if it can't parse its sources, which blocks all of apt. The others map a failing
    source's file and line ("/etc/apt/sources.list:3") to the reason: `failing` are the system's own, `ours` are those
    that Slipway writes, and `others` can be left out."""

    unreadable: str = ""
    failing: dict[str, str] = field(default_factory=dict)
    ours: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


# As root, apt would write its cache otherwise.
WITHOUT_CACHE = "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
LIST_TARGETS = f"apt-get {WITHOUT_CACHE} indextargets --no-release-info"


class AptSources(Fact[Sources]):
    """Whether apt can install from its sources; `seconds` is the connection timeout."""

    @staticmethod
    def default() -> Sources:
        return Sources()

    def command(self, seconds: int) -> str:
        return f"""\
export LC_ALL=C; work=$(mktemp -d) && chmod 755 $work && mkdir $work/lists && cat > $work/apt.conf <<'END'
{CONFIGURATION}END
for way in http https; do echo "Acquire::$way::Timeout \\"{seconds}\\";" >> $work/apt.conf; done
list=$({LIST_TARGETS} --format '$(SOURCESENTRY) $(SITE) $(RELEASE)' 2> $work/errors) ||
  sed 's/^/unreadable /' $work/errors
sed -n 's#.*regarding source \\([^ ]*[^ /]\\)/* \\([^ :]*\\):.*#\\1 \\2#p' $work/errors | while read -r uri release; do
  grep -lsF $uri /etc/apt/sources.list {PARTS}/* | xargs -r grep -lwF $release | sed 's/^/conflict /'
done
echo "$list" | sort -u | sed 's/^/source /'
grep -ls 'by Slipway' {PARTS}/* | sed 's/^/ours /'
[ -z "$list" ] || apt-get update -q -c $work/apt.conf -o Dir::State::lists=$work/lists 2>&1 | sed 's/^/said /'
rm -rf $work"""

    def process(self, output: list[str]) -> Sources:
        lines: dict[str, list[str]] = {}
        for line in output:
            kind, _, rest = line.partition(" ")
            lines.setdefault(kind, []).append(rest)
        errors = [line[3:].rstrip(".") for line in lines.get("unreadable", []) if line.startswith("E: ")]
        files = dict.fromkeys(lines.get("conflict", []))
        found = Sources("; ".join(dict.fromkeys(errors)) + (f", in {' and '.join(files)}" if files else ""))
        entries = [line.split(" ") for line in lines.get("source", []) if line.count(" ") >= 2]
        said = lines.get("said", [])
        for entry, site, release, *_ in entries:
            if reason := _reason(said, f"{site} {release} ", f"{site}/dists/{release}/"):
                file = entry.rpartition(":")[0]
                ours = found.ours if file in lines.get("ours", []) else found.others
                (found.failing if file in SYSTEMS_OWN else ours)[entry] = reason
        return found


def _reason(said: list[str], *marks: str) -> str:
    """apt's errors about a source, with the details that it prints below a failed address; "" if there are none."""
    wrong = [line[3:] for line in said if ERROR.match(line) and any(mark in line for mark in marks)]
    found = [" ".join(line.split()).rstrip(".") for line in wrong]
    details = [
        " ".join(after.split())
        for line, after in pairwise(said)
        if line.startswith("Err:") and any(mark in f"{line} " for mark in marks) and after.startswith("  ")
    ]
    return "; ".join(dict.fromkeys([*found, *(detail for detail in details if detail not in " ".join(found))]))
