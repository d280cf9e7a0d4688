// Sending events by hand: a form made from the topic's schema, the event as JSON beside it, once or many times; and the generator.
import type { TargetedInputEvent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get, path, Problem, send } from "../api.ts";
import { text } from "../format.ts";
import { words } from "../i18n/words.ts";
import { useLoad } from "../parts/load.ts";
import { place, setQuery, to } from "../router.ts";
import { at, type Field, fieldsOf, newEvent, put, refreshed } from "../schema.ts";
import type { Applied, Json, StoredEvent, Topic } from "../types.ts";
import { GeneratorCard } from "./generator.tsx";
import { Repeat } from "./repeat.tsx";

export function Trigger() {
  const say = words().trigger;
  const { data, problem } = useLoad(() => get<{ topics: Topic[] }>("/topics"), [], 0);
  const topics = data?.topics.filter((topic) => topic.post !== null) ?? [];
  const wanted = place.value.query.get("topic");
  const topic = topics.find((one) => one.name === wanted) ?? topics[0];
  return (
    <div class="cards">
      <section class="card wide" aria-labelledby="h-trigger">
        <h2 id="h-trigger">{say.title}</h2>
        {problem !== null && <p class="bad">{problem.message}</p>}
        {data !== null && topic === undefined && <p class="note">{say.noTopics}</p>}
        {topic !== undefined && (
          <>
            <label for="trigger-topic">{say.topic}</label>
            <select
              id="trigger-topic"
              value={topic.name}
              onChange={(event) => setQuery({ topic: event.currentTarget.value })}
            >
              {topics.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
            <Draft key={topic.name} topic={topic} />
          </>
        )}
      </section>
      <GeneratorCard />
    </div>
  );
}

/** One event in the making. */
function Draft({ topic }: { topic: Topic }) {
  const say = words().trigger;
  const fields = fieldsOf(topic);
  const [event, setEvent] = useState<Json>(() => newEvent(topic, fields));
  const [written, setWritten] = useState<ReadonlySet<string>>(new Set());
  // What stands in the text area while it is no JSON.
  const [broken, setBroken] = useState<{ text: string; why: string } | null>(null);
  const [result, setResult] = useState<Result | null>(null);
  const [busy, setBusy] = useState(false);

  const change = (field: Field, value: Json | undefined) => {
    setEvent(put(event, field.path, value));
    setWritten(new Set([...written, field.name]));
    setBroken(null);
  };
  const edit = (json: string) => {
    try {
      const parsed = JSON.parse(json) as Json;
      const changed = fields.filter((field) => text(at(parsed, field.path)) !== text(at(event, field.path)));
      setWritten(new Set([...written, ...changed.map((field) => field.name)]));
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
  };
  const next = () => refreshed(event, fields, written);
  const submit = async () => {
    // What is no JSON is sent as it is: how the job answers that is worth seeing.
    const body = broken?.text ?? JSON.stringify(next());
    if (broken === null) setEvent(JSON.parse(body) as Json);
    setBusy(true);
    const started = performance.now();
    try {
      const answer = await send<Applied>("POST", path(topic.post ?? "", { ack: "applied" }), body);
      setResult({ answer, ms: Math.round(performance.now() - started), id: idOf(topic, body) });
    } catch (error) {
      setResult({ problem: error instanceof Problem ? error.message : String(error) });
    } finally {
      setBusy(false);
    }
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
          rows={16}
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
        <ResultLine result={result} />
        <Repeat post={topic.post ?? ""} next={next} />
      </div>
    </form>
  );
}

function idOf(topic: Topic, body: string): string | null {
  try {
    const id = topic.id === null ? undefined : at(JSON.parse(body) as Json, topic.id.split("."));
    return typeof id === "string" || typeof id === "number" ? String(id) : null;
  } catch {
    return null;
  }
}

interface InputProps {
  field: Field;
  value: Json | undefined;
  onChange: (value: Json | undefined) => void;
}

function FieldInput({ field, value, onChange }: InputProps) {
  const say = words().trigger;
  const id = `field-${field.name}`;
  return (
    <div>
      <label for={id} title={field.description}>
        {field.name} {!field.required && <span>({say.optional})</span>}
      </label>
      {field.kind === "choice" ? (
        <select
          id={id}
          value={value === undefined ? "" : JSON.stringify(value)}
          onChange={(event) => onChange(parsed(event.currentTarget.value))}
        >
          {(!field.required || value === undefined) && <option value="">{say.leftOut}</option>}
          {field.choices.map((choice) => (
            <option key={JSON.stringify(choice)} value={JSON.stringify(choice)}>
              {text(choice)}
            </option>
          ))}
        </select>
      ) : (
        <TypedInput id={id} field={field} value={value === undefined ? "" : text(value)} onTyped={onChange} />
      )}
    </div>
  );
}

interface TypedProps {
  id: string;
  field: Field;
  value: string;
  onTyped: (value: Json | undefined) => void;
}

function TypedInput({ id, field, value, onTyped }: TypedProps) {
  const onInput = (event: TargetedInputEvent<HTMLInputElement>) => onTyped(typed(field, event.currentTarget.value));
  if (field.kind !== "integer" && field.kind !== "number") {
    return <input id={id} type="text" pattern={field.pattern} value={value} onInput={onInput} />;
  }
  const step = field.kind === "integer" ? 1 : "any";
  return (
    <input id={id} type="number" step={step} min={field.minimum} max={field.maximum} value={value} onInput={onInput} />
  );
}

/** What was typed, as the field's kind; as text where it is none such, which the job will say. */
function typed(field: Field, value: string): Json | undefined {
  if (value === "" && !field.required) return undefined;
  return field.kind === "text" ? value : (parsed(value) ?? value);
}

function parsed(value: string): Json | undefined {
  try {
    return JSON.parse(value) as Json;
  } catch {
    return undefined;
  }
}

type Result = { answer: Applied; ms: number; id: string | null } | { problem: string };

function ResultLine({ result }: { result: Result | null }) {
  const say = words().trigger;
  if (result === null) return <p id="trigger-result" role="status" />;
  if ("problem" in result) {
    return (
      <p id="trigger-result" role="status" class="bad">
        {result.problem}
      </p>
    );
  }
  const { answer, ms, id } = result;
  const fates = answer.items.map((item) =>
    say.fate(say.status[item.status] ?? item.status, item.offset, item.reason ?? "", ms),
  );
  return (
    <>
      <p id="trigger-result" role="status" class={answer.counted === answer.accepted ? "good" : "bad"}>
        {fates.join("; ")}
      </p>
      {answer.accepted === 1 && answer.counted === 1 && id !== null && <Went id={id} />}
    </>
  );
}

/** The rows that an event went into. */
function Went({ id }: { id: string }) {
  const say = words().trigger;
  const [events, setEvents] = useState<StoredEvent[]>([]);
  useEffect(() => {
    let over = false;
    get<{ events: StoredEvent[] }>(`/events/${encodeURIComponent(id)}`).then(
      (answer) => over || setEvents(answer.events),
      () => over || setEvents([]),
    );
    return () => {
      over = true;
    };
  }, [id]);
  const metrics = [...new Set(events.flatMap((event) => event.metrics))];
  return (
    <nav aria-label={say.went}>
      <ul id="trigger-went" class="inline">
        <li>
          <a href={to("events", [id])}>{say.theEvent}</a>
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

function Curl({ topic, event }: { topic: Topic; event: () => Json }) {
  const say = words().trigger;
  const [command, setCommand] = useState<string | null>(null);
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    const quoted = JSON.stringify(event()).replaceAll("'", `'\\''`);
    const made = `curl -H 'Content-Type: application/json' -d '${quoted}' '${location.origin}${topic.post}?ack=applied'`;
    setCommand(made);
    // Not allowed everywhere: then it is there to be copied by hand.
    setCopied(
      await navigator.clipboard?.writeText(made).then(
        () => true,
        () => false,
      ),
    );
  };
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        {say.curl}
      </button>
      {command !== null && (
        <div class="wide">
          <p class="note" role="status">
            {copied ? say.copied : say.curlLabel}
          </p>
          <pre tabIndex={0} class="scroll" aria-label={say.curlLabel}>
            {command}
          </pre>
        </div>
      )}
    </>
  );
}
