# shellcheck shell=bash
# What setup, test, demo and bench share: where things are, how they speak, how they end.
# Sourced, never run: `. "$(dirname "$0")/lib.sh"`.

# shellcheck disable=SC2034  # for those who source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${TRAINYARD_CACHE:-$HOME/.cache/trainyard}

# One line per step; progress goes to stderr so that stdout stays for results.
say() { printf '%s\n' "$*" >&2; }

# One sentence, then the end.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# The environment every build and run of this project uses. `print_env` prints it for a developer's shell.
export_env() {
  export TRAINYARD_CACHE=${TRAINYARD_CACHE:-$HOME/.cache/trainyard}
  export LIBTORCH=$CACHE/libtorch
  export CARGO_TARGET_DIR=$CACHE/target
  export CC=clang CXX=clang++
  # Idle OpenMP threads sleep instead of spinning: several trainers share the machine's cores.
  export OMP_WAIT_POLICY=passive
  case ":$PATH:" in
    *":$CACHE/bin:"*) ;;
    *) export PATH="$CACHE/bin:$PATH" ;;
  esac
}

# The same environment, as lines for `eval "$(scripts/setup --env)"`.
print_env() {
  local name
  export_env
  for name in TRAINYARD_CACHE LIBTORCH CARGO_TARGET_DIR CC CXX OMP_WAIT_POLICY PATH; do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
}

# Builds both binaries into $CARGO_TARGET_DIR/debug. The whole workspace, so that dependencies get the features they have in tests
# and are compiled once.
build_binaries() {
  (cd "$ROOT" && cargo build --workspace --bins --locked)
}

# Marks every process started from here on, so that the end can find them whoever their parent is by then.
mark_children() {
  export TRAINYARD_RUN="$$.$RANDOM$RANDOM"
}

# The marked processes that still run, this shell left out.
marked_children() {
  local file pid
  grep -lsxzF "TRAINYARD_RUN=$TRAINYARD_RUN" /proc/[0-9]*/environ | while read -r file; do
    pid=${file//[!0-9]/}
    [ "$pid" = "$$" ] || printf '%s\n' "$pid"
  done
}

# Ends what this script started and what still runs of it: asked first, killed after five seconds.
stop_children() {
  local signal=TERM tries pids
  for tries in {0..50}; do
    mapfile -t pids < <(marked_children)
    # The scan names itself, gone by now; only who can still be signalled counts.
    kill -"$signal" "${pids[@]}" 2>/dev/null || return 0
    [ "$tries" -lt 49 ] || signal=KILL
    sleep 0.1
  done
}
