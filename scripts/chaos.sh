#!/usr/bin/env bash
# Kills parts of a job while events come in, and compares what was acknowledged with what was counted.
#
#     scripts/chaos.sh                     ten kills under a load of 2,000 events a second
#     scripts/chaos.sh -n 4 KILLS RATE     on a job of 4 ranks
#
# The job is one of its own: the civic-safety pipeline on a free port, its data in a temporary folder. Rank after rank is killed, and mpirun
# itself, each time as soon as the job counts again. Then every event that was acknowledged must stand in the audit's lines once, and the
# results must be what `caudal verify` makes of the log.
#
# Exit codes: 0 nothing lost, nothing twice · 70 something was · 2 bad usage. CAUDAL_BIN=FILE runs that executable instead of building.
set -uo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

KILLS_DEFAULT=10
RATE_DEFAULT=2000
# Longer than a job takes to come back, on a busy machine too.
PATIENCE_SECONDS=60
# A port above those that systems hand out to clients.
PORTS=(61000 65500)
pipeline=$repository/pipelines/civic_safety/pipeline.yaml

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

free_port() {
    local port
    while :; do
        port=$((PORTS[0] + RANDOM % (PORTS[1] - PORTS[0])))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s' "$port"
}

# eventually WHAT COMMAND…: until the command succeeds.
eventually() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < PATIENCE_SECONDS * 20; tries++)); do
        "$@" && return
        ended "$job" && break
        sleep 0.05
    done
    sed 's/^/    /' "$folder/job" >&2
    fail 70 "waited in vain: $what; what the job said is above"
}

get() { curl -sf --max-time 5 "localhost:$port$1"; }
ready() { get /readyz >/dev/null; }
not_ready() { ! ready; }
# ledger WORD: a number of the ledger.
ledger() { get /ledger | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
settled() { [ "$(ledger in_flight)" = 0 ]; }
counts_again() { [ "$(ledger counted || echo 0)" -gt "$counted" ]; }
ended() { ! kill -0 "$1" 2>/dev/null; }

# part NAME: the process of a rank of this job, or its launcher, `mpirun`. None but this job's have its folder in their environment.
part() {
    local process environment
    for process in /proc/[0-9]*; do
        environment=$({ tr '\0' '\n' <"$process/environ"; } 2>/dev/null) || continue
        grep -qxF "DATA_DIR=$folder/data" <<<"$environment" || continue
        case $1 in
            mpirun) [[ $(cat "$process/comm" 2>/dev/null) =~ ^(mpirun|orterun|prterun)$ ]] || continue ;;
            *) grep -qxF "OMPI_COMM_WORLD_RANK=$1" <<<"$environment" || continue ;;
        esac
        printf '%s' "${process#/proc/}"
        return
    done
    return 1
}

kill_part() {
    local process
    process=$(part "$1") && kill -KILL "$process"
}

end() {
    trap - EXIT
    [ -z "$sender" ] || kill -INT "$sender" 2>/dev/null
    [ -z "$job" ] || kill -TERM "$job" 2>/dev/null
    wait
    rm -rf "$folder"
}

# The ids of the events that were acknowledged, and of those that the audit's lines have of what came from outside; sorted.
acknowledged_ids() { sed -nE 's/.*"event_id":"([^"]*)".*/\1/p' "$folder/acknowledged" | LC_ALL=C sort -u; }
audited_ids() {
    local of_event='^\{"kind":"event","epoch":[0-9]+,"log_offset":[0-9]+,"topic":"(security\.incident|survey\.victimization|migration\.case)",'
    cat "$folder"/data/audit/*.jsonl | sed -nE "s/$of_event\"event_id\":\"([^\"]*)\".*/\2/p" | LC_ALL=C sort
}

ranks=4
while [ $# -gt 0 ]; do
    case $1 in
        -n) [ $# -ge 2 ] || fail 2 "-n wants a number of ranks"
            ranks=$2
            shift 2 ;;
        -h | --help)
            usage
            exit 0 ;;
        *) break ;;
    esac
done
kills=${1:-$KILLS_DEFAULT} rate=${2:-$RATE_DEFAULT}
for number in "$ranks" "$kills" "$rate"; do
    [[ $number =~ ^[1-9][0-9]{0,5}$ && $# -le 2 ]] || fail 2 "$(usage)"
done

job='' sender=''
port=$(free_port)
folder=$(mktemp -d) || fail 73 "no temporary folder can be made"
trap 'end; exit 130' INT TERM HUP
trap end EXIT
# No .env and no setting of yours changes what is compared.
cd "$folder" || exit
unset LOG_BYTES_MAX LOG_SEGMENT_BYTES DISK_FREE_BYTES_MIN AUDIT_FILE_BYTES EVENT_BYTES_MAX BODY_BYTES_MAX IDS_MAX \
    INGEST_QUEUE_MAX INGEST_QUEUE_BYTES_MAX HTTP_CONNECTIONS_MAX HTTP_HEADER_TIMEOUT HTTP_BODY_TIMEOUT WEBHOOKS_PRIVATE WEBHOOK_TIMEOUT
export PIPELINES=$pipeline DATA_DIR=$folder/data HTTP_PORT=$port HTTP_ADDR=127.0.0.1 API_TOKENS='' DB_HOST='' LOG_RETENTION=1d
caudal() { bash "$repository/run_mpi.sh" "$@"; }

# What must be built or installed is, before time counts.
caudal check "$pipeline" >"$folder/check" || fail 70 "$(cat "$folder/check")"
bash "$repository/run_mpi.sh" -n "$ranks" run >"$folder/job" 2>&1 &
job=$!
eventually "the job is ready" ready
# More than is sent until all is killed: then it is interrupted.
bash "$repository/run_mpi.sh" generate --pipeline "$pipeline" --url "http://localhost:$port" --count 1000000000 --rate "$rate" \
    --duplicates 0.02 --out-of-order 1s --record "$folder/acknowledged" >"$folder/sender" 2>&1 &
sender=$!

parts=(mpirun)
for ((rank = ranks - 1; rank >= 0; rank--)); do
    parts=("rank $rank" "${parts[@]}")
done
counted=0
eventually "events are counted" counts_again
for ((done = 0; done < kills; done++)); do
    part=${parts[done % ${#parts[@]}]}
    killed=${EPOCHREALTIME/[.,]/}
    eventually "$part runs" kill_part "${part#rank }"
    eventually "the job goes down" not_ready
    eventually "the job comes back" ready
    counted=$(ledger counted || echo 0)
    eventually "the job counts again" counts_again
    printf '%s killed at %d events; more are counted after %d ms\n' "$part" "$counted" $(((${EPOCHREALTIME/[.,]/} - killed) / 1000))
done

kill -INT "$sender"
wait "$sender"
sender=''
eventually "all that was accepted is committed" settled
counted=$(ledger counted)
kill -TERM "$job"
wait "$job"
code=$?
job=''
[ $code = 0 ] || fail 70 "the job ended with code $code: $(tail -n 3 "$folder/job")"

acknowledged_ids >"$folder/ids"
audited_ids >"$folder/audited"
events=$(wc -l <"$folder/ids")
lost=$(LC_ALL=C comm -23 "$folder/ids" "$folder/audited" | wc -l)
twice=$(uniq -d "$folder/audited" | wc -l)
# With those that the job made itself.
lines=$(cat "$folder"/data/audit/*.jsonl | grep -c '^{"kind":"event",')
printf '%d events acknowledged: %d lost, %d counted twice\n' "$events" "$lost" "$twice"
printf '%d events counted by the ledger: %d in the audit\n' "$counted" "$lines"
caudal verify || fail 70 "the results are not the log's"
if [ "$events" = 0 ] || [ "$lost" != 0 ] || [ "$twice" != 0 ] || [ "$counted" != "$lines" ]; then
    fail 70 "what was acknowledged is not what was counted"
fi
