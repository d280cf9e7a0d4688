# shellcheck shell=bash
# What run_mpi.sh and run_tests.sh share: settings, finding out what is missing, installing it where that is allowed, building.
# Sourced by bash, not run. It sets `repository` and changes no directory. Whatever it says goes to stderr.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Exit codes are those of sysexits.h, as everywhere in Caudal.
EX_UNAVAILABLE=69
# shellcheck disable=SC2034
EX_CONFIG=78

say() { printf 'caudal: %s\n' "$*" >&2; }

# fail CODE LINE…: says it and ends.
fail() {
    local code=$1 line
    shift
    for line in "$@"; do say "$line"; done
    exit "$code"
}

# setting NAME DEFAULT: from the environment or else from .env of this directory, which is read and never run.
setting() {
    local line pattern="^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*(.*)$"
    if [ -n "${!1:-}" ]; then
        printf '%s' "${!1}"
        return
    fi
    if [ -r .env ]; then
        while IFS= read -r line || [ -n "$line" ]; do
            [[ $line =~ $pattern ]] || continue
            line=${BASH_REMATCH[2]%$'\r'}
            case $line in
                \"*) line=${line#\"} line=${line%%\"*} ;;
                \'*) line=${line#\'} line=${line%%\'*} ;;
                *) line=${line%%[[:space:]]*} ;;
            esac
            [ -n "$line" ] || break
            printf '%s' "$line"
            return
        done <.env
    fi
    printf '%s' "$2"
}

# The oldest Rust that builds this repository, as Cargo.toml has it.
require_rust() {
    local wanted found
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$repository/Cargo.toml")
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        fail $EX_UNAVAILABLE "Rust is missing. Install it (no administrator needed) with" \
            "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" "and start this again in a new shell."
    fi
    found=$(cd "$repository" && rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n1)" != "$wanted" ]; then
        fail $EX_UNAVAILABLE "Rust $found is too old: $wanted or newer is needed. With rustup:" "    rustup update stable" \
            "Without: https://rustup.rs"
    fi
}

# The library, which is not libclang-cpp, and the compiler's own headers, which come with libclang-dev only.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || {
        any '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib*/libclang.so*' '/usr/lib/*-linux-gnu/libclang-[0-9]*.so*' &&
            any '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' '/usr/lib*/clang/*/include/stddef.h'
    }
}

# any PATTERN…: whether a file of any of these names is there.
any() {
    local pattern
    for pattern in "$@"; do
        ! compgen -G "$pattern" >/dev/null || return 0
    done
    return 1
}

# The Debian packages that building and starting need and that are not there, one a line.
missing_to_run() {
    command -v cc >/dev/null || printf '%s\n' gcc libc6-dev
    command -v mpicc >/dev/null || printf '%s\n' libopenmpi-dev
    command -v mpirun >/dev/null || printf '%s\n' openmpi-bin
    has_libclang || printf '%s\n' libclang-dev
}

# As old as this Node.js may be to build the page.
NODE_MAJOR_MIN=18

has_node() {
    command -v npm >/dev/null && command -v node >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge $NODE_MAJOR_MIN ]
}

# npm_packages [OPTION…]: what the page is made with, as the lock file has it, where that is not there already.
npm_packages() {
    local web=$repository/web
    # npm leaves this file when it is done.
    if [ "$web/node_modules/.package-lock.json" -ot "$web/package-lock.json" ]; then
        (cd "$web" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error "$@" >&2)
    fi
}

# Builds the page into web/dist, which the program embeds, where what it is made of has changed since. The program works without it.
build_page() {
    local web=$repository/web built=$repository/web/node_modules/.page-built changed
    if [ -f "$web/dist/index.html" ] && [ -f "$built" ]; then
        changed=$(find "$web" -path "$web/node_modules" -prune -o -path "$web/dist" -prune -o -type f -newer "$built" -print -quit)
        [ -n "$changed" ] || return 0
    fi
    if ! has_node && can_install; then
        install nodejs npm
    fi
    if ! has_node; then
        say "the page is not built: Node.js $NODE_MAJOR_MIN or newer with npm is missing (Debian's packages: nodejs npm). The calls are served without it"
        return 0
    fi
    if npm_packages --omit=dev && (cd "$web" && npm run --silent build >&2); then
        touch "$built"
    else
        say "the page could not be built; its message is above. The calls are served without it"
    fi
}

can_install() { command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; }

# install PACKAGE…: as root or with a sudo that asks nothing; anyone else is told whom to ask for what.
install() {
    [ $# -gt 0 ] || return 0
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        fail $EX_UNAVAILABLE "these are missing (Debian's names): $*" "Install what your system calls them, and start this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            fail $EX_UNAVAILABLE "these packages are missing: $*" "You may not install them; ask an administrator to run" \
                "    apt-get update && apt-get install -y $*" "and start this again."
        fi
        as_root=(sudo -n)
    fi
    say "installing $*"
    # An update that fails may be a dead mirror among good ones; the installation decides.
    "${as_root[@]}" apt-get -qq update >&2 || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2 ||
        fail $EX_UNAVAILABLE "apt-get could not install: $*" "Its message above says why. By hand: apt-get install -y $*"
}

# Open MPI's mpirun refuses root, and more ranks than cores, unless told otherwise.
allow_mpirun() {
    if [ "$(id -u)" -eq 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # A container may forbid one process to read another's memory; the ranks then pass large messages through shared memory.
    if [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${KUBERNETES_SERVICE_HOST:-}" ]; then
        export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
    fi
}

# Where cargo puts what it builds. Cargo reads the repository's .cargo/config.toml only from within the repository.
target_dir() { (cd "$repository" && cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'); }

# Python programs that tests use, each of the version that tests/python/requirements.txt says: installed once for each state of that file. Prints the folder.
python_tools() {
    local wanted=$repository/tests/python/requirements.txt tools
    tools=${XDG_CACHE_HOME:-$HOME/.cache}/caudal-python/$(sha256sum <"$wanted" | cut -c1-16)
    mkdir -p "$tools"
    (
        # Of several tests that need them one installs them.
        flock 9
        [ ! -e "$tools/complete" ] || exit 0
        say "installing Python programs into $tools"
        python3 -m venv "$tools" >&2 ||
            fail $EX_UNAVAILABLE "Python's venv is missing. On Debian: apt-get install -y python3-venv"
        "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2 ||
            fail $EX_UNAVAILABLE "pip could not install what $wanted lists. Its message above says why."
        touch "$tools/complete"
    ) 9>"$tools.lock" || return
    printf '%s\n' "$tools"
}
