// A line of the last minutes, as small as a word. The figures stand beside it.
const WIDTH = 90;
const HEIGHT = 28;
/** Points that are drawn, the newest. */
const POINTS_MAX = 120;

/** `top` is the value at the upper edge: the same for lines that are to be compared. */
export function Spark({ values, top }: { values: number[]; top: number }) {
  const shown = values.slice(-POINTS_MAX);
  const scale = top > 0 ? (HEIGHT - 3) / top : 0;
  const first = POINTS_MAX - shown.length;
  const points = shown.map((value, at) => {
    const x = ((first + at) / (POINTS_MAX - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 1.5 - value * scale).toFixed(1)}`;
  });
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      <line x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
      {points.length > 1 && <polyline points={points.join(" ")} />}
    </svg>
  );
}
