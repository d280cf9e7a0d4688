// One event: what became of it, the rows that it went into, and the event as it came.
import { useEffect } from "preact/hooks";
import { ask, get, path, Problem } from "../../api.ts";
import { time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { type Fact, Facts } from "../../parts/facts.tsx";
import { textAt } from "../../parts/json-text.ts";
import { JsonView } from "../../parts/json-view.tsx";
import { useLoad } from "../../parts/load.ts";
import { fieldOf } from "../../parts/path.ts";
import { Said } from "../../parts/said.tsx";
import { Subpage } from "../../parts/subpage.tsx";
import { useTopics } from "../../parts/topics.ts";
import { place, replace, to } from "../../router.ts";
import type { DeadLetter, EventFates, EventPage as Events, Json, StoredEvent, Topic } from "../../types.ts";
import { LetterTable } from "../../parts/letter-table.tsx";
import { MetricTable } from "./metric-table.tsx";
import { ofTopic } from "./search.tsx";

/** Rows may be added to an event, and its fate become known. */
const AGAIN_MS = 3_000;

export function EventPage({ id }: { id: string }) {
  const say = words();
  const { data, problem } = useLoad((signal) => fatesOf(id, signal), [id], AGAIN_MS);
  const { data: listed } = useTopics();
  return (
    <Subpage title={<bdi>{id}</bdi>} back={to("events")} backLabel={say.events.back}>
      <Said data={data} problem={problem} wait={say.events.notYet} />
      {data?.fates.events.map((event, index) => (
        <One
          key={event.offset}
          event={event}
          fate={event.fate}
          text={textAt(data.text, `/events/${index}/event`) ?? JSON.stringify(event.event)}
          topic={listed?.topics.find(({ name }) => name === event.topic)}
        />
      ))}
      {data !== null && data.fates.dead_letters.length > 0 && (
        <section class="card">
          <h3>{say.events.letters}</h3>
          <LetterTable id="letters-of" caption={say.events.letters} quiet letters={data.fates.dead_letters} empty="" />
        </section>
      )}
    </Subpage>
  );
}

/** With the answer's text: the event is shown digit for digit. */
async function fatesOf(id: string, signal: AbortSignal): Promise<{ fates: EventFates; text: string }> {
  const text = await (await ask(`/events/${encodeURIComponent(id)}`, { signal })).text();
  return { fates: JSON.parse(text) as EventFates, text };
}

interface OneProps {
  event: Pick<StoredEvent, "offset" | "topic" | "event"> & Partial<StoredEvent>;
  fate: "counted" | "taken" | null;
  text: string;
  topic: Topic | undefined;
}

function One({ event, fate, text, topic }: OneProps) {
  const say = words().events;
  const correlation = correlationOf(event.event, topic);
  const facts: Fact[] = [];
  if (fate !== null) facts.push([say.fate, <span class={fate === "counted" ? "good" : ""}>{say.fates[fate]}</span>]);
  facts.push([words().common.topic, event.topic]);
  if (event.time !== undefined) facts.push([say.eventTime, time(event.time)]);
  if (event.received_at !== undefined) facts.push([say.received, time(event.received_at)]);
  facts.push([say.offset, event.offset]);
  if (correlation !== null) {
    const link = (
      <a href={to("events", ["story", correlation])}>
        <bdi>{say.story(correlation)}</bdi>
      </a>
    );
    facts.push([say.correlation, link]);
  }
  return (
    <>
      <Facts of={facts} />
      <div class="cards event">
        <section class="card">
          <h3>{say.json}</h3>
          <JsonView label={say.json} text={text} />
        </section>
        {event.metrics !== undefined && (
          <section class="card">
            <h3>{say.metrics}</h3>
            <MetricTable ids={event.metrics} />
          </section>
        )}
      </div>
    </>
  );
}

/** Where the server does not say which field it is, the one that most call so. */
function correlationOf(event: Json, topic: Topic | undefined): string | null {
  const field = topic?.correlation === undefined ? "correlation_id" : topic.correlation;
  const value = field === null ? undefined : fieldOf(event, field);
  return typeof value === "string" ? value : null;
}

interface Found {
  letter?: DeadLetter;
  event?: OneProps["event"];
}

/** The event at an offset, as a retry has it: looked for in the audit, among the dead letters, and in its topic's log. */
export function EventAt({ offset }: { offset: string }) {
  const say = words();
  const { data: listed, problem: unlisted } = useTopics();
  const topic = place.value.query.get("topic") ?? "";
  const facts = listed?.topics.find(({ name }) => name === topic);
  const { data, problem } = useLoad(
    (signal) => (listed === null ? Promise.resolve(null) : at(Number(offset), topic, facts, signal)),
    [offset, topic, listed === null],
    AGAIN_MS,
  );
  const found = data?.event;
  useEffect(() => {
    if (data?.letter !== undefined) replace(to("letters", [String(data.letter.offset)]));
    else if (found?.event_id !== undefined && found.event_id !== offset) replace(to("events", ["id", found.event_id]));
  }, [data]);
  return (
    <Subpage title={`${say.events.offset} ${offset}`} back={to("events")} backLabel={say.events.back}>
      <Said data={found ?? null} problem={problem ?? unlisted} />
      {found !== undefined && <One event={found} fate={null} text={JSON.stringify(found.event)} topic={facts} />}
    </Subpage>
  );
}

async function at(offset: number, topic: string, facts: Topic | undefined, signal: AbortSignal): Promise<Found> {
  const kept = await get<Events>(path("/events", { before: offset + 1, limit: 1 }), { signal });
  const event = kept.events.find((one) => one.offset === offset);
  if (event !== undefined) return { event };
  try {
    return { letter: await get<DeadLetter>(`/dead-letters/${offset}`, { signal }) };
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404 && topic !== "")) throw error;
  }
  const log = await get<{ events: { offset: number; received_at: string; event: Json }[] }>(
    path(`/topics/${encodeURIComponent(topic)}/events`, { from: offset, limit: 1 }),
    { signal },
  );
  const line = log.events.find((one) => one.offset === offset);
  if (line === undefined) throw new Problem(404, words().events.notYet);
  return { event: ofTopic(topic, facts, line) };
}
