// All open letters of a reason sent again as they are, request by request, until none is left.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, path, type Problem, send } from "../../api.ts";
import { number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { Dialog } from "../../parts/dialog.tsx";
import { problemOf } from "../../parts/load.ts";
import type { Fate } from "../../types.ts";
import type { LetterList } from "../letters.tsx";

interface Batch {
  accepted: number;
  left: number;
  items: { status?: Fate }[];
}

interface Progress {
  sent: number;
  left: number;
  fates: Map<Fate, number>;
  running: boolean;
}

interface Props {
  reason: string;
  topic: string;
  onDone: () => void;
}

export function RetryAll({ reason, topic, onDone }: Props) {
  const say = words().letters;
  const [asked, setAsked] = useState(false);
  const [progress, setProgress] = useState<Progress | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const stopped = useRef(false);
  useEffect(
    () => () => {
      stopped.current = true;
    },
    [],
  );

  const run = async () => {
    setAsked(false);
    setProblem(null);
    stopped.current = false;
    let now: Progress = { sent: 0, left: 0, fates: new Map(), running: true };
    setProgress(now);
    try {
      // Those that fail again are letters with the same reason: they are newer than all that are meant.
      const { dead_letters } = await get<LetterList>(path("/dead-letters", { reason, topic, limit: 1 }));
      const before = (dead_letters[0]?.offset ?? -1) + 1;
      while (!stopped.current) {
        const batch = await send<Batch>("POST", path("/dead-letters/retry", { reason, topic, before, ack: "applied" }));
        now = { ...now, sent: now.sent + batch.accepted, left: batch.left, fates: added(now.fates, batch) };
        setProgress(now);
        if (batch.left === 0 || batch.accepted === 0) break;
      }
    } catch (error) {
      setProblem(problemOf(error));
    }
    setProgress({ ...now, running: false });
    onDone();
  };

  if (reason === "late") return <p class="note">{say.lateNotAll}</p>;
  const running = progress?.running ?? false;
  return (
    <div class="row retry-all">
      <button type="button" disabled={running} onClick={() => setAsked(true)}>
        {say.retryAll(reason)}
      </button>
      {running && (
        <>
          <progress
            max={(progress?.sent ?? 0) + (progress?.left ?? 0) || 1}
            value={progress?.sent ?? 0}
            aria-label={say.retryAll(reason)}
          />
          <button type="button" onClick={() => (stopped.current = true)}>
            {say.stop}
          </button>
        </>
      )}
      {progress !== null && (
        <span id="retried-all" role="status">
          {running ? say.progress(progress.sent, progress.left) : <Summary of={progress} />}
        </span>
      )}
      {problem !== null && (
        <span class="bad" role="alert">
          {problem.message}
        </span>
      )}
      {asked && (
        <Dialog
          title={say.retryAll(reason)}
          act={say.retryAct}
          onAct={() => void run()}
          onClose={() => setAsked(false)}
        >
          <p>{say.retryAllQuestion(reason)}</p>
        </Dialog>
      )}
    </div>
  );
}

function Summary({ of: { sent, fates } }: { of: Progress }) {
  const say = words();
  const parts = [...fates].map(([fate, n]) => `${number(n)} ${say.fates[fate]}`);
  return (
    <>
      {say.letters.done(sent)}
      {parts.length > 0 && say.letters.outcome(parts.join(", "))}
    </>
  );
}

function added(fates: Map<Fate, number>, batch: Batch): Map<Fate, number> {
  const sum = new Map(fates);
  for (const { status } of batch.items) if (status !== undefined) sum.set(status, (sum.get(status) ?? 0) + 1);
  return sum;
}
