// What is shown of a row as one number.
import type { ShownRow } from "./rows.ts";

/** Beside the window's own metrics. No metric has this name with a blank. */
export const EVENT_COUNT = "event count";

export function metricOf(row: ShownRow, metric: string): number | null {
  const value = metric === EVENT_COUNT ? row.event_count : row.values[metric];
  return typeof value === "number" ? value : null;
}
