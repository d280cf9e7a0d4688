#!/usr/bin/env bash
# Starts Caudal under MPI and keeps it running.
#
#     ./run_mpi.sh                          RANKS ranks (from the environment or .env; 4 unless said) of `caudal run`
#     ./run_mpi.sh -n 2                     two ranks of it
#     ./run_mpi.sh --host a:2,b:2 -n 4      on several hosts, the first being this one; or --hostfile FILE; in a Slurm job its hosts are taken
#     ./run_mpi.sh run --accept-changes     starts with changed pipeline files: what cannot go on is closed and begins anew
#     ./run_mpi.sh -n 2 batch --pipeline …  two ranks of another subcommand; its exit code and its last line of stdout are the script's
#     ./run_mpi.sh check FILE…              a subcommand that needs no MPI is run without
#     ./run_mpi.sh demo NAME                plays the story of an application under pipelines/, on a job of its own
#     ./run_mpi.sh bench [live|batch|formats|language|tail|audit|idle]   measures jobs end to end on this machine
#
# On a fresh Debian or Ubuntu machine with a Rust toolchain it installs what is missing (or says which packages to ask for), builds, starts the
# job, which prints the page's address when events are accepted. It may be called from any directory; relative paths, `.env` and DATA_DIR are
# those of the caller's directory.
#
# A job of `run` that dies is started again at once; one that keeps dying before it is ready, after growing pauses. Ctrl-C, or SIGTERM to this
# script alone, lets the job finish what it accepted and ends with 0 and no rank left; a second Ctrl-C kills it at once, with 75. If this
# script itself is killed, the job dies with it.
#
# Rank 0 has the port, DATA_DIR and the settings. It is on the first host, which must be the one where this script runs. docs/deploy.md says how to run
# Caudal under Slurm, systemd and in containers, and what several hosts must share.
#
# Exit codes: 0 drained · 2 bad usage or pipeline file · 64–66, 69, 74, 77, 78 the job's own, as in sysexits.h: starting again would not
# help · 75 killed before it had drained, or a batch that was stopped and goes on when it is started again. CAUDAL_BIN=FILE runs that
# executable instead of building; an installed copy (deploy/install.sh) runs its own.
set -uo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
# shellcheck source=scripts/demo.sh
source "$repository/scripts/demo.sh"

# 128 key groups can have 128 owners, and rank 0.
RANKS_MAX=129
# A job has this long to drain; the contract is 60 s with everything around it.
DRAIN_SECONDS=55
# A job that has never been ready is not started more often than this in a row.
START_ATTEMPTS_MAX=10
# Pauses before starting again a job that died before it was ready: by how many times in a row it did so.
PAUSES=(0 0 0.5 1 2 5)

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# The processes of a session, without those that are dead and only not yet collected. A rank has a process group of its own, but its
# launcher's session. (procps need not be installed.)
members() {
    local stat fields
    for stat in /proc/[0-9]*/stat; do
        { read -r fields <"$stat"; } 2>/dev/null || continue
        # After the name, which may hold anything: state, parent, process group, session.
        read -r -a fields <<<"${fields##*) }"
        if [ "${fields[3]}" = "$1" ] && [ "${fields[0]}" != Z ]; then
            stat=${stat#/proc/}
            printf '%s\n' "${stat%/stat}"
        fi
    done
}

# Kills what is left of a job and returns when nothing is.
clear_job() {
    local left
    [ -n "$job" ] || return 0
    while left=$(members "$job") && [ -n "$left" ]; do
        # shellcheck disable=SC2086
        kill -KILL $left
        sleep 0.02
    done 2>/dev/null # Bash would tell of each job that was killed.
}

# Starts "$@" as the leader of a session of its own, so that a Ctrl-C does not reach it, and to be killed if this script dies. Sets `job`.
launch() {
    # The inner shell asks whether the script died before the kernel was told to watch it.
    # shellcheck disable=SC2016
    setsid setpriv --pdeathsig KILL bash -c '[ "$PPID" = "$0" ] && exec "$@"' $$ "$@" <&3 3<&- 4>&- &
    job=$!
}

stop_timer() {
    [ -z "$timer" ] || { kill "$timer" && wait "$timer"; } 2>/dev/null
    timer=''
}

# Passes on what the job prints, and ends with 0 if it said that it is ready; systemd is told so too where it waits for it. What stops this script must not stop the job's output.
relay() {
    local line seen=1
    trap '' INT TERM HUP
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            'Caudal is ready: '*)
                seen=0
                [ -z "${NOTIFY_SOCKET:-}" ] || systemd-notify --ready --status="$line"
                ;;
        esac
        printf '%s\n' "$line"
    done
    return $seen
}

# Passes on what the job says on stderr, but not that mpirun forwards a signal, which it says at each of the reminders below, nor its blocks of words
# below what a rank has said that ended the job, nor that it failed to say one. (Its own --quiet would also keep to itself which rank died on which host.) Ends with one more than the rank that mpirun saw die first; 0: it saw none.
watch() {
    local line rank=-1
    # What mpirun says of who died: of a signal, of MPI_ABORT, of an exit code.
    local died='^(mpirun noticed that process rank |MPI_ABORT was invoked on rank |  Process name: \[\[[0-9]+,[0-9]+\],)([0-9]+)'
    local rule='' needless=''
    trap '' INT TERM HUP
    while IFS= read -r line || [ -n "$line" ]; do
        if [ "$rank" -lt 0 ] && [[ $line =~ $died ]]; then rank=${BASH_REMATCH[2]}; fi
        case $line in
            [a-z]*run:\ Forwarding\ signal\ *\ to\ job) continue ;;
            \[*\]\ ORTE_ERROR_LOG:\ *orte/util/show_help.c\ *) continue ;;
            MPI_ABORT\ was\ invoked\ on\ * | Primary\ job\ * | mpirun\ detected\ that\ one\ or\ more\ *)
                [ -z "$rule" ] || needless=1
                rule=''
                ;;
            ----------*)
                # Such a line is above and below a block.
                if [ -n "$needless" ]; then needless=''; else rule=$line; fi
                continue
                ;;
        esac
        [ -z "$needless" ] || continue
        [ -z "$rule" ] || printf '%s\n' "$rule" >&2
        rule=''
        printf '%s\n' "$line" >&2
    done
    return $((rank + 1))
}

# why_ended CODE WATCHED: in words, for the next life, which keeps it and shows it.
why_ended() {
    case $2:$1 in
        0:*) printf 'the job ended with code %s' "$1" ;;
        *:12[89] | *:1[3-9][0-9]) printf 'rank %s was killed by signal %s' $(($2 - 1)) $(($1 - 128)) ;;
        *) printf 'rank %s ended the job with code %s' $(($2 - 1)) "$1" ;;
    esac
}

# Tells the job every second that it is to drain, until it has had its time: mpirun forwards a signal to the ranks it has already started, and
# to no others. Ends if the script that started it is gone.
remind() {
    local second silence
    # A pipe that nobody writes to, to wait at: a `sleep` would outlive this when it is stopped.
    exec {silence}<> <(:)
    for ((second = 0; second < DRAIN_SECONDS; second++)); do
        read -rt 1 -u "$silence"
        kill -0 $$ 2>/dev/null || return 0
        kill -USR1 "$job" 2>/dev/null
    done
}

# A stop was asked for; what is said of it goes to descriptor 4, since bash may be waiting in silence. The first time the job drains, told by SIGUSR1, which mpirun forwards to its ranks; the second time it is killed.
on_stop() {
    stops=$((stops + 1))
    if [ $stops -gt 1 ]; then
        say "killing the job" 2>&4
        clear_job
    elif [ -n "$job" ]; then
        drain
    fi
}

drain() {
    [ -z "$timer" ] || return 0
    say "draining: what was accepted is finished first (once more to kill)" 2>&4
    remind >/dev/null 2>&1 3<&- 4>&- &
    timer=$!
    # Last, since bash forgets a signal that comes while it still handles the same one.
    kill -USR1 "$job" 2>/dev/null
}

# Waits until the job has ended and nothing of it is left; leaves its exit code in `code`.
attend() {
    local ended
    while :; do
        # Bash drops a job that ended while it ran other commands: `wait -n` would then wait for the timer alone.
        if ! kill -0 "$job" 2>/dev/null; then
            wait "$job" 2>/dev/null
            code=$?
            break
        fi
        # shellcheck disable=SC2086
        { wait -n -p ended "$job" $timer; } 2>/dev/null
        code=$?
        case ${ended:-} in
            '') ;; # a signal came
            "$job") break ;;
            "$timer")
                timer=''
                say "not drained after $DRAIN_SECONDS s: killing the job; what was accepted is in the log and is finished at the next start"
                clear_job
                ;;
        esac
    done
    stop_timer
    clear_job
    # What killed ranks left.
    [ -z "$segments" ] || rm -f "$segments"/*
    job=''
}

supervise() {
    local failures=0 ever_ready=0 ready pause output relay errors watch
    exec 3</dev/null
    while :; do
        exec {output}> >(relay)
        relay=$!
        exec {errors}> >(watch {output}>&-)
        watch=$!
        launch "${mpirun[@]}" "$caudal" "$@" >&"$output" 2>&"$errors" {output}>&- {errors}>&-
        exec {output}>&- {errors}>&-
        # A stop that came before there was a job to tell.
        [ $stops -eq 0 ] || drain
        attend
        # All that the job said stands before what is said of its end.
        wait "$watch"
        CAUDAL_RESTARTED=$(why_ended "$code" $?)
        export CAUDAL_RESTARTED
        wait "$relay"
        ready=$?
        if [ $stops -gt 0 ]; then
            # 138: the signal came before the job had begun to listen to it; it had accepted nothing yet.
            case $code in
                0 | 138) exit 0 ;;
                2 | 64 | 65 | 66 | 69 | 74 | 77 | 78) exit "$code" ;;
                *) exit 75 ;;
            esac
        fi
        case $code in
            0) exit 0 ;;
            # Starting it again would not help. It has said what to do, and that is to stay the last line.
            2 | 64 | 65 | 66 | 69 | 74 | 77 | 78) exit "$code" ;;
        esac
        if [ $ready = 0 ]; then
            ever_ready=1 failures=0
        else
            failures=$((failures + 1))
        fi
        if [ $ever_ready = 0 ] && [ $failures -ge $START_ATTEMPTS_MAX ]; then
            fail $EX_UNAVAILABLE "the job died $failures times before it was ready, the last time with code $code: giving up"
        fi
        pause=${PAUSES[failures < ${#PAUSES[@]} ? failures : -1]}
        say "$CAUDAL_RESTARTED; starting it again$([ "$pause" = 0 ] || printf ' in %s s' "$pause")"
        if [ "$pause" != 0 ]; then
            sleep "$pause" &
            timer=$!
            wait "$timer"
            stop_timer
        fi
        [ $stops -eq 0 ] || exit 0
    done
}

# A batch: it ends by itself; one that was killed goes on from where it kept its state. A stop kills it.
until_done() {
    local attempt
    exec 3<&0
    trap 'stops=1; clear_job' INT TERM HUP
    for ((attempt = 1; ; attempt++)); do
        # Quiet: that a rank has ended the batch, mpirun need not say below what the rank has said.
        launch "${mpirun[@]}" -q "$caudal" "$@"
        attend
        case $code in
            0 | 2 | 64 | 65 | 66 | 69 | 70 | 74 | 77 | 78) exit "$code" ;;
        esac
        if [ $stops -gt 0 ]; then
            say "the batch was stopped; the same command goes on from what it has kept"
            exit 75
        fi
        [ "$attempt" -lt $START_ATTEMPTS_MAX ] || exit "$code"
        say "the batch ended with code $code; it goes on from what it has kept"
    done
}

# How many hosts the ranks are spread over: those that were named, here or in mpirun's own variable, or else those of the Slurm job that this is part of.
hosts() {
    local listed file=${OMPI_MCA_orte_default_hostfile:-}
    case ${where[0]:-} in
        --host)
            IFS=, read -r -a listed <<<"${where[1]}"
            printf '%d' ${#listed[@]}
            return ;;
        --hostfile) file=${where[1]} ;;
    esac
    if [ -n "$file" ]; then
        grep -cvE '^[[:space:]]*(#|$)' "$file"
    else
        printf '%s' "${SLURM_JOB_NUM_NODES:-1}"
    fi
}

# Whether a host of this name is this one.
is_here() {
    local address
    case $1 in localhost | "$(hostname)" | "$(hostname -s)") return 0 ;; esac
    while read -r address _; do
        case " 127.0.0.1 ::1 $(hostname -I) " in *" $address "*) return 0 ;; esac
    done < <(getent ahosts "$1")
    return 1
}

# Rank 0 is on the first of the hosts that were named; it would know no setting of this shell's on another.
require_first_here() {
    local first
    case ${where[0]:-} in
        --host) first=${where[1]%%,*} first=${first%%:*} ;;
        --hostfile) read -r first _ < <(grep -vE '^[[:space:]]*(#|$)' "${where[1]}") ;;
        *) return 0 ;;
    esac
    is_here "$first" || fail $EX_CONFIG "the first host, $first, is not this one ($(hostname)): rank 0, with the port and DATA_DIR, is on the first host; name this one first, or start the script there"
}

ranks=$(setting RANKS 4)
where=()
while [ $# -gt 0 ]; do
    case $1 in
        -n) [ $# -ge 2 ] || fail 2 "-n wants a number of ranks"
            ranks=$2
            shift 2 ;;
        --host) [[ ${2:-} =~ ^[^,]+(,[^,]+)*$ ]] || fail 2 "--host wants names of hosts, parted by commas: a:2,b:2 for two ranks on each"
            where=("$1" "$2")
            shift 2 ;;
        --hostfile) grep -qsvE '^[[:space:]]*(#|$)' "${2:-}" || fail 2 "--hostfile wants a file with a host on each line, as in: node1 slots=2"
            where=("$1" "$2")
            shift 2 ;;
        -h | --help)
            usage
            exit 0 ;;
        -*) fail 2 "unknown option $1; ./run_mpi.sh --help says what there is" ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || set -- run

if ! [[ $ranks =~ ^[0-9]{1,9}$ ]] || [ "$((10#$ranks))" -lt 1 ] || [ "$((10#$ranks))" -gt $RANKS_MAX ]; then
    fail $EX_CONFIG "RANKS (or -n) is \"$ranks\"; a job has 1 to $RANKS_MAX ranks: rank 0 and at most one worker for each of the 128 key groups"
fi
ranks=$((10#$ranks))

caudal=${CAUDAL_BIN:-}
[ -n "$caudal" ] || [ ! -x "$repository/bin/caudal" ] || caudal=$repository/bin/caudal
if [ -z "$caudal" ]; then
    require_rust
    mapfile -t missing < <(missing_to_run)
    install "${missing[@]}"
    build_page
    # Cargo's "Finished" is no news.
    (cd "$repository" && cargo build --release --bin caudal 2> >(grep -v '^ *Finished' >&2)) || fail 70 "the build failed; its message is above"
    caudal=$(target_dir)/release/caudal
fi

case $1 in
    run | batch) ;;
    bench)
        # Not a subcommand of the program: it starts whole jobs, by this script, and loads them from a process of its own.
        shift
        allow_mpirun
        cd "$repository" && exec cargo bench --bench end_to_end -- "$@"
        ;;
    demo)
        [ $# -eq 2 ] || {
            demo_usage
            exit 2
        }
        demo "$2" "$ranks"
        exit
        ;;
    *) exec "$caudal" "$@" ;;
esac

command -v mpirun >/dev/null || install openmpi-bin
allow_mpirun
require_first_here
hosts=$(hosts)
threads=$(($(nproc) * hosts / ranks))
export POLARS_MAX_THREADS=${POLARS_MAX_THREADS:-$((threads > 1 ? threads : 1))}
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-$POLARS_MAX_THREADS}
# When a rank dies the others are killed at once, not after mpirun's second of grace. Ranks are not pinned: they rest most of the time.
mpirun=(mpirun --oversubscribe --bind-to none --mca odls_base_sigkill_timeout 0 -n "$ranks" "${where[@]}")
# Ranks of one host pass messages on in files in memory, and one that is killed leaves its own behind: they are kept where they can be found.
segments=''
if [ "$hosts" -gt 1 ]; then
    # mpirun gives ranks of other hosts no variable that it is not told of.
    for name in POLARS_MAX_THREADS RAYON_NUM_THREADS RUST_LOG; do
        [ -z "${!name:-}" ] || mpirun+=(-x "$name")
    done
elif [ -z "${OMPI_MCA_btl_vader_backing_directory:-}" ] && segments=$(mktemp -d /dev/shm/caudal.XXXXXX 2>/dev/null); then
    trap 'rm -rf "$segments"' EXIT
    mpirun+=(--mca btl_vader_backing_directory "$segments")
fi

exec 4>&2
job='' timer='' stops=0 code=0
if [ "$1" = run ]; then
    trap on_stop INT TERM HUP
    supervise "$@"
else
    until_done "$@"
fi
