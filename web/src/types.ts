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

/** A process of the job. */
export interface Process {
  host: string;
  pid: number;
  memory_bytes: number;
  up_since: string | null;
  cpu_seconds: number;
  /** Seconds on a core per second. */
  cpu_cores: number;
}

export interface Rank extends Process {
  rank: number;
  events: number;
  events_per_second: number;
  queue_bytes: number;
  credit_bytes: number;
  credit_free_bytes: number;
  /** Share of the last second without credit, 0 to 1. */
  back_pressure: number;
  key_groups: number;
  ids: number;
  panes: number;
  keys: number;
}

export interface PipelineStatus {
  pipeline: string;
  watermark: string | null;
  watermark_lag_ms: number | null;
  expression_errors: number;
  late: Record<string, number>;
  windows: { window: string; rows: number | null; rows_per_second: number; open_panes: number; late: number }[];
  alerts: { alert: string; raised: number }[];
}

type Fates = Record<"accepted" | "counted" | "duplicate" | "filtered" | "invalid" | "late", number>;

export interface TopicStatus extends Fates {
  /** Null: events that name no topic of the job's. */
  topic: string | null;
  per_second: Fates;
}

/** One start of the job. */
export interface Start {
  generation: number;
  at: string;
  /** Null: it is the first one, or the one before was drained. */
  why: string | null;
  /** When it took events. */
  ready_at: string | null;
  replayed: number;
  replay_ms: number;
  drained: boolean;
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
  /** Of rank 0's clock. */
  now: string;
  watermark_lag_ms: number | null;
  topics: TopicStatus[];
  rank0: Process;
  starts: Start[];
  log: { bytes: number; bytes_max: number; segments: number; oldest_offset: number; oldest_at: string | null };
  checkpoint: { epoch: number; at: string | null; bytes: number | null; took_ms: number | null };
  store: { kind: string; bytes: number | null; commit: { at: string; took_ms: number; rows: number } | null };
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
  alert_id: string;
  pipeline: string;
  alert: string;
  key: Json;
  window_start: string;
  window_end: string;
  raised_at: string;
  cleared_at: string | null;
  active: boolean;
  details: Json;
}

/** A new pipeline on its way over the log's past. */
export interface Replay {
  pipeline: string;
  from: number;
  at: number;
  end: number;
  state: "filling" | "joining" | "leaving" | "failed";
  reason: string | null;
}

/** What a pipeline's parts have to do with each other. */
export interface Flow {
  windows: { window: string; topic: string | null }[];
  views: string[];
  /** Topics that it makes of events; `from` is empty where that is not known. */
  emits: { topic: string; from: string[] }[];
  alerts: { alert: string; on: string | null; topic: string | null }[];
  webhooks: { webhook: string; on: string[] }[];
}

/** A pipeline of the job, as `GET /pipelines` lists them. */
export interface Pipeline {
  name: string;
  topics: string[];
  windows: string[];
  version: string;
  text: string;
  flow: Flow;
}

/** Of one pipeline: with the schemas that its file names, by path. While it is replayed only its name and the replay are there. */
export interface PipelineFile extends Partial<Pipeline> {
  name: string;
  schemas?: Record<string, string>;
  replay?: Replay;
}

/** Something wrong with a file; line and column from 1, line 0 where no place can be named. */
export interface Fault {
  file: string;
  line: number;
  column: number;
  message: string;
  excerpt: string;
}

/** What kept state forbids. */
export interface Conflict {
  what: string;
  reason: string;
  way_out: string;
}

/** What a PUT of a file would say. */
export interface Check {
  ok: boolean;
  faults: Fault[];
  conflicts: Conflict[];
  changes: string[];
  /** Not there where the file itself has faults, or conflicts: then no test was run. */
  tests_passed_over?: string[];
}

/** The fates of events that were posted with ?ack=applied. */
export interface Applied {
  accepted: number;
  counted: number;
  items: { offset: number; status: string; reason?: string }[];
}

/** To a request that came again: its fates were told to the first one. */
export interface TakenBefore {
  accepted: number;
  first_offset: number;
  last_offset: number;
}
