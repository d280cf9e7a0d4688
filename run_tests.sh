#!/usr/bin/env bash
# Everything that must hold before a change is good: format, lints, dependencies, documentation, build, tests, shell scripts.
#
#     ./run_tests.sh
#
# On a fresh Debian machine with a Rust toolchain it installs what is missing (or says which packages to ask for): what building needs, a
# PostgreSQL server's programs, Prometheus, Slurm, systemd, Chromium, Node.js, Python, curl, shellcheck. Tests start their own servers on private sockets and ports and end
# them; what is left running all the same is killed and is a failure. Everything is built with --release, so that Polars is compiled once.
#
# All sections run, whatever fails; the exit code is 0 if none did. CARGO_TARGET_DIR is respected.
set -uo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
cd "$repository" || exit 1

# Longer than all tests take on two busy cores; a test that hangs must not hold up whoever waits.
TESTS_MAX=30m

missing_to_test() {
    missing_to_run
    any '/usr/lib/postgresql/*/bin/initdb' || printf '%s\n' postgresql
    command -v chromium >/dev/null || printf '%s\n' chromium
    has_node || printf '%s\n' nodejs npm
    command -v curl >/dev/null || printf '%s\n' curl
    command -v shellcheck >/dev/null || printf '%s\n' shellcheck
    command -v openssl >/dev/null || printf '%s\n' openssl
    command -v man >/dev/null || printf '%s\n' man-db
    command -v col >/dev/null || printf '%s\n' bsdextrautils
    command -v script >/dev/null || printf '%s\n' bsdutils
    command -v promtool >/dev/null || printf '%s\n' prometheus
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf '%s\n' python3-venv
    command -v collectd >/dev/null || printf '%s\n' collectd-core
    # Servers' programs need not be in the PATH of who is not root.
    any /usr/sbin/slurmctld || printf '%s\n' slurmctld
    any /usr/sbin/slurmd || printf '%s\n' slurmd
    command -v sbatch >/dev/null || printf '%s\n' slurm-client
    any /usr/sbin/munged || printf '%s\n' munge
    command -v systemd-analyze >/dev/null && any /lib/systemd/systemd || printf '%s\n' systemd
}

# Debian starts a server when it installs one; the tests start their own.
stop_server_just_installed() {
    if [ "$(id -u)" -eq 0 ]; then service "$1" stop; else sudo -n service "$1" stop; fi >/dev/null 2>&1
}

failed=()
started=$SECONDS

# section NAME COMMAND…
section() {
    local name=$1 from=$SECONDS code=0
    shift
    printf '\n==== %s\n' "$name"
    "$@" || code=$?
    if [ $code -eq 0 ]; then
        printf '==== %s: good, %d s\n' "$name" $((SECONDS - from))
    else
        printf '==== %s: FAILED with code %d, %d s\n' "$name" "$code" $((SECONDS - from))
        failed+=("$name")
    fi
}

lints() { cargo clippy --locked --release --all-targets -- -D warnings; }

documentation() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --release --no-deps --quiet; }

# cargo-deny is built once, beside what cargo builds here, and unoptimised: it runs for seconds. Without a network the list of advisories cannot be had; the rest is checked anyhow.
dependencies() {
    local tools log code
    tools=$(target_dir)/tools
    PATH=$PATH:$tools/bin
    command -v cargo-deny >/dev/null || cargo install --locked --quiet --debug --root "$tools" cargo-deny || return
    cargo deny --locked check bans licenses sources || return
    log=$(mktemp)
    cargo deny --locked check advisories 2>"$log"
    code=$?
    cat "$log" >&2
    if [ $code -ne 0 ] && grep -q 'failed to fetch advisory database' "$log"; then
        say "the list of advisories could not be fetched: not checked"
        code=0
    fi
    rm -f "$log"
    return $code
}

# The page as it is embedded, its types and its form.
page() { npm_packages && (cd web && npm run --silent build && touch node_modules/.page-built && npm run --silent check); }

tests() {
    if command -v cargo-nextest >/dev/null; then
        leaving_nothing cargo nextest run --locked --release --lib --bins --tests --no-fail-fast --status-level slow
    else
        leaving_nothing cargo test --locked --release --lib --bins --tests --no-fail-fast
    fi
}

# The page in a browser, on jobs of the program that was built.
page_tests() { CAUDAL_BIN=$(target_dir)/release/caudal leaving_nothing npm --prefix web run --silent test; }

# leaving_nothing COMMAND…: fails where what it started still runs when it ends, and kills that. Whatever a test starts inherits the variable,
# wherever it runs and whoever its parent is by now.
leaving_nothing() {
    local code left
    CAUDAL_TEST_RUN=$$ timeout -k 10 $TESTS_MAX "$@"
    code=$?
    left=$(grep -lzsx "CAUDAL_TEST_RUN=$$" /proc/[0-9]*/environ | cut -d/ -f3)
    if [ -n "$left" ]; then
        # shellcheck disable=SC2086
        say "the tests left these running:" "$(ps -o pid=,args= -p ${left//$'\n'/,} 2>/dev/null || echo $left)"
        # shellcheck disable=SC2086
        kill -KILL $left 2>/dev/null
        [ $code -ne 0 ] || code=1
    fi
    return $code
}

require_rust
cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
    rustup component add rustfmt clippy || fail $EX_UNAVAILABLE "rustfmt and clippy are missing: rustup component add rustfmt clippy"
mapfile -t missing < <(missing_to_test)
install "${missing[@]}"
for server in postgresql prometheus munge slurmctld slurmd; do
    case " ${missing[*]} " in *" $server "*) stop_server_just_installed "$server" ;; esac
done
allow_mpirun

# First, since the program embeds it.
section "page" page
section "format" cargo fmt --check
section "shell scripts" shellcheck -x run_mpi.sh run_tests.sh .ci/run scripts/*.sh pipelines/*/*.sh \
    deploy/*.sh deploy/slurm/caudal.sbatch deploy/apptainer/caudal tests/it/deploy/boot.sh
section "lints" lints
section "documentation" documentation
section "dependencies" dependencies
section "build" cargo build --locked --release
section "Python programs" python_tools
section "tests" tests
section "tests of the page" page_tests

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
    printf '%s: FAILED\n' "${failed[@]}"
    exit 1
fi
printf 'All good, %d s\n' $((SECONDS - started))
