// Events as a table; each leads to all that is known of it.
import { time } from "../format.ts";
import { words } from "../i18n/words.ts";
import { to } from "../router.ts";
import type { Json, StoredEvent } from "../types.ts";
import { Table } from "./table.tsx";

/** Of an event, on one line. */
const SHORT_CHARS = 240;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

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
              <bdi class="line id">{event.event_id ?? event.offset}</bdi>
            </a>
          ),
        },
        { head: words().common.topic, cell: (event) => event.topic },
        {
          head: say.time,
          cell: (event) => <span class="moment">{time(event.time ?? event.received_at ?? "–").slice(0, 23)}</span>,
        },
        { head: say.content, code: true, cell: (event) => <OnOneLine text={short(remaining(event))} /> },
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

/** Cut where the table ends. It may hold any text, from right to left too. */
export function OnOneLine({ text }: { text: string }) {
  return <bdi class="line">{text}</bdi>;
}

/** The event without what other columns say already; what it holds before what it is called. */
export function remaining({ event, event_id, topic, time: at }: ShownEvent): Json {
  if (event === null || typeof event !== "object" || Array.isArray(event)) return event;
  const said = (value: Json) =>
    value === event_id ||
    value === topic ||
    (typeof value === "string" && at !== undefined && Date.parse(value) === Date.parse(at));
  const rest = Object.entries(event).filter(([, value]) => !said(value));
  const order = (value: Json) => (typeof value === "object" ? 0 : UUID.test(String(value)) ? 2 : 1);
  return Object.fromEntries(rest.sort(([, a], [, b]) => order(a) - order(b)));
}

/** The beginning of it. */
export function short(event: Json): string {
  const text = typeof event === "string" ? event : JSON.stringify(event);
  return text.length > SHORT_CHARS ? `${text.slice(0, SHORT_CHARS)}…` : text;
}
