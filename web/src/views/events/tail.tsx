// Events as they come.
import { useSignal } from "@preact/signals";
import { number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { EventTable } from "../../parts/event-table.tsx";
import { useHold } from "../../parts/hold.ts";
import type { Topic } from "../../types.ts";
import { useNewest } from "./newest.ts";

const SHOWN_MAX = 50;

export function Tail({ topic, topics }: { topic: string; topics: Topic[] }) {
  const say = words().events;
  const on = useSignal(true);
  const { events, problem, perSecond, sampled } = useNewest(topic, topics, on.value);
  const { shown, held, handlers } = useHold(events);
  const known = new Set(shown.map(({ offset }) => offset));
  const newer = events.filter(({ offset }) => !known.has(offset)).length;
  let state = say.running(number(perSecond));
  if (!on.value) state = say.stopped;
  else if (problem !== null) state = say.away(problem);
  else if (held) state = say.held(newer);
  return (
    <section class="card tail long" aria-labelledby="h-tail">
      <div class="row">
        <h2 id="h-tail">{say.live}</h2>
        <span id="tail-state" class={on.value && problem === null ? "good" : "note"}>
          {state}
        </span>
        <button type="button" onClick={() => (on.value = !on.value)}>
          {on.value ? say.stop : say.start}
        </button>
      </div>
      <div {...handlers}>
        <EventTable id="tail" caption={say.tail} events={shown.slice(0, SHOWN_MAX)} empty={say.noTail} />
      </div>
      {sampled && <p class="note">{say.sample}</p>}
      {topic === "" && <p class="note">{say.onlyAudited}</p>}
    </section>
  );
}
