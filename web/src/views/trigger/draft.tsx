// One event in the making: its form, the same as JSON, and what became of it.
import { useRef, useState } from "preact/hooks";
import { path, send } from "../../api.ts";
import { text } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { problemOf } from "../../parts/load.ts";
import { rowsOf } from "../../parts/text-rows.ts";
import type { Applied, Json, TakenBefore, Topic } from "../../types.ts";
import { Curl } from "./curl.tsx";
import { FieldInput } from "./field-input.tsx";
import { Repeat } from "./repeat.tsx";
import { type Result, ResultLine } from "./result.tsx";
import { at, type Field, fieldsOf, newEvent, put, refreshed, uuid } from "./schema.ts";

export function Draft({ topic }: { topic: Topic }) {
  const say = words().trigger;
  const fields = fieldsOf(topic);
  const [event, setEvent] = useState<Json>(() => newEvent(topic, fields));
  const [written, setWritten] = useState<ReadonlySet<string>>(new Set());
  // What stands in the text area while it is no JSON.
  const [broken, setBroken] = useState<{ text: string; why: string } | null>(null);
  const [result, setResult] = useState<Result | null>(null);
  const { busy, problem, act, forget } = useAct();
  // Sent, and not answered: until there is an answer it goes again as it was, under the same key, and so is taken once.
  const open = useRef<{ body: string; key: string } | null>(null);
  const rows = useRef(rowsOf(JSON.stringify(event, null, 2)));

  const changed = () => {
    if (open.current !== null) forget();
    open.current = null;
  };
  const change = (field: Field, value: Json | undefined) => {
    setEvent(put(event, field.path, value));
    setWritten(new Set([...written, field.name]));
    setBroken(null);
    changed();
  };
  const edit = (json: string) => {
    changed();
    try {
      const parsed = JSON.parse(json) as Json;
      const others = fields.filter((field) => text(at(parsed, field.path)) !== text(at(event, field.path)));
      setWritten(new Set([...written, ...others.map((field) => field.name)]));
      setEvent(parsed);
      setBroken(null);
    } catch (error) {
      setBroken({ text: json, why: error instanceof Error ? error.message : String(error) });
    }
  };
  const reset = () => {
    setEvent(newEvent(topic, fields));
    setWritten(new Set());
    setBroken(null);
    setResult(null);
    changed();
    forget();
  };
  const next = () => refreshed(event, fields, written);
  const submit = async () => {
    // What is no JSON is sent as it is: how the job answers that is worth seeing.
    const request = open.current ?? { body: broken?.text ?? JSON.stringify(next()), key: uuid() };
    const { body, key } = request;
    open.current = request;
    if (broken === null) setEvent(JSON.parse(body) as Json);
    setResult(null);
    const started = performance.now();
    await act(async () => {
      try {
        const answer = await send<Applied | TakenBefore>("POST", path(topic.post ?? "", { ack: "applied" }), body, key);
        setResult({ answer, ms: Math.round(performance.now() - started), id: idOf(topic, body) });
      } catch (error) {
        if (!problemOf(error).isOpen) open.current = null;
        throw error;
      }
      open.current = null;
    });
  };

  return (
    <form
      id="trigger-form"
      class="trigger"
      noValidate
      onSubmit={(submitted) => {
        submitted.preventDefault();
        void submit();
      }}
    >
      <div class="fields">
        {fields.map((field) => (
          <FieldInput
            key={field.name}
            field={field}
            value={at(event, field.path)}
            onChange={(to) => change(field, to)}
          />
        ))}
      </div>
      <div>
        <label for="trigger-json">{say.json}</label>
        <textarea
          id="trigger-json"
          rows={rows.current}
          spellcheck={false}
          value={broken?.text ?? JSON.stringify(event, null, 2)}
          onInput={(typed) => edit(typed.currentTarget.value)}
          aria-describedby="trigger-json-note"
        />
        <p id="trigger-json-note" class={broken === null ? "note" : "bad"}>
          {broken === null ? say.keep : say.notJson(broken.why)}
        </p>
      </div>
      <div class="wide row">
        <button id="trigger-send" disabled={busy}>
          {busy ? say.sending : say.send}
        </button>
        <button type="button" onClick={reset}>
          {say.reset}
        </button>
        <Curl topic={topic} event={next} />
      </div>
      <div class="wide">
        <ResultLine result={result} problem={problem} isKept={open.current !== null} />
        <Repeat post={topic.post ?? ""} next={next} />
      </div>
    </form>
  );
}

/** Null where it cannot be seen: what was sent may be anything. */
function idOf(topic: Topic, body: string): string | null {
  try {
    const id = topic.id === null ? undefined : at(JSON.parse(body) as Json, topic.id.split("."));
    return typeof id === "string" || typeof id === "number" ? String(id) : null;
  } catch {
    return null;
  }
}
