// The live stream: the job's newest snapshot, the last minutes of its figures, and what was missed while there was no connection.
import { signal } from "@preact/signals";
import { tokenInUse } from "./api.ts";
import { whenSeen } from "./parts/load.ts";
import { type News, share } from "./shared.ts";
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
  /** Nobody saw the page for some of that time: it had no connection then, whatever the job did. */
  hidden: boolean;
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

let again = () => {};

/** Tries to connect at once, and with the token that is given now. */
export function connectNow(): void {
  again();
}

/**
 * Follows the stream for as long as the page is open and seen: what nobody sees holds no connection. It is shared with other pages of the same token.
 */
export async function follow(): Promise<never> {
  for (;;) {
    const over = new AbortController();
    again = () => over.abort();
    await whenSeen();
    const look = () => {
      if (document.hidden) {
        wasHidden = true;
        over.abort();
      }
    };
    document.addEventListener("visibilitychange", look, { signal: over.signal });
    try {
      await share(`caudal-live ${tokenInUse()}`, snapshots, hear, over.signal);
      lost.value = "";
    } catch (error) {
      if (!over.signal.aborted) lost.value = error instanceof Error ? error.message : String(error);
    }
    if (!over.signal.aborted) {
      await new Promise((done) => {
        over.signal.addEventListener("abort", done);
        setTimeout(done, RETRY_MS);
      });
    }
    over.abort();
  }
}

async function snapshots(tell: (news: News) => void, signal: AbortSignal): Promise<void> {
  for await (const come of stream("/live", SILENCE_MS, { signal })) {
    const newest = come.findLast((frame) => frame.data !== null)?.data;
    if (newest) tell({ snapshot: newest });
  }
}

function hear(news: News): void {
  if ("snapshot" in news) take(JSON.parse(news.snapshot) as Snapshot);
  else lost.value = news.lost;
}

/** Since the last snapshot nobody saw the page, for a time at least. */
let wasHidden = false;
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
        hidden: wasHidden,
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
  wasHidden = false;
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
    hidden: before.hidden || outage.hidden,
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
