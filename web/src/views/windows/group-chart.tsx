// One metric by group over time: the largest groups as lines, the others by name.
import { useRef } from "preact/hooks";
import { group } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { Chart } from "../../parts/chart.tsx";
import { EVENT_COUNT, metricOf } from "../windows.tsx";
import type { Choice, ShownRow } from "./rows.ts";

const LINES_MAX = 6;
const NAMED_MAX = 8;
const NAME_CHARS = 48;

interface Group {
  key: string;
  name: string;
  events: number;
  /** By start. */
  values: Map<string, number | null>;
}

export function GroupChart({ choice, rows, metric }: { choice: Choice; rows: ShownRow[]; metric: string }) {
  const say = words();
  const colours = useRef(new Map<string, number>());
  const groups = grouped(rows, metric, say.common.all);
  const drawn = groups.slice(0, LINES_MAX);
  const rest = groups.slice(LINES_MAX);
  keepColours(colours.current, drawn);
  const starts = [...new Set(rows.map((row) => row.window_start))].sort();
  const lines = drawn.map(({ key, name, values }) => ({
    label: name,
    colour: colours.current.get(key) ?? 1,
    values: starts.map((start) => values.get(start) ?? null),
  }));
  lines.sort((a, b) => a.colour - b.colour);
  const names = rest.slice(0, NAMED_MAX).map(({ name }) => name);
  if (rest.length > NAMED_MAX) names.push(say.windows.andMore(rest.length - NAMED_MAX));
  return (
    <section class="card group-chart">
      <Chart
        title={say.windows.byGroup(metric === EVENT_COUNT ? say.windows.eventCount : metric)}
        unit={`${choice.pipeline}.${choice.window}`}
        times={starts.map((start) => Date.parse(start) / 1_000)}
        lines={lines}
        sparse
        height={240}
      />
      {rest.length > 0 && <p class="note">{say.windows.rest(rest.length, names.join(", "))}</p>}
    </section>
  );
}

/** The largest first: by their events, so that the lines are the same for each metric. */
function grouped(rows: ShownRow[], metric: string, all: string): Group[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = row.groupKey;
    const known = groups.get(key) ?? { key, name: shortened(group(row.group, all)), events: 0, values: new Map() };
    known.events += row.event_count;
    known.values.set(row.window_start, metricOf(row, metric));
    groups.set(key, known);
  }
  return [...groups.values()].sort((a, b) => b.events - a.events || (a.key < b.key ? -1 : 1));
}

/** A legend has no room for more; the table has the whole name. */
function shortened(name: string): string {
  return name.length <= NAME_CHARS ? name : `${name.slice(0, NAME_CHARS / 2)}…${name.slice(-NAME_CHARS / 2)}`;
}

/** A group keeps its colour for as long as it is drawn. */
function keepColours(colours: Map<string, number>, drawn: Group[]): void {
  const keys = new Set(drawn.map(({ key }) => key));
  for (const key of colours.keys()) if (!keys.has(key)) colours.delete(key);
  for (const key of keys) {
    if (colours.has(key)) continue;
    const taken = new Set(colours.values());
    colours.set(key, [1, 2, 3, 4, 5, 6].find((colour) => !taken.has(colour)) ?? 1);
  }
}
