// When alerts are to be asked for: the live stream of newer jobs tells how many were raised, older ones have to be asked.
import { snapshot } from "../../live.ts";

/** Where the stream tells of what is raised; clearing it does not tell. */
const TOLD_MS = 10_000;
const UNTOLD_MS = 3_000;

/** How many alerts were ever raised, where the job tells, and how often to ask all the same. */
export function raised(): { count: number | undefined; every: number } {
  const alerts = snapshot.value?.cluster.pipelines.map((pipeline) => pipeline.alerts) ?? [];
  if (alerts.length === 0 || alerts.includes(undefined)) return { count: undefined, every: UNTOLD_MS };
  const count = alerts.flatMap((of) => of ?? []).reduce((sum, alert) => sum + alert.raised, 0);
  return { count, every: TOLD_MS };
}
