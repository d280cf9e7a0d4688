#!/usr/bin/env bash
# A small service of the music festival: reads the events of a topic, answers each with an event of its own, and goes on with what comes.
#
#     pipelines/music_fest/service.sh purchase|payment|notification|mail [HOST:PORT [COUNT]]
#
# With COUNT it ends when it has answered so many. Each service is a consumer group of its own: while it is down nothing is lost, it goes on where it was; and two
# that run at once share the work. What was answered but not yet committed is answered again: an answer's id is made of the purchase's, so that it counts once.
# It needs curl.
set -euo pipefail

service=${1:-}
address=${2:-localhost:5000}
count=${3:-0}
member=$service-$$
# Events asked for at once, and how long the job is to wait for some.
PAGE=1000
WAIT_MS=20000
# Between two looks where the job is away.
PAUSE_SECONDS=0.5

case $service in
purchase | payment) asks=ticket.purchase ;;
notification | mail) asks=ticket.purchased ;;
*)
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,4p' >&2
    exit 2
    ;;
esac

# tell WHAT BODY: asks the service's group.
tell() {
    curl -sS --fail --retry 5 --retry-connrefused -H 'Content-Type: application/json' --data-binary "$2" "$address/topics/$asks/groups/$service/$1"
}

# The events in a poll's answer, one a line.
events() { printf '%s\n' "${1//'{"offset":'/$'\n{"offset":'}" | sed -n 's/^{"offset":[0-9]*,.*"event":\({.*}\)}[],].*/\1/p'; }

# field NAME EVENT: of a text or a number, without its quotes.
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$2"; }

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

answered=0
while :; do
    max=$PAGE
    if [ "$count" -gt 0 ] && [ $((count - answered)) -lt "$max" ]; then max=$((count - answered)); fi
    page=$(tell poll "{\"member\":\"$member\",\"max\":$max,\"wait_ms\":$WAIT_MS}") || { sleep "$PAUSE_SECONDS"; continue; }
    last=$(sed -n 's/.*"last":\([0-9]*\),"position":[0-9]*}$/\1/p' <<<"$page")
    [ -n "$last" ] || continue
    answers='' said='' of_page=0
    while read -r event; do
        purchase=$(field purchase_id "$event")
        answers+=$(printf '{"event_id":"%s-%s","timestamp":"%s","correlation_id":"%s","purchase_id":"%s","user":"%s",%s}' \
            "$service" "$purchase" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$(field correlation_id "$event")" "$purchase" \
            "$(field user "$event")" "$(says "$event")")$'\n'
        said+="$service answers $purchase"$'\n'
        of_page=$((of_page + 1))
    done < <(events "$page")
    # The answers first: where they are not taken, nothing is committed, and the same events come again.
    curl -sS --fail --retry 5 --retry-connrefused -o /dev/null -H 'Content-Type: application/x-ndjson' \
        --data-binary "$answers" "$address/topics/$(topic)/events?ack=applied" || { sleep "$PAUSE_SECONDS"; continue; }
    tell commit "{\"member\":\"$member\",\"offset\":$last}" >/dev/null || { sleep "$PAUSE_SECONDS"; continue; }
    printf '%s' "$said"
    answered=$((answered + of_page))
    if [ "$count" -gt 0 ] && [ "$answered" -ge "$count" ]; then exit 0; fi
done
