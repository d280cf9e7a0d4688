// Events as a table; each leads to all that is known of it.
import { time } from "../format.ts";
import { words } from "../i18n/words.ts";
import { to } from "../router.ts";
import type { Json, StoredEvent } from "../types.ts";
import { Table } from "./table.tsx";

/** Of an event, on one line. */
const SHORT_CHARS = 240;

/** What a table shows of an event; where the log gave it, its id is in the event alone. */
export type ShownEvent = Pick<StoredEvent, "offset" | "topic" | "event"> & Partial<StoredEvent>;

interface Props {
  id: string;
  caption: string;
  quiet?: boolean;
  events: readonly ShownEvent[];
  empty: string;
}

export function EventTable({ id, caption, quiet, events, empty }: Props) {
  const say = words().events;
  return (
    <Table
      id={id}
      caption={caption}
      quiet={quiet === true}
      rows={events}
      keyOf={(event) => event.offset}
      empty={empty}
      columns={[
        {
          head: say.event,
          code: true,
          cell: (event) => (
            <a href={eventAddress(event)} aria-label={say.open(event.event_id ?? String(event.offset))}>
              {event.event_id ?? event.offset}
            </a>
          ),
        },
        { head: say.topic, cell: (event) => event.topic },
        { head: say.time, cell: (event) => time(event.time ?? event.received_at ?? "–") },
        { head: say.content, code: true, cell: (event) => <bdi>{short(event.event)}</bdi> },
      ]}
    />
  );
}

/** By its id; by its offset where it has none, or the log gave it. */
export function eventAddress({ event_id, offset, topic }: ShownEvent): string {
  return event_id === undefined || event_id === String(offset)
    ? to("events", ["at", String(offset)], { topic })
    : to("events", ["id", event_id]);
}

/** The payload, or what there is, on one line. */
export function short(event: Json): string {
  const text = typeof event === "string" ? event : JSON.stringify(event);
  return text.length > SHORT_CHARS ? `${text.slice(0, SHORT_CHARS)}…` : text;
}
