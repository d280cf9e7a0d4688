// Events: as they come, searched for, one with all that is known of it, and those of one story.
import { words } from "../i18n/words.ts";
import { Refused } from "../parts/said.tsx";
import { TopicSelect } from "../parts/topic-select.tsx";
import { useTopics } from "../parts/topics.ts";
import { go, place, setQuery, to } from "../router.ts";
import { EventAt, EventPage } from "./events/event-page.tsx";
import { LogSearch, TextSearch } from "./events/search.tsx";
import { Story } from "./events/story.tsx";
import { Tail } from "./events/tail.tsx";

export function Events() {
  const [kind = "", of] = place.value.parts;
  if (of === undefined) return kind === "" ? <Listing /> : <EventPage key={kind} id={kind} />;
  if (kind === "id") return <EventPage key={of} id={of} />;
  if (kind === "at") return <EventAt key={of} offset={of} />;
  if (kind === "story") return <Story key={of} correlation={of} />;
  return <Listing />;
}

function Listing() {
  const { data, problem } = useTopics();
  const { query } = place.value;
  const [topic, text, field, from] = ["topic", "q", "field", "from"].map((name) => query.get(name) ?? "") as [
    string,
    string,
    string,
    string,
  ];
  const topics = data?.topics ?? [];
  const say = words().events;
  return (
    <>
      <Filters />
      <Refused problem={problem} />
      {from !== "" && topic === "" && <p class="notice">{say.needsTopic}</p>}
      {from !== "" && topic !== "" && (
        <LogSearch topic={topic} from={from} wanted={text} field={field} topics={topics} />
      )}
      {from === "" && text !== "" && <TextSearch topic={topic} wanted={text} field={field} />}
      {from === "" && text === "" && <Tail key={topic} topic={topic} topics={topics} />}
    </>
  );
}

function Filters() {
  const say = words().events;
  const { query } = place.value;
  const of = (name: string) => query.get(name) ?? "";
  const search = (form: HTMLFormElement) => {
    const given = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));
    const from = given["from"] ? `${given["from"].padEnd(19, ":00")}Z` : "";
    go(to("events", [], { topic: of("topic"), q: given["q"], field: given["q"] ? given["field"] : "", from }));
  };
  return (
    <div class="searches">
      {/* Its fields are what the address says, also after a step back. */}
      <form
        class="filters"
        aria-label={say.filters}
        onSubmit={(event) => {
          event.preventDefault();
          search(event.currentTarget);
        }}
      >
        <TopicSelect topic={of("topic")} onChoice={(topic) => setQuery({ topic })} />
        <label>
          {say.text}
          <input key={of("q")} name="q" type="search" defaultValue={of("q")} />
        </label>
        <label>
          {say.field}
          <input key={of("field")} name="field" defaultValue={of("field")} placeholder={say.fieldExample} />
        </label>
        <label>
          {say.from}
          <input key={of("from")} name="from" type="datetime-local" step={1} defaultValue={of("from").slice(0, 19)} />
        </label>
        <button>{say.search}</button>
        {(of("q") || of("from")) && (
          <a class="clear" href={to("events", [], { topic: of("topic") })}>
            {say.backToLive}
          </a>
        )}
      </form>
      <Find />
    </div>
  );
}

/** Straight to an event or a story. */
function Find() {
  const say = words().events;
  return (
    <form
      class="filters"
      aria-label={say.find}
      onSubmit={(event) => {
        event.preventDefault();
        const id = String(new FormData(event.currentTarget).get("id") ?? "").trim();
        const by = (event.submitter as HTMLButtonElement | null)?.value ?? "id";
        if (id !== "") go(to("events", [by, id]));
      }}
    >
      <label>
        {say.anId}
        <input name="id" class="wide-field" required />
      </label>
      <button value="id">{say.findEvent}</button>
      <button value="story">{say.findStory}</button>
    </form>
  );
}
