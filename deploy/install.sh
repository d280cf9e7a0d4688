#!/usr/bin/env bash
# Copies what running Caudal takes, and nothing that building it does, into one folder: the program, run_mpi.sh, the shipped pipelines.
#
#     cargo build --release && deploy/install.sh /opt/caudal
#
# The folder may be copied to other machines of the same processor and distribution. There ./run_mpi.sh needs openmpi-bin, and runs bin/caudal
# instead of building. The program comes from CAUDAL_BIN, or from where cargo puts it. An installation that is there is replaced; a job that runs from it
# is not disturbed, and starts the new program when it is started again.
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"

[ $# -eq 1 ] || fail 2 "usage: deploy/install.sh FOLDER"
to=$1
caudal=${CAUDAL_BIN:-$(target_dir)/release/caudal}
[ -x "$caudal" ] || fail 66 "there is no $caudal: build it (cargo build --release), or name another with CAUDAL_BIN"

mkdir -p "$to"
cd "$repository"
# A running program's file cannot be written to, and bash reads a script while it runs: each file is put in its place whole.
put() {
    # Not the function of that name, which installs packages.
    command install -D -m "$1" "$2" "$to/$3.new"
    mv "$to/$3.new" "$to/$3"
}
put 755 "$caudal" bin/caudal
put 755 run_mpi.sh run_mpi.sh
put 644 scripts/setup.sh scripts/setup.sh
put 644 scripts/demo.sh scripts/demo.sh
put 644 .env.example .env.example
for file in LICENSE-*; do put 644 "$file" "$file"; done
while IFS= read -r -d '' file; do
    put "$(stat -c %a "$file")" "$file" "$file"
done < <(find pipelines docs -type f -print0)
