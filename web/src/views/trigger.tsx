// Sending events by hand: a form made from the topic's schema, the event as JSON beside it, once or many times; and the generator.
import { words } from "../i18n/words.ts";
import { Refused } from "../parts/said.tsx";
import { Select } from "../parts/select.tsx";
import { useTopics } from "../parts/topics.ts";
import { place, setQuery } from "../router.ts";
import { Draft } from "./trigger/draft.tsx";
import { GeneratorCard } from "./trigger/generator.tsx";

export function Trigger() {
  const say = words().trigger;
  const { data, problem } = useTopics();
  const topics = data?.topics.filter((topic) => topic.post !== null) ?? [];
  const wanted = place.value.query.get("topic");
  const topic = topics.find((one) => one.name === wanted) ?? topics[0];
  return (
    <div class="cards">
      <section class="card wide" aria-labelledby="h-trigger">
        <h2 id="h-trigger">{say.title}</h2>
        <Refused problem={problem} />
        {data !== null && topic === undefined && <p class="note">{say.noTopics}</p>}
        {topic !== undefined && (
          <>
            <Select
              label={words().common.topic}
              value={topic.name}
              options={topics.map(({ name }) => [name, name])}
              onChoice={(name) => setQuery({ topic: name })}
            />
            <Draft key={topic.name} topic={topic} />
          </>
        )}
      </section>
      <GeneratorCard />
    </div>
  );
}
