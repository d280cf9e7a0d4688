# shellcheck shell=bash
# `./run_mpi.sh demo NAME`: plays an application's story. The story is the README's: the commands of its ```console blocks, in order, against a job of its own.
# Sourced by run_mpi.sh, which has set `repository` and `caudal`.
# shellcheck disable=SC2154

# A job is ready within a second or two of its start.
DEMO_READY_SECONDS=60

demo_usage() {
    printf 'usage: ./run_mpi.sh demo NAME, where NAME is one of\n'
    local folder
    for folder in "$repository"/pipelines/*/; do
        [ -r "$folder/pipeline.yaml" ] && printf '    %s\n' "$(basename "$folder")"
    done
}

# The commands of the console blocks of a README, each ended by a NUL. A line that ends with a backslash goes on in the next.
demo_commands() {
    awk '
        /^```console$/ { inside = 1; next }
        /^```/ { inside = 0; next }
        !inside { next }
        going { command = command "\n" $0 }
        /^\$ / && !going { command = substr($0, 3); going = 1 }
        going && !/\\$/ { printf "%s%c", command, 0; going = 0 }
    ' "$1"
}

demo_end() {
    [ -n "${demo_job:-}" ] || return 0
    kill -TERM "$demo_job" 2>/dev/null
    wait "$demo_job"
    demo_code=$?
    demo_job=''
    rm -rf "$demo_folder"
}

# demo NAME RANKS
demo() {
    local name=$1 ranks=$2 pipeline readme port second command
    pipeline=$repository/pipelines/$name/pipeline.yaml
    readme=$repository/pipelines/$name/README.md
    [ -r "$pipeline" ] || fail 2 "there is no application \"$name\"" "$(demo_usage)"
    port=$(setting HTTP_PORT 5000)
    demo_folder=$(mktemp -d) || fail 73 "no temporary folder can be made"
    trap 'demo_end; exit 130' INT TERM HUP
    trap demo_end EXIT

    say "a job of $ranks ranks on port $port, its data in a temporary folder"
    # In a folder of its own no .env and no data of yours is touched.
    (
        cd "$demo_folder" || exit
        exec env CAUDAL_BIN="$caudal" PIPELINES="${pipeline%/*}/*.yaml" DATA_DIR="$demo_folder/data" HTTP_PORT="$port" \
            bash "$repository/run_mpi.sh" -n "$ranks" run
    ) >"$demo_folder/job" 2>&1 &
    demo_job=$!
    for ((second = 0; second < DEMO_READY_SECONDS * 10; second++)); do
        ! grep -q '^Caudal is ready: ' "$demo_folder/job" || break
        kill -0 "$demo_job" 2>/dev/null || break
        sleep 0.1
    done
    grep '^Caudal is ready: ' "$demo_folder/job" || {
        cat "$demo_folder/job" >&2
        fail 70 "the job did not start; what it said is above"
    }

    cd "$repository" || exit
    while IFS= read -r -d '' command; do
        command=${command//localhost:5000/localhost:$port}
        printf '\n$ %s\n' "$command"
        CAUDAL_BIN=$caudal DATA_DIR=$demo_folder/data bash -c "$command" 2>&1 </dev/null
    done < <(demo_commands "$readme")

    if [ -t 0 ] && [ -t 1 ]; then
        printf '\nThe job goes on: http://localhost:%s/ shows it. Enter ends it.\n' "$port"
        read -r _
    fi
    demo_end
    [ "$demo_code" = 0 ] || fail 70 "the job ended with code $demo_code"
}
