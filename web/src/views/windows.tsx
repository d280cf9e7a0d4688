// The rows of windows: a chart by group and a table, and behind each row its events.
import { useRef } from "preact/hooks";
import { words } from "../i18n/words.ts";
import { usePipelines } from "../parts/pipelines.ts";
import { Said } from "../parts/said.tsx";
import { place } from "../router.ts";
import type { Pipeline } from "../types.ts";
import { Filters } from "./windows/filters.tsx";
import { GroupChart } from "./windows/group-chart.tsx";
import { EVENT_COUNT } from "./windows/metric.ts";
import { RowPage } from "./windows/row-page.tsx";
import { RowTable } from "./windows/row-table.tsx";
import { type Choice, LAST_WINDOWS, type ShownRow, useRows } from "./windows/rows.ts";

const METRIC_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function Windows() {
  const [first = "", second = ""] = place.value.parts;
  // No pipeline's name looks like one.
  return METRIC_ID.test(first) ? <RowPage key={first} id={first} /> : <Listing pipeline={first} window={second} />;
}

function Listing({ pipeline, window }: { pipeline: string; window: string }) {
  const say = words();
  const { data, problem } = usePipelines();
  if (data === null) return <Said data={data} problem={problem} />;
  const all = data.pipelines.filter((one) => one.windows.length > 0);
  const of = all.find((one) => one.name === pipeline) ?? all[0];
  if (of === undefined) return <p class="note">{say.windows.noWindows}</p>;
  // A link to what is not there is asked for all the same: the server says what there is.
  const chosen = { pipeline: pipeline || of.name, window: window || (of.windows[0] ?? "") };
  const { query } = place.value;
  const group = Object.fromEntries(
    [...query].flatMap(([name, value]) => (/^group\../.test(name) ? [[name.slice(6), value]] : [])),
  );
  const choice: Choice = {
    ...chosen,
    group,
    from: query.get("from") ?? "",
    to: query.get("to") ?? "",
    last: Number(query.get("last")) || LAST_WINDOWS,
  };
  return <Rows key={`${chosen.pipeline} ${chosen.window}`} choice={choice} pipelines={all} />;
}

function Rows({ choice, pipelines }: { choice: Choice; pipelines: Pipeline[] }) {
  const { rows, problem, loaded, more } = useRows(choice);
  const fields = useFields(rows);
  const metrics = [...new Set(rows.flatMap((row) => numeric(row)))];
  const wanted = place.value.query.get("metric") ?? "";
  const metric = metrics.includes(wanted) || wanted === EVENT_COUNT ? wanted : (metrics[0] ?? EVENT_COUNT);
  return (
    <>
      <Filters
        choice={choice}
        pipelines={pipelines}
        fields={fields}
        metrics={[...metrics, EVENT_COUNT]}
        metric={metric}
        oldest={rows.at(-1)?.window_start}
      />
      <Said data={loaded || null} problem={problem} />
      {loaded && (
        <>
          {rows.length > 0 && <GroupChart choice={choice} rows={rows} metric={metric} />}
          <RowTable rows={rows} fields={Object.keys(fields)} choice={choice} more={more} />
        </>
      )}
    </>
  );
}

const numeric = (row: ShownRow) => Object.keys(row.values).filter((name) => typeof row.values[name] === "number");

/** The group's fields with the values that were seen of them; those that a filter hides now are still offered. */
function useFields(rows: ShownRow[]): Record<string, string[]> {
  const seen = useRef(new Map<string, Set<string>>());
  for (const row of rows) {
    for (const [name, value] of Object.entries(row.group)) {
      const values = seen.current.get(name) ?? new Set();
      seen.current.set(name, values.add(String(value)));
    }
  }
  return Object.fromEntries([...seen.current].map(([name, values]) => [name, [...values].sort()]));
}
