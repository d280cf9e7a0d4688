// One metric of the groups of one start, as bars: there is no line to draw yet. The table has the same.
import { number } from "../../format.ts";
import { useWidth } from "../../parts/width.ts";

export const BARS_MAX = 16;
const LINE = 22;
const NAME_SHARE = 0.3;
const NAME_MAX = 220;
const VALUE_WIDTH = 70;

export interface Bar {
  key: string;
  name: string;
  value: number | null;
}

export function GroupBars({ title, unit, bars }: { title: string; unit: string; bars: Bar[] }) {
  const [place, width] = useWidth<HTMLDivElement>(600);
  const shown = bars.slice(0, BARS_MAX);
  const most = Math.max(...shown.map(({ value }) => Math.abs(value ?? 0)), Number.MIN_VALUE);
  const left = Math.min(width * NAME_SHARE, NAME_MAX);
  const room = width - left - VALUE_WIDTH;
  return (
    <figure class="chart">
      <figcaption>
        {title} <span class="note">({unit})</span>
      </figcaption>
      <div ref={place} class="bars" aria-hidden="true">
        <svg width={width} height={shown.length * LINE}>
          {shown.map(({ key, name, value }, nth) => {
            const length = (Math.abs(value ?? 0) / most) * room;
            return (
              <g key={key} transform={`translate(0 ${nth * LINE})`}>
                {/* Of its own, so that what is too long is cut before the bar. */}
                <svg width={left - 8} height={LINE}>
                  <text y={15}>{name}</text>
                </svg>
                <rect x={left} y={3} width={Math.max(length, 1)} height={LINE - 7} rx={2} />
                <text class="soft" x={left + length + 6} y={15}>
                  {value === null ? "–" : number(value)}
                </text>
              </g>
            );
          })}
        </svg>
      </div>
    </figure>
  );
}
