// Events as they come. The list is held while somebody points at it or has the focus in it, so that nothing moves away from under a hand.
import { useSignal } from "@preact/signals";
import { number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { EventTable, type ShownEvent } from "../../parts/event-table.tsx";
import type { Topic } from "../../types.ts";
import { useNewest } from "./newest.ts";

const SHOWN_MAX = 50;

export function Tail({ topic, topics }: { topic: string; topics: Topic[] }) {
  const say = words().events;
  const on = useSignal(true);
  const held = useSignal<ShownEvent[] | null>(null);
  const { events, problem, perSecond, sampled } = useNewest(topic, topics, on.value);
  const shown = (held.value ?? events).slice(0, SHOWN_MAX);
  const since = held.value?.[0]?.offset ?? -1;
  const newer = events.filter(({ offset }) => offset > since).length;
  let state = say.running(number(perSecond));
  if (!on.value) state = say.stopped;
  else if (problem !== null) state = say.away(problem);
  else if (held.value !== null) state = say.held(newer);
  const hold = () => (held.value ??= events);
  return (
    <section class="card tail" aria-labelledby="h-tail">
      <div class="row">
        <h2 id="h-tail">{say.live}</h2>
        <span id="tail-state" class={on.value && problem === null ? "good" : "note"}>
          {state}
        </span>
        <button type="button" onClick={() => (on.value = !on.value)}>
          {on.value ? say.stop : say.start}
        </button>
      </div>
      <div
        onMouseEnter={hold}
        onMouseLeave={() => (held.value = null)}
        onFocusIn={hold}
        onFocusOut={(event) => {
          const next = event.relatedTarget;
          if (!(next instanceof Node && event.currentTarget.contains(next))) held.value = null;
        }}
      >
        <EventTable id="tail" caption={say.tail} events={shown} empty={say.noTail} />
      </div>
      {sampled && <p class="note">{say.sample}</p>}
      {topic === "" && <p class="note">{say.onlyAudited}</p>}
    </section>
  );
}
