// What became of an event that was sent, and where it went.
import { get, type Problem } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useLoad } from "../../parts/load.ts";
import { to } from "../../router.ts";
import type { Applied, EventFates } from "../../types.ts";

export interface Result {
  answer: Applied;
  ms: number;
  /** The event's, where it is known. */
  id: string | null;
}

export function ResultLine({ result, problem }: { result: Result | null; problem: Problem | null }) {
  const say = words().trigger;
  const { answer, ms, id } = result ?? { answer: null, ms: 0, id: null };
  const fates = (answer?.items ?? []).map((item) =>
    say.fate(say.status[item.status] ?? item.status, item.offset, item.reason ?? "", ms),
  );
  const good = problem === null && answer?.counted === answer?.accepted;
  const counted = answer?.accepted === 1 && answer.counted === 1;
  return (
    <>
      <p id="trigger-result" role="status" class={good ? "good" : "bad"}>
        {problem?.message ?? fates.join("; ")}
      </p>
      {counted && id !== null && <Went id={id} />}
    </>
  );
}

/** The rows that an event went into. */
function Went({ id }: { id: string }) {
  const say = words().trigger;
  const { data } = useLoad((signal) => get<EventFates>(`/events/${encodeURIComponent(id)}`, { signal }), [id]);
  const metrics = [...new Set((data?.events ?? []).flatMap((event) => event.metrics))];
  return (
    <nav aria-label={say.went}>
      <ul id="trigger-went" class="inline">
        <li>
          <a href={to("events", ["id", id])}>{say.theEvent}</a>
        </li>
        {metrics.map((metric) => (
          <li key={metric}>
            <a href={to("windows", [metric])}>{say.wentInto(metric.slice(0, 8))}</a>
          </li>
        ))}
      </ul>
    </nav>
  );
}
