// When alerts are to be asked for: the live stream tells of each that is raised.
import { snapshot } from "../../live.ts";

/** It does not tell of what is cleared. */
export const CLEARED_MS = 10_000;

/** How many alerts were ever raised. */
export function raised(): number {
  const alerts = snapshot.value?.cluster.pipelines.flatMap((pipeline) => pipeline.alerts) ?? [];
  return alerts.reduce((sum, alert) => sum + alert.raised, 0);
}
