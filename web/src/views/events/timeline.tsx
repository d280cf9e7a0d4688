// Events on a line of time, a lane for each topic. Whoever cannot see it has the table.
import { duration, time } from "../../format.ts";
import { eventAddress } from "../../parts/event-table.tsx";
import { useWidth } from "../../parts/width.ts";
import { go } from "../../router.ts";
import type { StoredEvent } from "../../types.ts";

const LANE = 46;
const MARGIN = 14;
const RADIUS = 6;
/** Nearer to each other than this, events are one dot with their number. */
const NEAR = 14;
/** A tick takes so much room. */
const TICK_WIDTH = 110;
const COLOURS = 6;

interface Dot {
  x: number;
  events: StoredEvent[];
}

interface Props {
  /** In the order of their times. */
  events: StoredEvent[];
  /** Unix milliseconds of the first. */
  start: number;
  /** Milliseconds to the last. */
  span: number;
}

export function Timeline({ events, start, span }: Props) {
  const [place, width] = useWidth<HTMLDivElement>(600);
  const topics = [...new Set(events.map(({ topic }) => topic))];
  const inner = width - 2 * MARGIN;
  const x = (ms: number) => MARGIN + (span === 0 ? inner / 2 : (ms / span) * inner);
  const height = topics.length * LANE + 26;
  return (
    <div ref={place} class="timeline" aria-hidden="true">
      <svg width={width} height={height}>
        {ticks(span, Math.max(2, Math.floor(inner / TICK_WIDTH))).map((ms) => (
          <g key={ms}>
            <line class="grid" x1={x(ms)} x2={x(ms)} y1={0} y2={height - 22} />
            <text x={x(ms)} y={height - 6} text-anchor={anchor(x(ms), width)}>
              {ms === 0 ? time(new Date(start).toISOString()).slice(11) : `+${duration(ms)}`}
            </text>
          </g>
        ))}
        {topics.map((topic, lane) => (
          <g key={topic} transform={`translate(0 ${lane * LANE})`}>
            <text class="lane" x={MARGIN - RADIUS} y={13}>
              {topic}
            </text>
            <line class="lane" x1={MARGIN} x2={width - MARGIN} y1={29} y2={29} />
            {dots(events, topic, (event) => x(Date.parse(event.time) - start)).map((dot) => (
              <Mark key={dot.events[0]?.offset} dot={dot} colour={(lane % COLOURS) + 1} />
            ))}
          </g>
        ))}
      </svg>
    </div>
  );
}

function Mark({ dot: { x, events }, colour }: { dot: Dot; colour: number }) {
  const [first] = events;
  if (first === undefined) return null;
  const many = events.length > 1;
  return (
    <g class={`dot-mark mark-${colour}`} onClick={() => go(eventAddress(first))}>
      <title>{events.map((event) => `${time(event.time)} ${event.event_id}`).join("\n")}</title>
      <circle cx={x} cy={29} r={many ? RADIUS + 3 : RADIUS} />
      {many && (
        <text x={x} y={33} text-anchor="middle">
          {events.length}
        </text>
      )}
    </g>
  );
}

function dots(events: StoredEvent[], topic: string, x: (event: StoredEvent) => number): Dot[] {
  const all: Dot[] = [];
  for (const event of events) {
    if (event.topic !== topic) continue;
    const at = x(event);
    const last = all.at(-1);
    if (last !== undefined && at - last.x < NEAR) last.events.push(event);
    else all.push({ x: at, events: [event] });
  }
  return all;
}

/** Round times from 0 to the span, at most this many. */
function ticks(span: number, most: number): number[] {
  if (span === 0) return [0];
  const units = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 86_400_000];
  const steps = units.flatMap((unit) => [unit, 2 * unit, 5 * unit]).sort((a, b) => a - b);
  const step = steps.find((one) => span / one < most) ?? span;
  return Array.from({ length: Math.floor(span / step) + 1 }, (_, index) => index * step);
}

function anchor(x: number, width: number): "start" | "middle" | "end" {
  return x < TICK_WIDTH / 2 ? "start" : x > width - TICK_WIDTH / 2 ? "end" : "middle";
}
