// Lines over time, and the same figures as a table for whoever cannot see them.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { number } from "../format.ts";
import { language } from "../i18n/language.ts";
import { words } from "../i18n/words.ts";
import { shade } from "../theme.ts";
import { Table } from "./table.tsx";

export interface Line {
  label: string;
  /** One of the style sheet's colours for lines, 1 to 6. */
  colour: number;
  values: (number | null)[];
}

interface Props {
  title: string;
  /** Of the values. */
  unit: string;
  /** Unix seconds, rising. */
  times: number[];
  lines: Line[];
  /** Not every line has a value at every time: single ones show as points. */
  sparse?: boolean;
  height?: number;
  /** Values from here on may still change: Unix seconds. They stand on another ground. */
  openSince?: number | null;
}

const HEIGHT = 190;
const DAY_SECONDS = 86_400;
/** Seconds between the marks below, the least that leave room for their texts. */
const MARKS = [
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200],
  ...[1, 2, 7, 14, 30, 90, 365].map((days) => days * DAY_SECONDS),
];
/** Rows of the table, the newest. */
const ROWS_MAX = 20;

export function Chart({ title, unit, times, lines, sparse = false, height = HEIGHT, openSince = null }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const labels = lines.map((line) => line.label).join("\n");
  const data: uPlot.AlignedData = [times, ...lines.map((line) => line.values)];
  const newest = useRef(data);
  newest.current = data;
  const open = useRef(openSince);
  open.current = openSince;

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(options(lines, element, { sparse, height, open }), newest.current, element);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
    // Its colours and words are fixed when it is made.
  }, [labels, shade.value, language.value]);

  useEffect(() => {
    plot.current?.setData(data);
  });

  const rows = times
    .map((at, index) => ({ at, index }))
    .slice(-ROWS_MAX)
    .reverse();
  const days = (times.at(-1) ?? 0) - (times[0] ?? 0) >= DAY_SECONDS;
  return (
    <figure class="chart">
      <figcaption>
        {title} <span class="note">({unit})</span>
      </figcaption>
      <div ref={place} aria-hidden="true" />
      <details>
        <summary>{words().common.asTable}</summary>
        <Table
          caption={title}
          quiet
          rows={rows}
          keyOf={(row) => row.at}
          empty={words().common.none}
          columns={[
            { head: words().common.time, cell: (row) => instant(row.at, days) },
            ...lines.map((line) => ({
              head: line.label,
              numeric: true,
              cell: (row: { index: number }) => {
                const value = line.values[row.index];
                return value === null || value === undefined ? "–" : number(value);
              },
            })),
          ]}
        />
      </details>
    </figure>
  );
}

/** UTC, as all times of the page are. */
function instant(at: number, day: boolean): string {
  const text = new Date(at * 1_000).toISOString();
  return day ? text.slice(0, 16).replace("T", " ") : text.slice(11, 19);
}

interface Shape {
  sparse: boolean;
  height: number;
  open: { current: number | null };
}

function options(lines: Line[], element: HTMLElement, { sparse, height, open }: Shape): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(element.clientWidth, 100),
    height,
    // The last tick's text is half beyond the axis.
    padding: [null, 28, null, null],
    scales: { x: { time: true }, y: { range: (_, min, max) => [min < 0 ? min * 1.1 : 0, max > 0 ? max * 1.1 : 1] } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1_000), "Etc/UTC"),
    axes: [
      {
        ...axis,
        size: 26,
        space: 80,
        incrs: MARKS,
        values: (_, ticks, __, ___, step) => ticks.map((at) => tick(at, step)),
      },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(number) },
    ],
    series: [
      { label: words().common.time, value: (plot, at, index) => shown(plot, at, index, (one) => instant(one, false)) },
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(`--line-${line.colour}`),
        width: 2,
        points: sparse ? { size: 5, fill: colour(`--line-${line.colour}`) } : { show: false },
        spanGaps: sparse,
        value: (plot: uPlot, value: number | null, index: number) => shown(plot, value, index, number),
      })),
    ],
    cursor: { y: false },
    hooks: { drawClear: [(plot) => shadeOpen(plot, open.current, colour("--paper"))] },
  };
}

/** What the legend says of a line (0: of the time): where the pointer is, and the newest while it is elsewhere. */
function shown(plot: uPlot, pointed: number | null, line: number, text: (value: number) => string): string {
  const value = plot.cursor.idx == null ? plot.data[line]?.at(-1) : pointed;
  return value === null || value === undefined ? "–" : text(value);
}

/** As much of a time as tells it from its neighbours. */
function tick(at: number, step: number): string {
  const text = new Date(at * 1_000).toISOString();
  if (step >= DAY_SECONDS) return text.slice(5, 10);
  return step >= 60 ? text.slice(11, 16) : text.slice(11, 19);
}

function shadeOpen({ ctx, bbox, valToPos }: uPlot, since: number | null, colour: string): void {
  if (since === null) return;
  const left = Math.max(valToPos(since, "x", true), bbox.left);
  const width = bbox.left + bbox.width - left;
  if (!(width > 0)) return;
  // The chart remembers which colour it has set last.
  ctx.save();
  ctx.fillStyle = colour;
  ctx.fillRect(left, bbox.top, width, bbox.height);
  ctx.restore();
}
