// Events found: by a text in the store, or since a time in a topic's log.
import { path } from "../../api.ts";
import { text } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { EventTable, type ShownEvent } from "../../parts/event-table.tsx";
import { More } from "../../parts/more.tsx";
import { usePages } from "../../parts/pages.ts";
import { fieldOf } from "../../parts/path.ts";
import type { EventPage, Json, StoredEvent, Topic } from "../../types.ts";

const PAGE = 100;
/** Those of the log are looked through here. */
const LOG_PAGE = 500;

/** The server finds the text anywhere in an event; whether it is the value of the field is seen here. */
export function TextSearch({ topic, wanted, field }: { topic: string; wanted: string; field: string }) {
  const say = words().events;
  const pages = usePages<StoredEvent, EventPage>(
    path("/events", { topic, q: wanted, limit: PAGE }),
    ({ events, next }) => ({ items: events, next }),
    (event) => event.offset,
  );
  const found = pages.items.filter(({ event }) => fits(event, wanted, field));
  const audit = pages.first?.audit ?? "full";
  return (
    <section class="card long">
      {audit !== "full" && <p class="notice">{say.needsAudit(audit)}</p>}
      {pages.first !== null && <EventTable id="found" caption={say.found} events={found} empty={say.nothingFound} />}
      <More pages={{ ...pages, items: found }} />
      <p class="note">{say.searched}</p>
    </section>
  );
}

/** A page of a topic's log; `next` is there at its end too. */
interface LogPage {
  events: { offset: number; received_at: string; event: Json }[];
  next: string;
  more: boolean;
}

interface LogProps {
  topic: string;
  from: string;
  wanted: string;
  field: string;
  topics: Topic[];
}

export function LogSearch({ topic, from, wanted, field, topics }: LogProps) {
  const say = words().events;
  const facts = topics.find(({ name }) => name === topic);
  const pages = usePages<ShownEvent, LogPage>(
    path(`/topics/${encodeURIComponent(topic)}/events`, { from, limit: LOG_PAGE }),
    ({ events, next, more }) => ({
      items: events.map((event) => ofTopic(topic, facts, event)),
      next: more ? next : null,
    }),
    (event) => event.offset,
  );
  const found = pages.items.filter(({ event }) => fits(event, wanted, field));
  return (
    <section class="card long">
      {pages.first !== null && (
        <EventTable id="found" caption={say.foundSince} events={found} empty={say.nothingFound} />
      )}
      <More pages={{ ...pages, items: found }} />
    </section>
  );
}

function fits(event: Json, wanted: string, field: string): boolean {
  if (field !== "") return text(fieldOf(event, field)) === wanted;
  return wanted === "" || JSON.stringify(event).includes(wanted);
}

/** An event of the log, with its id and time where its topic says that they are. */
export function ofTopic(
  topic: string,
  facts: Topic | undefined,
  { offset, event, received_at }: { offset: number; event: Json; received_at?: string },
): ShownEvent {
  const id = facts?.id ? fieldOf(event, facts.id) : undefined;
  const time = facts === undefined ? undefined : fieldOf(event, facts.time);
  return {
    offset,
    topic,
    event,
    ...(received_at !== undefined && { received_at }),
    ...(typeof id === "string" && { event_id: id }),
    ...(typeof time === "string" && { time }),
  };
}
