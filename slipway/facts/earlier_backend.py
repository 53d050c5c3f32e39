"""What the previous backend of a site reads and writes, as sections of facts.Earlier."""

from __future__ import annotations

# Code and documents, which a deployment may replace while the backend runs: a folder named "media" may hold nothing
# else. By their suffixes, and by their names.
CODE = (
    "py|py[cdio]|so|pyx|ipynb|html?|jinja2?|j2|m?js|cjs|jsx|tsx?|vue|css|s[ac]ss|less|map|md|rst|toml|cfg|ini|lock|ya?ml"
    "|sh|bat|log|swp|service|conf|example|(db|sqlite[0-9]?)-(wal|shm|journal)"
)
NAMES = "(package|package-lock|tsconfig|composer)[.]json|requirements[^/]*[.]txt|LICENSE|Makefile|Dockerfile[^/]*"
SKIPPED = r"\( -name venv -o -name .venv -o -name env -o -name node_modules -o -name .git -o -name __pycache__ \)"
# Seconds: a disk may hold millions of files, and a resolver may not answer.
MAX_SEARCH, MAX_LOOKUP = 20, 5
MAX_PLACES = 100
# Where backends have folders besides their code; the other folders are the system's.
OUTSIDE = "/srv /data /opt /mnt /var/uploads /var/data /var/media"
OF_SYSTEM = (
    "/ | /usr | /usr/* | /etc | /etc/* | /bin/* | /sbin/* | /lib* | /proc/* | /sys/* | /dev/* | /run/* | /boot/*"
    " | /tmp | /tmp/* | /var/tmp | /var/tmp/* | /var/cache/* | /var/log/journal/*"
)
IN_CODE = "[\\\"'](sqlite[a-z+]*:///)?/(srv|data|opt|mnt|home|var/[a-z]+)/[A-Za-z0-9_./-]+[\\\"']"
# Databases that code names: of a client, and the default of a variable.
QUOTED = "[\\\"'][a-z0-9_-]+[\\\"']"
OF_CLIENT = f"((client|mongo|motor|conn|cluster)[a-z_]*|[)])[[]{QUOTED}|get_database[(]{QUOTED}"
DEFAULT = f"[a-z_]*(db|database|dbname|mongo(db)?_name)(_name)?[\\\"']?( *, *|( *: *str)? *= *){QUOTED}"
# Variables that name a database, and a MongoDB's host.
NAMES_DATABASE = "(.*_)?(DB|DATABASE|DBNAME)(_NAME)?|(.*_)?MONGO(DB)?_(DBNAME|NAME)"
NAMES_HOST = "(.*_)?MONGO(DB)?_?(.*_)?HOST(NAME)?"

IS_HERE = f"""\
own_addresses=" $(ip -o addr show | awk '{{sub("/.*", "", $4); print $4}}' | tr '\\n' ' ') "
is_here() {{
  # "HOST:PORT" is this server.
  case $1 in "["*) host=${{1#"["}}; host=${{host%%"]"*}} ;; *) host=${{1%%:*}} ;; esac
  case $host in localhost | 127.* | ::1 | 0.0.0.0 | host.docker.internal | %2[fF]*) return 0 ;; esac
  for address in $(timeout {MAX_LOOKUP} getent ahosts "$host" | cut -d' ' -f1 | sort -u); do
    case $address in 127.* | ::1) return 0 ;; esac
    case $own_addresses in *" $address "*) return 0 ;; esac
  done
  return 1
}}"""
# Uses `s` of facts.Earlier. Values stay on the host: they may be secrets.
FUNCTIONS = f"""\
{IS_HERE}
environment_files() {{
  # The last one counts.
  systemctl show -p EnvironmentFiles --value $unit | sed 's/ (ignore_errors=.*//; s/^-//' | tac
}}
option_files() {{
  systemctl show -p ExecStart --value $unit | grep -oE -e '--env-file[ =][^ ;]+' | sed 's/^--env-file.//' |
    while read -r file; do case $file in /*) echo "$file" ;; *) echo "${{cwd:-$root/backend}}/$file" ;; esac; done
  for file in ${{folder:+"$folder/.env"}} $root/backend/.env $root/.env; do echo "$file"; done
}}
texts() {{ while read -r file; do cat "$file"; echo; done; }}
environment() {{
  # "NAME=VALUE", by what counts first: the process has what its unit says, and python-dotenv keeps what there is.
  {{
    [ "${{pid:-0}}" = 0 ] || tr '\\0' '\\n' < /proc/$pid/environ
    environment_files | texts
    systemctl show -p Environment --value $unit | xargs -n 1 printf '%s\\n'
    option_files | texts
  }} | sed -nE "s/^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*[\\"']?/\\\\2=/p" |
    sed -E "s/[\\"'[:space:]].*//" | awk -F= '!seen[$1]++'
}}
like() {{ printf '%s\\n' "$1" | grep -qixE -e "$2"; }}
databases() {{
  environment | while IFS== read -r name value; do
    where=$value; database=
    case $value in
      mongodb://* | mongodb+srv://*)
        where=$(printf '%s\\n' "$value" | sed -E 's,^[^:]*://([^/?]*@)?([^?]*).*,\\2,')
        like "$where" '[][A-Za-z0-9._:,%-]+(/[A-Za-z0-9_%-]*)?' || continue
        database=${{where#*/}}; [ "$database" != "$where" ] || database=; where=${{where%%/*}} ;;
      *)
        like "$value" '[A-Za-z0-9_.:-]+' || continue
        if like "$name" '{NAMES_DATABASE}'; then echo "$name - - $value"; continue; fi
        like "$name" '{NAMES_HOST}' || continue ;;
    esac
    far=; for one in $(printf '%s\\n' "$where" | tr ',' ' '); do
      case $value in mongodb+srv:*) ;; *) ! is_here "$one" || continue ;; esac; far=$far,$one
    done
    far=${{far#,}}; echo "$name $where ${{far:--}} ${{database:--}}"
  done
  sources -i "{OF_CLIENT}" | sed -E "s/[\\"']$//; s/.*[\\"']/code - - /" | sort -u
  given=$(environment | cut -d= -f1)
  sources -iw "{DEFAULT}" | sed -E "s/[\\"']$//; s/^([A-Za-z_]+).*[\\"']/\\\\1 /" | sort -u |
  while read -r name database; do
    printf '%s\\n' "$given" | grep -qixF "$name" || echo "code - - $database"
  done
}}
sources() {{
  timeout {MAX_SEARCH} grep -rhoE --include='*.py' --exclude-dir=venv --exclude-dir=.venv --exclude-dir=env \\
    --exclude-dir=node_modules --exclude-dir=tests "$@" $root/backend $folder | head -n {MAX_PLACES}
}}
code() {{ grep -E '[.]({CODE})$|/({NAMES})$|/[.][^/]*$' "$@"; }}
a_file_of_each() {{
  # Of a folder, or of what is uploaded; of databases each.
  awk '{{key = $0
    if (match(key, "/(uploads|media)/")) key = substr(key, 1, RSTART + RLENGTH - 1)
    else if (key !~ "[.](db|sqlite[^/]*)$") sub("/[^/]*$", "", key)
    if (!seen[key]++) print}}' |
    head -n {MAX_PLACES}
}}
written() {{
  places="$root/backend ${{folder:-}}"
  for place in uploads media data storage files; do
    [ ! -d "$root/$place" ] || [ -L "$root/$place" ] || places="$places $root/$place"
  done
  {{
    find $places {SKIPPED} -prune -o -type d \\( -name uploads -o -name media \\) -prune -print |
    while read -r place; do
      [ -e "$place/__init__.py" ] || timeout {MAX_SEARCH} find "$place" -type f | code -v -m 1
    done
    timeout {MAX_SEARCH} find $places {SKIPPED} -prune -o -type f \\
      \\( -newermt "${{began:-now}}" -o -name '*.sqlite*' -o -name '*.db' \\) -print | code -v
  }} | a_file_of_each
}}
outside() {{
  # "REASON PATH" of a place outside of the site that the backend may write to, without links in its path.
  place=$2
  case $place in /*) ;; *) place=${{cwd:-$root/backend}}/$place ;; esac
  [ -e "$place" ] && place=$(readlink -f "$place") || return 0
  # Other files that are named are read.
  case $1:$place in open:* | newer:* | *.db | *.sqlite*) ;; *) [ -d "$place" ] || return 0 ;; esac
  case $place in
    {OF_SYSTEM}) return 0 ;;
    /home/*/* | /var/*/*) ;;
    /home/* | /var/* | /root | /srv | /opt | /mnt) return 0 ;;
  esac
  case $place/ in
    $root/backend/* | $root/frontend/* | $root/shared/* | ${{folder:-$root/backend}}/*) return 0 ;;
  esac
  case ${{folder:-$root}}/ in $place/*) return 0 ;; esac
  [ "$user" = root ] || runuser -u "$user" -- test -w "$place" || return 0
  echo "$1 $place"
}}
processes_of_unit() {{ grep -lsE "/$unit(/|\\$)" /proc/[0-9]*/cgroup | sed 's,/cgroup$,,'; }}
stores() {{
  environment | while IFS== read -r name value; do
    case $value in
      /*:/*) ;;
      /* | ../* | ./*) outside "$name" "$value" ;;
      sqlite*:////*) outside "$name" "/${{value#*:////}}" ;;
    esac
  done
  for process in $(processes_of_unit); do
    for descriptor in "$process"/fd/*; do
      # The first three are of its unit.
      case ${{descriptor##*/}} in [012]) continue ;; esac
      path=$(readlink "$descriptor"); case $path in /*) ;; *) continue ;; esac; [ -f "$path" ] || continue
      # open(2): the last two bits.
      ! grep -q '^flags:.*[1256]$' "$process/fdinfo/${{descriptor##*/}}" || outside open "$path"
    done
  done | sort -u
  sources "{IN_CODE}" | sed -E 's,^.(sqlite[^/]*:///)?,,; s,.$,,' | sort -u |
    while read -r path; do outside code "$path"; done
  # What is of a user of its own was written by the backend.
  case $user in root | www-data | nobody) return 0 ;; esac
  find /proc -maxdepth 1 -name '[0-9]*' -user "$user" -printf '%p/cgroup\\n' |
    xargs -r grep -LsE "/$unit(/|\\$)|/user[.]slice/" | grep -q . ||
    timeout {MAX_SEARCH} find {OUTSIDE} -maxdepth 6 {SKIPPED} -prune -o -type f -user "$user" \\
      -newermt "${{began:-now}}" -print | code -v | a_file_of_each | while read -r path; do outside newer "$path"; done
}}"""


def sections(roots: str) -> str:
    """A shell script for facts.Earlier, with its functions."""
    return f"""\
{FUNCTIONS}
for root in {roots}; do
  unit=${{root##*/}}-backend.service
  cwd=$(systemctl show -p WorkingDirectory --value $unit); cwd=${{cwd#!}}
  folder=$cwd; case $folder in "$root"*) folder= ;; /*/*) ;; *) folder= ;; esac
  began=$(systemctl show -p ExecMainStartTimestamp --value $unit)
  pid=$(systemctl show -p MainPID --value $unit)
  user=$(systemctl show -p User --value $unit); user=${{user:-root}}
  s "written $root"; written
  s "environment $root"
  {{ environment_files; option_files; }} | texts |
    sed -nE 's/^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=.*/\\2/p' | sort -u
  s "databases $root"; databases
  s "stores $root"; stores
done"""
