// A letter sent again: as it is, or with another event in its place, which is checked before it is sent.
import { useRef, useState } from "preact/hooks";
import { path, send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { layout } from "../../parts/json-text.ts";
import { RetryLink } from "../../parts/letter-table.tsx";
import { problemOf } from "../../parts/load.ts";
import { Refused } from "../../parts/said.tsx";
import { rowsOf } from "../../parts/text-rows.ts";
import type { DeadLetter, Fate } from "../../types.ts";
import type { Marked } from "./fault.ts";

interface Retried {
  retried_as: number;
  status?: Fate;
  reason?: string;
}

interface Props {
  letter: DeadLetter;
  /** Where the fault is, in the text as it is shown. */
  marked: Marked;
  onSent: () => void;
}

export function Mend({ letter, marked, onSent }: Props) {
  const say = words();
  const [text, setText] = useState(() => layout(letter.body)?.text ?? letter.body);
  const editor = useRef<HTMLTextAreaElement>(null);
  const [sent, setSent] = useState<Retried | null>(null);
  const { busy, problem, act } = useAct();
  const rows = useRef(rowsOf(text));
  const fault = faultIn(text);
  // As long as the text is the one that was marked.
  const mark = text === marked.text ? marked.mark : null;
  const goToFault = () => {
    editor.current?.focus();
    editor.current?.setSelectionRange(...(mark ?? [0, 0]));
  };

  const retry = (body?: string) =>
    act(async () => {
      try {
        setSent(await send<Retried>("POST", path(`/dead-letters/${letter.offset}/retry`, { ack: "applied" }), body));
      } catch (error) {
        // The letter itself says what became of it.
        if (problemOf(error).status === 0) onSent();
        throw error;
      }
      onSent();
    });

  if (sent !== null || letter.retried_as !== null) return <Outcome letter={letter} sent={sent} />;
  return (
    <form
      class="card mend"
      aria-labelledby="h-mend"
      onSubmit={(event) => {
        event.preventDefault();
        if (fault === null) void retry(text);
      }}
    >
      <h3 id="h-mend">{say.letters.mend}</h3>
      <label class="quiet" for="mended">
        {say.letters.editor}
      </label>
      <textarea
        ref={editor}
        id="mended"
        spellcheck={false}
        rows={rows.current}
        value={text}
        aria-invalid={fault !== null}
        aria-describedby="mended-check"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <p id="mended-check" class={fault === null ? "good" : "bad"} role="status">
        {fault ?? say.letters.valid}
      </p>
      {problem?.status === 0 ? (
        <p class="bad" role="alert">
          {say.letters.unanswered}
        </p>
      ) : (
        <Refused problem={problem} />
      )}
      <div class="row">
        <button disabled={busy || fault !== null}>{busy ? say.letters.sending : say.letters.sendMended}</button>
        {letter.reason !== "late" && (
          <button type="button" disabled={busy} onClick={() => void retry()}>
            {say.letters.sendAsIs}
          </button>
        )}
        {mark !== null && (
          <button type="button" onClick={goToFault}>
            {say.letters.goToFault}
          </button>
        )}
      </div>
      <p class="note">{letter.reason === "late" ? say.letters.lateHint : say.letters.asIsHint}</p>
    </form>
  );
}

/** Why the text can be no event. */
function faultIn(text: string): string | null {
  const say = words().letters;
  try {
    const parsed: unknown = JSON.parse(text);
    return parsed === null || typeof parsed !== "object" || Array.isArray(parsed) ? say.noObject : null;
  } catch (error) {
    return say.invalidJson(error instanceof Error ? error.message : String(error));
  }
}

function Outcome({ letter, sent }: { letter: DeadLetter; sent: Retried | null }) {
  const say = words();
  const offset = sent?.retried_as ?? letter.retried_as;
  if (offset === null) return null;
  return (
    <section class="card" id="outcome" role="status">
      <h3>{say.letters.mend}</h3>
      {sent?.status === undefined ? (
        <p>{say.letters.retriedNow}</p>
      ) : (
        <p class={sent.status === "counted" ? "good" : "warn"}>
          {say.letters.fate(say.fates[sent.status])}
          {sent.reason !== undefined && <bdi>: {sent.reason}</bdi>}
        </p>
      )}
      <p>
        <RetryLink offset={offset} topic={letter.topic} label={say.letters.openRetry(offset)} />
      </p>
    </section>
  );
}
