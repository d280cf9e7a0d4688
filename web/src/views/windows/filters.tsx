// Which window, and which of its rows: all of it stands in the address.
import { time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { Select } from "../../parts/select.tsx";
import { go, place, setQuery, to } from "../../router.ts";
import type { Pipeline } from "../../types.ts";
import { EVENT_COUNT } from "./metric.ts";
import { type Choice, LAST_WINDOWS } from "./rows.ts";

const SPANS = [20, LAST_WINDOWS, 240];
/** Where no row is shown. */
const FIRST = "1970-01-01T00:00:00Z";
/** Values of a group that the browser offers. */
const OFFERED_MAX = 500;

interface Props {
  choice: Choice;
  pipelines: Pipeline[];
  /** The group's fields and values seen of them. */
  fields: Record<string, string[]>;
  metrics: string[];
  metric: string;
  /** The start of the oldest row that is shown: a time span begins with it. */
  oldest: string | undefined;
}

export function Filters({ choice, pipelines, fields, metrics, metric, oldest }: Props) {
  const say = words().windows;
  const of = pipelines.find((one) => one.name === choice.pipeline);
  const fixed = choice.from !== "" || choice.to !== "";
  // A filter of the address is shown before the first row is there.
  const names = [...new Set([...Object.keys(fields), ...Object.keys(choice.group)])];
  const filtered = fixed || Object.keys(choice.group).length > 0;
  const windowOf = (pipeline: string) => pipelines.find((one) => one.name === pipeline)?.windows[0] ?? "";
  return (
    <form class="filters" aria-label={say.filters} onSubmit={(event) => event.preventDefault()}>
      {pipelines.length > 1 && (
        <Select
          label={say.pipeline}
          value={choice.pipeline}
          options={pipelines.map(({ name }) => [name, name])}
          onChoice={(name) => go(to("windows", [name, windowOf(name)]))}
        />
      )}
      <Select
        label={say.window}
        value={choice.window}
        options={(of?.windows ?? []).map((name) => [name, name])}
        onChoice={(name) => go(to("windows", [choice.pipeline, name]))}
      />
      <Select
        label={say.metric}
        value={metric}
        options={metrics.map((name) => [name, name === EVENT_COUNT ? words().common.eventCount : name])}
        onChoice={(name) => setQuery({ metric: name })}
      />
      {names.map((name) => (
        <GroupField key={name} name={name} value={choice.group[name] ?? ""} values={fields[name] ?? []} />
      ))}
      <Select
        label={say.span}
        value={fixed ? "" : String(choice.last)}
        options={[
          ...[...new Set([...SPANS, choice.last])].map((n): [string, string] => [String(n), say.spans.last(n)]),
          ["", say.spans.fixed],
        ]}
        onChoice={(last) => setQuery({ last, from: last === "" ? (oldest ?? FIRST) : undefined, to: undefined })}
      />
      {fixed && (
        <>
          <Moment label={say.from} name="from" value={choice.from} />
          <Moment label={say.until} name="to" value={choice.to} />
        </>
      )}
      {filtered && (
        <a
          class="clear"
          href={to("windows", [choice.pipeline, choice.window], { metric: place.value.query.get("metric") ?? "" })}
        >
          {say.clear}
        </a>
      )}
    </form>
  );
}

function GroupField({ name, value, values }: { name: string; value: string; values: string[] }) {
  const list = `values-${name}`;
  return (
    <label>
      {name}
      <input
        name={`group.${name}`}
        type="search"
        list={list}
        value={value}
        placeholder={words().common.all}
        onChange={(event) => setQuery({ [`group.${name}`]: event.currentTarget.value })}
      />
      <datalist id={list}>
        {values.slice(0, OFFERED_MAX).map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
    </label>
  );
}

function Moment({ label, name, value }: { label: string; name: "from" | "to"; value: string }) {
  return (
    <label>
      {label}
      <input
        type="datetime-local"
        step={1}
        value={time(value).replace(" ", "T").slice(0, 19)}
        onChange={(event) => {
          const local = event.currentTarget.value;
          setQuery({ [name]: local === "" ? undefined : `${local.length === 16 ? `${local}:00` : local}Z` });
        }}
      />
    </label>
  );
}
