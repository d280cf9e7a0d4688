// What the server said to a question: nothing yet, or why there is no answer.
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

interface Props {
  /** Null as long as there is none. */
  data: unknown;
  problem: Problem | null;
  /** Of what may be there later: said where the server does not know it. */
  wait?: string;
}

export function Said({ data, problem, wait }: Props) {
  if (data === null && problem === null) return <p class="note">{words().common.loading}</p>;
  if (data !== null || problem?.status !== 404 || wait === undefined) return <Refused problem={problem} />;
  return (
    <>
      <p role="status">{wait}</p>
      <p class="note">{problem.message}</p>
    </>
  );
}
