#!/bin/sh
# What is done on each worker, called from afar over ssh in its user's home folder:
#   sh tinyjax-worker.sh setup LABEL | start TOKEN COMMAND... | state | stop SIGNAL | log LINES | follow LINES | doctor FLAGS...
# ~/tinyjax holds the code and its .venv; ~/tinyjax-job the job's files: command, token, env, started, boot, pid, supervisor, log and,
# when it has ended, exit. Older jobs lie beside it as tinyjax-job-TIME.
# Exit codes: 0 done, 3 a job is running, 4 not set up, else those of what was called.
set -eu
code=$HOME/tinyjax job=$HOME/tinyjax-job

say() { printf '%s\n' "$*" >&2; }

boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown; }

# A process number says nothing after the machine was started anew.
running() {
  [ -s "$job/pid" ] && [ ! -e "$job/exit" ] && [ "$(cat "$job/boot")" = "$(boot)" ] &&
    { kill -0 "$(cat "$job/pid")" || kill -0 "$(cat "$job/supervisor")"; } 2>/dev/null # whose word comes a moment after
}

age() { stat -c %Y "$1" 2>/dev/null || echo 0; }

need_code() {
  [ -e "$HOME/tinyjax-ready" ] || { say "this worker isn't set up: run launch/tpu setup"; exit 4; }
}

# A usable Python for tools/setup: the system's, or one that uv fetches into this home folder. Nothing needs root. The
# images for v4 to v6e have Python 3.10, and Ubuntu 22.04's own python3.11 is a release candidate.
find_python() {
  for python in python3.13 python3.12 python3.11; do
    "$python" -c 'import venv, ensurepip, ssl' 2>/dev/null && return
  done
  uv=$HOME/.tinyjax-uv
  if [ ! -x "$uv/bin/uv" ]; then
    say "no Python of 3.11 to 3.13 here: fetching one with uv"
    python3 -m pip install --quiet --disable-pip-version-check --target "$uv" 'uv>=0.8,<1' || no_python pip
  fi
  "$uv/bin/uv" python install --quiet 3.13 || no_python "uv python install 3.13"
  PATH=$(dirname "$("$uv/bin/uv" python find --managed-python 3.13)"):$PATH
}

no_python() {
  say "'$1' failed, see above. The worker needs a way to the internet (an external address or Cloud NAT) for Python and"
  say "the packages; or install python3.12 with its venv on it yourself, then call setup again."
  exit 4
}

# The new code takes the old one's place whole; its .venv goes along, and is completed where the locks have changed.
setup() { # $1: which code it is
  if running; then say "a job is running here; stop it first"; exit 3; fi
  rm -f tinyjax-ready
  [ ! -e tinyjax.tar.gz ] || unpack "$1" # else it came to that already, when this was asked for before
  [ "$(cat tinyjax-source 2>/dev/null)" = "$1" ] || { say "the code didn't arrive; call setup again"; exit 4; }
  find_python
  (cd "$code" && ./tools/setup tpu)
  : >tinyjax-ready
}

unpack() { # $1: which code it is
  rm -rf "$code.new" "$code.old"
  mkdir "$code.new"
  tar -xzf tinyjax.tar.gz -C "$code.new"
  [ ! -d "$code/.venv" ] || mv "$code/.venv" "$code.new/.venv"
  [ ! -d "$code" ] || mv "$code" "$code.old"
  mv "$code.new" "$code"
  printf '%s\n' "$1" >tinyjax-source
  rm -rf "$code.old" tinyjax.tar.gz
}

start() { # $1: a token that tells this start from others; then the command
  need_code
  token=$1
  shift
  if running; then
    [ "$(cat "$job/token")" = "$token" ] && return # asked twice, as when the first answer was lost
    say "a job is running already, since $(date -d "@$(age "$job/started")"): $(cat "$job/command")"
    exit 3
  fi
  [ ! -d "$job" ] || mv "$job" "$job-$(date +%Y%m%d-%H%M%S)-$$"
  (umask 077 && mkdir "$job")
  [ ! -e "tinyjax-env-$token" ] || mv "tinyjax-env-$token" "$job/env"
  rm -f tinyjax-env-*
  printf '%s\n' "$token" >"$job/token"
  printf '%s\n' "$*" >"$job/command"
  boot >"$job/boot"
  : >"$job/started"
  : >"$job/log"
  setsid nohup sh "$0" supervise "$@" </dev/null >>"$job/log" 2>&1 &
  echo $! >"$job/supervisor"
  while [ ! -s "$job/pid" ] && [ ! -e "$job/exit" ]; do sleep 0.05; done
}

# Outlives the ssh connection, and keeps the exit code. The job is not in its background, where it would ignore Ctrl-C.
supervise() {
  set +e
  cd "$code"
  (
    [ ! -e "$job/env" ] || . "$job/env"
    export PYTHONUNBUFFERED=1
    exec sh -c 'echo $$ >"$0"; exec "$@"' "$job/pid" "$@"
  )
  echo $? >"$job/exit.new"
  mv "$job/exit.new" "$job/exit"
}

# One line for a program, one for people: the last of the log.
state() {
  if [ ! -e tinyjax-ready ]; then what=bare
  elif [ ! -d "$job" ]; then what=idle
  elif running; then what=running
  elif [ -e "$job/exit" ]; then what=ended
  else what=lost; fi
  printf 'tinyjax-worker %s started=%s ended=%s exit=%s token=%s source=%s\n' "$what" "$(age "$job/started")" \
    "$(age "$job/exit")" "$(cat "$job/exit" 2>/dev/null)" "$(cat "$job/token" 2>/dev/null)" \
    "$(cat tinyjax-source 2>/dev/null)"
  [ ! -e "$job/log" ] || tail -n 1 "$job/log"
}

stop() { # $1: TERM, on which a run saves what it has and ends with 42, or KILL
  if running; then kill -"$1" "$(cat "$job/pid")" 2>/dev/null || :; fi # it may end by itself meanwhile
}

log() { # $1: how many lines
  [ -e "$job/log" ] || { say "no job has run here yet"; exit 4; }
  tail -n "$1" "$job/log"
}

follow() { # $1: how many lines to begin with
  [ -e "$job/log" ] || { say "no job has run here yet"; exit 4; }
  if running; then tail -n "$1" -f --pid="$(cat "$job/pid")" "$job/log"; else tail -n "$1" "$job/log"; fi
}

doctor() {
  need_code
  cd "$code"
  .venv/bin/python -m tinyjax.bin.doctor "$@" 2>&1
}

# On one line, read at once: a later setup may write this file anew while a job is waited for.
"$@"; exit
