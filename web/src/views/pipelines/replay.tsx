// How far a new pipeline has come over the log's past.
import { useState } from "preact/hooks";
import { send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { Dialog } from "../../parts/dialog.tsx";
import { Refused } from "../../parts/said.tsx";
import type { Replay } from "../../types.ts";
import { address } from "./draft.ts";

export function Replaying({ replay, again }: { replay: Replay; again: () => void }) {
  const say = words().pipelines;
  const { pipeline, from, at, end, state, reason } = replay;
  const [asks, setAsks] = useState(false);
  const { problem, act } = useAct();
  const giveUp = async () => {
    await act(() => send("DELETE", address(pipeline)));
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
      <Refused problem={problem} />
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
