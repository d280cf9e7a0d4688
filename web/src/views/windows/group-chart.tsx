// One metric by group over time: the largest groups as lines, the others by name.
import { useRef } from "preact/hooks";
import { group, time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { Chart } from "../../parts/chart.tsx";
import { BARS_MAX, GroupBars } from "./group-bars.tsx";
import { EVENT_COUNT, metricOf } from "./metric.ts";
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
  keepColours(colours.current, drawn);
  const starts = [...new Set(rows.map((row) => row.window_start))].sort();
  const lines = drawn.map(({ key, name, values }) => ({
    label: name,
    colour: colours.current.get(key) ?? 1,
    values: starts.map((start) => values.get(start) ?? null),
  }));
  lines.sort((a, b) => a.colour - b.colour);
  const title = say.windows.byGroup(metric === EVENT_COUNT ? say.common.eventCount : metric);
  const unit = `${choice.pipeline}.${choice.window}`;
  const [only] = starts;
  if (starts.length === 1 && only !== undefined) {
    const bars = groups.map(({ key, name, values }) => ({ key, name, value: values.get(only) ?? null }));
    return (
      <section class="card group-chart">
        <GroupBars title={title} unit={`${unit}, ${time(only)}`} bars={bars} />
        <Rest groups={groups.slice(BARS_MAX)} />
      </section>
    );
  }
  const open = rows.filter((row) => !row.closed).map((row) => row.window_start);
  return (
    <section class="card group-chart">
      <Chart
        title={title}
        unit={unit}
        times={starts.map((start) => Date.parse(start) / 1_000)}
        lines={lines}
        sparse
        height={240}
        openSince={openSince(starts, open)}
      />
      {open.length > 0 && <p class="note">{say.windows.stillOpen}</p>}
      <Rest groups={groups.slice(LINES_MAX)} />
    </section>
  );
}

/** Those that are not drawn, by name. */
function Rest({ groups }: { groups: Group[] }) {
  const say = words().windows;
  if (groups.length === 0) return null;
  const names = groups.slice(0, NAMED_MAX).map(({ name }) => name);
  if (groups.length > NAMED_MAX) names.push(say.andMore(groups.length - NAMED_MAX));
  return (
    <p class="note">
      <bdi>{say.rest(groups.length, names.join(", "))}</bdi>
    </p>
  );
}

/** The line from the last closed value to the first open one is not final either. */
function openSince(starts: string[], open: string[]): number | null {
  const first = open.reduce<string | null>((least, start) => (least === null || start < least ? start : least), null);
  if (first === null) return null;
  const before = starts.filter((start) => start < first).at(-1) ?? first;
  return Date.parse(before) / 1_000;
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
