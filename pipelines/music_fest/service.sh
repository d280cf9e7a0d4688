#!/usr/bin/env bash
# A small service of the music festival: reads the events of a topic from the beginning, answers each with an event of its own, and goes on with what comes.
#
#     pipelines/music_fest/service.sh purchase|payment|notification|mail [HOST:PORT [COUNT]]
#
# With COUNT it ends when it has answered so many. While it is down nothing is lost: it finds everything when it starts. An answer's id is made of the
# purchase's, so that what is answered twice counts once. It needs curl.
set -euo pipefail

service=${1:-}
address=${2:-localhost:5000}
count=${3:-0}
# Between two looks.
PAUSE_SECONDS=0.2
PAGE=1000

case $service in
purchase | payment) asks=ticket.purchase ;;
notification | mail) asks=ticket.purchased ;;
*)
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,4p' >&2
    exit 2
    ;;
esac

# The topic's events after an offset, the oldest first, one a line. Pages come newest first: it ends at the first that has what was seen.
news() {
    local path="/events?topic=$asks&limit=$PAGE" page events oldest
    while [ -n "$path" ]; do
        page=$(curl -sS --fail --retry 5 --retry-connrefused "$address$path") || return
        events=$(printf '%s\n' "${page//'{"offset":'/$'\n{"offset":'}" |
            sed -n 's/^{"offset":\([0-9]*\),.*"event":\({.*}\),"metrics":.*/\1 \2/p')
        [ -n "$events" ] || break
        awk -v seen="$1" '$1 > seen' <<<"$events"
        oldest=$(tail -n 1 <<<"$events")
        [ "${oldest%% *}" -gt "$1" ] || break
        path=$(sed -n 's/.*"next":"\([^"]*\)"}$/\1/p' <<<"$page")
    done
}

# field NAME EVENT: of a text or a number, without its quotes.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$2"; }

# What the service says to an event: the fields of its own.
says() {
    local event=$1 quantity category
    quantity=$(field quantity "$event")
    category=$(field category "$event")
    case $service in
    purchase)
        if [ "$category" != general ] && [ "$quantity" -gt 4 ]; then
            printf '"step":"seats","accepted":false,"reason":"at most 4 seats of %s"' "$category"
        else
            printf '"step":"seats","accepted":true,"seats":[%s]' "$(seq -s, -f "\"$category-%g\"" "$quantity")"
        fi
        ;;
    payment) printf '"step":"payment","accepted":true,"receipt":"r-%s"' "$(field purchase_id "$event")" ;;
    notification | mail) printf '"step":"%s","text":"%s, your tickets are here"' "$service" "$(field user "$event")" ;;
    esac
}

topic() { case $service in purchase | payment) printf '%s.answered' "$service" ;; *) printf '%s.sent' "$service" ;; esac }

seen=-1 answered=0
while :; do
    answers=''
    # All of it or nothing: an older page that cannot be had must not be passed over.
    found=$(news "$seen") || { sleep "$PAUSE_SECONDS"; continue; }
    while read -r offset event; do
        purchase=$(field purchase_id "$event")
        answers+=$(printf '{"event_id":"%s-%s","timestamp":"%s","correlation_id":"%s","purchase_id":"%s","user":"%s",%s}' \
            "$service" "$purchase" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$(field correlation_id "$event")" "$purchase" \
            "$(field user "$event")" "$(says "$event")")$'\n'
        printf '%s answers %s\n' "$service" "$purchase"
        seen=$offset answered=$((answered + 1))
    done < <(sort -n <<<"$found" | grep .)
    if [ -n "$answers" ]; then
        curl -sS --fail --retry 5 --retry-connrefused -o /dev/null -H 'Content-Type: application/x-ndjson' \
            --data-binary "$answers" "$address/topics/$(topic)/events?ack=applied"
    fi
    if [ "$count" -gt 0 ] && [ "$answered" -ge "$count" ]; then exit 0; fi
    sleep "$PAUSE_SECONDS"
done
