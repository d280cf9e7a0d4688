// How far a pipeline's watermark is behind. Of one to which nothing comes that says nothing: its watermark waits, or goes with the clock.
import { history } from "../../live.ts";
import type { Cluster, Pipeline, PipelineStatus } from "../../types.ts";

/** A pipeline whose topics have had no event for so many seconds is idle. */
const IDLE_SECONDS = 10;

/** Milliseconds; null before the first event. */
export type Lag = { behind: number | null; idle: boolean };

export function lagOf(status: PipelineStatus, pipelines: readonly Pipeline[], cluster: Cluster): Lag {
  const topics = pipelines.find((one) => one.name === status.pipeline)?.topics;
  const behind = status.watermark_lag_ms === null ? null : Math.max(0, status.watermark_lag_ms);
  return { behind, idle: topics !== undefined && !haveEvents(topics, cluster) };
}

function haveEvents(topics: readonly string[], cluster: Cluster): boolean {
  const now = cluster.topics.some(
    ({ topic, per_second }) => topic !== null && topics.includes(topic) && per_second.accepted > 0,
  );
  return now || history.value.slice(-IDLE_SECONDS).some((sample) => topics.some((topic) => sample.topics.has(topic)));
}

/** The pipeline that is furthest behind of those that have events; null where none has. */
export function slowest(pipelines: readonly Pipeline[], cluster: Cluster): { pipeline: string; behind: number } | null {
  const lags = cluster.pipelines.flatMap((status) => {
    const { behind, idle } = lagOf(status, pipelines, cluster);
    return behind === null || idle ? [] : [{ pipeline: status.pipeline, behind }];
  });
  return lags.reduce<(typeof lags)[number] | null>(
    (most, one) => (one.behind > (most?.behind ?? -1) ? one : most),
    null,
  );
}
