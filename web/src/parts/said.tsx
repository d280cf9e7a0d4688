// What the server said of a question: that it is not answered yet, or why it is refused.
import type { Problem } from "../api.ts";
import { words } from "../i18n/words.ts";

export function Refused({ problem }: { problem: Problem | null }) {
  if (problem === null) return null;
  return (
    <p class="bad" role="alert">
      {problem.message}
    </p>
  );
}

/** While there is no answer and no problem. */
export function Waiting({ data, problem = null }: { data: unknown; problem?: Problem | null }) {
  if (data !== null || problem !== null) return null;
  return <p class="note">{words().common.loading}</p>;
}
