// What became of an event that was sent, and where it went.
import { get, type Problem } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useLoad } from "../../parts/load.ts";
import { to } from "../../router.ts";
import type { Applied, EventFates, TakenBefore } from "../../types.ts";

export interface Result {
  answer: Applied | TakenBefore;
  ms: number;
  /** The event's, where it is known. */
  id: string | null;
}

interface Props {
  result: Result | null;
  problem: Problem | null;
  /** What was sent without an answer is what will be sent next: it was not changed meanwhile. */
  isKept: boolean;
}

export function ResultLine({ result, problem, isKept }: Props) {
  const say = words().trigger;
  if (problem !== null) return <Line text={problem.status === 0 ? say.unanswered(isKept) : problem.message} />;
  if (result === null) return <Line text="" />;
  const { answer, ms, id } = result;
  if (!("items" in answer)) {
    return (
      <>
        <Line text={say.takenBefore(answer.first_offset)} good />
        {id !== null && <Went id={id} />}
      </>
    );
  }
  const fates = answer.items.map((item) =>
    say.fate(say.status[item.status] ?? item.status, item.offset, item.reason ?? "", ms),
  );
  return (
    <>
      <Line text={fates.join("; ")} good={answer.counted === answer.accepted} />
      {answer.accepted === 1 && answer.counted === 1 && id !== null && <Went id={id} />}
    </>
  );
}

function Line({ text, good = false }: { text: string; good?: boolean }) {
  return (
    <p id="trigger-result" role="status" class={good ? "good" : "bad"}>
      {text}
    </p>
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
