// How far a new pipeline has come over the log's past.
import { useState } from "preact/hooks";
import { Problem, send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { Dialog } from "../../parts/dialog.tsx";
import type { Replay } from "../../types.ts";
import { address } from "./draft.ts";

export function Replaying({ replay, again }: { replay: Replay; again: () => void }) {
  const say = words().pipelines;
  const { pipeline, from, at, end, state, reason } = replay;
  const [asks, setAsks] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const giveUp = async () => {
    try {
      await send("DELETE", address(pipeline));
      setProblem(null);
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    setAsks(false);
    again();
  };
  return (
    <section id="replay" class="card" aria-label={say.replay(pipeline)}>
      <p>
        <strong>{say.replay(pipeline)}</strong>:{" "}
        <span class={state === "failed" ? "bad" : undefined}>{say.replayState[state]}</span>
        {reason !== null && `: ${reason}`}
      </p>
      {state !== "failed" && (
        <p class="progress">
          <progress aria-label={say.replay(pipeline)} max={Math.max(1, end - from)} value={at - from} />{" "}
          {say.replayAt(at - from, end - from)}
        </p>
      )}
      {state === "filling" && (
        <button type="button" onClick={() => setAsks(true)}>
          {say.giveUp}
        </button>
      )}
      {problem !== null && <p class="bad">{problem.message}</p>}
      {asks && (
        <Dialog
          title={say.giveUpTitle(pipeline)}
          act={say.giveUp}
          dangerous
          onAct={() => void giveUp()}
          onClose={() => setAsks(false)}
        >
          <p>{say.giveUpText}</p>
        </Dialog>
      )}
    </section>
  );
}
