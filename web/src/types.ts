// What the server's answers look like. They are the same as for any other client.

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

export interface Ledger {
  accepted: number;
  counted: number;
  duplicate: number;
  filtered: number;
  invalid: number;
  late: number;
  in_flight: number;
}

export interface Rank {
  rank: number;
  host: string;
  pid: number;
  events: number;
  queue_bytes: number;
  back_pressure: number;
  key_groups: number;
  ids: number;
  panes: number;
  keys: number;
  memory_bytes: number;
}

export interface PipelineStatus {
  pipeline: string;
  watermark: string | null;
  expression_errors: number;
  late: Record<string, number>;
}

export interface Cluster {
  phase: "replaying" | "serving" | "draining";
  generation: number;
  epoch_committed: number;
  epoch_checkpoint: number;
  watermark: string | null;
  pipelines: PipelineStatus[];
  accepted_per_second: number;
  committed_per_second: number;
  latency_p50_ms: number | null;
  latency_p99_ms: number | null;
  log_bytes: number;
  store_away_since: string | null;
  ranks: Rank[];
}

/** What becomes of an event. */
export type Fate = "counted" | "duplicate" | "filtered" | "invalid" | "late";

/** A row of a window. */
export interface Row {
  metric_id: string;
  pipeline: string;
  window: string;
  window_start: string;
  window_end: string;
  group: Record<string, Json>;
  values: Record<string, Json>;
  event_count: number;
  revision: number;
  closed: boolean;
}

/** An event that the audit or the log still has. */
export interface StoredEvent {
  offset: number;
  topic: string;
  event_id: string;
  time: string;
  received_at: string;
  /** The event; in a snapshot the beginning of a large one as text. */
  event: Json;
  metrics: string[];
}

export interface DeadLetter {
  offset: number;
  topic: string | null;
  reason: string;
  detail: string;
  body: string;
  received_at: string;
  retried_as: number | null;
}

/** What /live sends: the job as it is. */
export interface Snapshot {
  cluster: Cluster;
  ledger: Ledger;
  rows: Row[];
  events: StoredEvent[];
  dead_letters: DeadLetter[];
  store_problem: string | null;
}

export interface Topic {
  name: string;
  id: string | null;
  time: string;
  post: string | null;
  emitted_by: string | null;
  /** The field that events of one story share; null where there is none, absent where the server does not say. */
  correlation?: string | null;
  schema: Json;
  example: Json | null;
}

/** A pipeline of the job, as `GET /pipelines` lists them. */
export interface PipelineEntry {
  name: string;
  topics: string[];
  windows: string[];
}

/** What became of the events with one id. */
export interface EventFates {
  event_id: string;
  events: (StoredEvent & { fate: "counted" | "taken" })[];
  dead_letters: (DeadLetter & { fate: "invalid" | "late" })[];
}

export type Audit = "none" | "compact" | "full";

export interface EventPage {
  audit: Audit;
  events: StoredEvent[];
  next: string | null;
}

export interface Alert {
  pipeline: string;
  alert: string;
  [name: string]: Json;
}
