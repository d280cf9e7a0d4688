// Puts a file into the running job, or a new one beside the others; what the job says to it, and the way out where it refuses.
import { useState } from "preact/hooks";
import { ask, get, type Problem } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { problemOf } from "../../parts/load.ts";
import { go, to } from "../../router.ts";
import type { Conflict, Fault, PipelineFile } from "../../types.ts";
import type { Checked } from "./check.ts";
import { address, type Draft, draft as edited, isChanged, nameIn, open, rebase } from "./draft.ts";
import { Conflicts, Faults } from "./result.tsx";

const CHANGED_MEANWHILE = 412;

export function Apply({ draft, checked }: { draft: Draft; checked: Checked }) {
  const say = words().pipelines;
  const { busy, problem, act, forget } = useAct();
  const [done, setDone] = useState<{ epoch: number | null } | null>(null);
  const [from, setFrom] = useState<string | null>(null);
  const isNew = draft.name === null;
  const name = draft.name ?? nameIn(draft.now.file);

  const apply = () =>
    act(async () => {
      setDone(null);
      const epoch = await put(name ?? "", draft, isNew ? from : null).catch((error: unknown) =>
        unlessDone(name ?? "", draft, error),
      );
      if (isNew) {
        edited.value = null;
        go(to("pipelines", [name ?? ""]));
      } else {
        open(await get<PipelineFile>(address(name ?? "")));
      }
      setDone({ epoch });
    });
  const takeTheirs = () => act(async () => open(await get<PipelineFile>(address(name ?? ""))));
  const goOn = () => act(() => rebase(name ?? ""));

  return (
    <section class={isNew ? "card" : undefined} aria-label={isNew ? say.addPipeline : say.apply}>
      {isNew && <Begin from={from} setFrom={setFrom} />}
      <p class="actions">
        {!isNew && (
          <button
            type="button"
            disabled={!isChanged.value || busy}
            onClick={() => {
              setDone(null);
              forget();
              edited.value = { ...draft, now: draft.before };
            }}
          >
            {say.discard}
          </button>
        )}
        <button
          type="button"
          class="main"
          disabled={busy || !isChanged.value || name === null || isFaulty(checked)}
          onClick={() => void apply()}
        >
          {isNew ? say.addPipeline : say.apply}
        </button>
      </p>
      {!isNew && <OtherName draft={draft} />}
      <div role="status">{done !== null && <p class="good">{say.applied(done.epoch)}</p>}</div>
      <div role="alert">{problem !== null && <Refusal problem={problem} />}</div>
      {problem?.status === CHANGED_MEANWHILE && (
        <p class="actions">
          <button type="button" onClick={() => void takeTheirs()}>
            {say.take}
          </button>
          <button type="button" onClick={() => void goOn()}>
            {say.rebase}
          </button>
        </p>
      )}
    </section>
  );
}

/** A pipeline keeps its name; a file that says another one is another pipeline's. */
function OtherName({ draft }: { draft: Draft }) {
  const say = words().pipelines;
  const other = nameIn(draft.now.file);
  if (other === null || other === draft.name) return null;
  const asNew = () => {
    edited.value = { ...draft, name: null, version: null, before: { file: "", schemas: {} } };
    go(to("pipelines", [], { new: "1" }));
  };
  return (
    <p>
      {say.otherName(other)}{" "}
      <button type="button" class="plain" onClick={asNew}>
        {say.asNew}
      </button>
    </p>
  );
}

/** Faults of the text forbid a change; tests that fail do not, nor does an answer about an older text. */
function isFaulty({ check, busy }: Checked): boolean {
  return !busy && check !== null && check.tests_passed_over === undefined && check.faults.length > 0;
}

async function put(name: string, { now, version }: Draft, from: string | null): Promise<number | null> {
  const query = from === null ? "" : `?${new URLSearchParams({ from })}`;
  const headers = new Headers({ "Content-Type": "application/json" });
  if (version !== null) headers.set("If-Match", `"${version}"`);
  const options = { method: "PUT", headers, body: JSON.stringify(now) };
  const answer = (await (await ask(`${address(name)}${query}`, options)).json()) as { epoch?: number | null };
  return answer.epoch ?? null;
}

/** A change whose answer was lost and that is sent again finds itself there: that is no change by somebody else. */
async function unlessDone(name: string, { now }: Draft, error: unknown): Promise<null> {
  if (problemOf(error).status !== CHANGED_MEANWHILE) throw error;
  const { text, schemas = {} } = await get<PipelineFile>(address(name));
  const same = text === now.file && Object.entries(now.schemas).every(([at, of]) => schemas[at] === of);
  if (!same) throw error;
  return null;
}

function Refusal({ problem }: { problem: Problem }) {
  const say = words().pipelines;
  const faults = (problem.body["faults"] ?? []) as Fault[];
  let said = problem.message;
  if (problem.status === CHANGED_MEANWHILE) said = say.meanwhile;
  else if (problem.status === 0) said = say.unanswered;
  return (
    <>
      <p class="bad">{said}</p>
      {problem.status === CHANGED_MEANWHILE && <p class="note">{problem.message}</p>}
      <Faults faults={faults} />
      <Conflicts conflicts={(problem.body["conflicts"] ?? []) as Conflict[]} />
    </>
  );
}

/** Where a new pipeline begins: null is now. */
function Begin({ from, setFrom }: { from: string | null; setFrom: (from: string | null) => void }) {
  const say = words().pipelines;
  return (
    <fieldset>
      <legend>{say.start}</legend>
      <label class="choice">
        <input type="radio" name="start" checked={from === null} onChange={() => setFrom(null)} /> {say.startNow}
      </label>
      <label class="choice">
        <input type="radio" name="start" checked={from !== null} onChange={() => setFrom("beginning")} />{" "}
        {say.startPast}
      </label>
      {from !== null && (
        <input
          aria-label={say.startPlace}
          title={say.startPlace}
          value={from}
          onInput={(event) => setFrom(event.currentTarget.value)}
        />
      )}
    </fieldset>
  );
}
