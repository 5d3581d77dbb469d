# shellcheck shell=bash disable=SC2034
# Where the test cluster lives, and the few functions that its scripts share. Sourced, never run.

CACHE=${KDBATCH_CLUSTER_CACHE:-/var/cache/kdbatch-cluster} # programs and built images: kept between runs
STATE=${KDBATCH_CLUSTER_STATE:-/tmp/kdbatch-cluster}       # configuration, logs, jobs: gone after `down --wipe`
LAYER=$CACHE/layer                                         # a tree of /usr, /etc and /var/lib that lies over this machine's
JOB_USER=kdjob JOB_UID=64123                               # exists inside the cluster's mount namespace only
JOB_HOME=$CACHE/home
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# is_running PID NAME: a zombie counts as gone, another program that got the number does not count.
is_running() {
  local status=''
  { IFS= read -rd '' status <"/proc/$1/status"; } 2>/dev/null || true # it is never more than one read, and no end is found in it
  [[ $status =~ Name:[[:space:]]"${2:0:15}" && ! $status =~ State:[[:space:]]*[ZX] ]]
}

# processes NAME: the numbers of those that live. A small Debian has no pgrep.
processes() {
  local place
  for place in /proc/[0-9]*; do
    ! is_running "${place#/proc/}" "$1" || echo "${place#/proc/}"
  done
}

# until_true SECONDS COMMAND...
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

pid_in() { tr -dc 0-9 2>/dev/null <"$1"; }

# The process that keeps the mount namespace: everything else is found through it.
holder() {
  local pid
  pid=$(pid_in "$STATE/holder.pid") && [ -n "$pid" ] && is_running "$pid" sleep && echo "$pid"
}
