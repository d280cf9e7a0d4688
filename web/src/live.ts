// The live stream: the job's newest snapshot, the last minutes of its figures, and what was missed while there was no connection.
import { signal } from "@preact/signals";
import { stream } from "./sse.ts";
import type { Cluster, Ledger, Snapshot } from "./types.ts";

/** Seconds of figures that are kept for the charts. */
const HISTORY_SECONDS = 600;
/** So long after the last snapshot a connection counts as lost: the server sends one each second. */
const SILENCE_MS = 5_000;
const RETRY_MS = 1_000;

/** Figures of one moment. Rates are events a second. */
export interface Sample {
  /** Unix seconds. */
  at: number;
  accepted: number;
  counted: number;
  rejected: number;
  p50: number | null;
  p99: number | null;
  /** That have had events since the sample before. */
  topics: ReadonlySet<string>;
  /** Events a second of each rank, by its number; of the life that it is in. */
  ranks: Map<number, number>;
}

export interface Missed {
  seconds: number;
  /** The job's generation before and after. */
  generations: [number, number];
  accepted: number;
  counted: number;
}

export const snapshot = signal<Snapshot | null>(null);
export const history = signal<Sample[]>([]);
export const missed = signal<Missed | null>(null);
/** Why there is no connection; null while there is one. */
export const lost = signal<string | null>("");

let wake = () => {};

/** Tries to connect at once, instead of after the usual pause. */
export function connectNow(): void {
  wake();
}

/** Follows the stream for as long as the page is open. */
export async function follow(): Promise<never> {
  for (;;) {
    try {
      await snapshots();
      lost.value = "";
    } catch (error) {
      lost.value = error instanceof Error ? error.message : String(error);
    }
    await new Promise<void>((done) => {
      wake = done;
      setTimeout(done, RETRY_MS);
    });
  }
}

async function snapshots(): Promise<void> {
  for await (const come of stream("/live", SILENCE_MS)) {
    const newest = come.findLast((frame) => frame.data !== null)?.data;
    if (newest) take(JSON.parse(newest) as Snapshot);
  }
}

let last: { at: number; ledger: Ledger; cluster: Cluster } | null = null;

function take(now: Snapshot): void {
  const at = Date.now() / 1_000;
  const generation = now.cluster.generation;
  // Before it has opened its log a job knows nothing of itself: what was known of it stays.
  if (generation === 0) {
    lost.value = null;
    const known = snapshot.value ?? now;
    snapshot.value = { ...known, cluster: { ...known.cluster, phase: now.cluster.phase } };
    return;
  }
  const isBack = last !== null && (lost.value !== null || generation !== last.cluster.generation);
  if (last !== null) {
    const span = at - last.at;
    if (isBack) {
      note({
        seconds: span,
        generations: [last.cluster.generation, generation],
        accepted: Math.max(0, now.ledger.accepted - last.ledger.accepted),
        counted: Math.max(0, now.ledger.counted - last.ledger.counted),
      });
    }
    if (span >= 0.9) {
      history.value = [
        ...history.value.filter((sample) => sample.at > at - HISTORY_SECONDS),
        sample(at, span, now, last),
      ];
    }
  }
  if (last === null || isBack || at - last.at >= 0.9) last = { at, ledger: now.ledger, cluster: now.cluster };
  lost.value = null;
  snapshot.value = now;
}

/** What nobody has dismissed yet goes on in the next: a short outage must not hide that the job was started again. */
function note(outage: Missed): void {
  const before = missed.value;
  if (before === null) {
    missed.value = outage;
    return;
  }
  missed.value = {
    seconds: before.seconds + outage.seconds,
    generations: [before.generations[0], outage.generations[1]],
    accepted: before.accepted + outage.accepted,
    counted: before.counted + outage.counted,
  };
}

function sample(at: number, span: number, now: Snapshot, before: { ledger: Ledger; cluster: Cluster }): Sample {
  const { cluster, ledger } = now;
  const rate = (now: number, then: number) => Math.max(0, now - then) / span;
  // Ranks count from nothing in each life.
  const known = before.cluster.generation === cluster.generation ? before.cluster.ranks : [];
  const events = new Map(known.map((rank) => [rank.rank, rank.events]));
  return {
    at,
    accepted: rate(ledger.accepted, before.ledger.accepted),
    counted: rate(ledger.counted, before.ledger.counted),
    rejected: rate(ledger.invalid + ledger.late, before.ledger.invalid + before.ledger.late),
    p50: cluster.latency_p50_ms,
    p99: cluster.latency_p99_ms,
    topics: withEvents(cluster, before.cluster),
    ranks: new Map(cluster.ranks.map((rank) => [rank.rank, rate(rank.events, events.get(rank.rank) ?? 0)])),
  };
}

function withEvents(now: Cluster, before: Cluster): ReadonlySet<string> {
  const then = new Map(before.topics.map(({ topic, accepted }) => [topic, accepted]));
  return new Set(
    now.topics.flatMap(({ topic, accepted }) => (topic !== null && accepted > (then.get(topic) ?? 0) ? [topic] : [])),
  );
}
