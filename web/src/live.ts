// The live stream: the job's newest snapshot, the last minutes of its figures, and what was missed while there was no connection.
import { signal } from "@preact/signals";
import { stream } from "./sse.ts";
import type { Ledger, Snapshot } from "./types.ts";

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
  inFlight: number;
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

let last: { at: number; ledger: Ledger; generation: number } | null = null;

function take(now: Snapshot): void {
  const at = Date.now() / 1_000;
  const generation = now.cluster.generation;
  if (last !== null) {
    const span = at - last.at;
    if (lost.value !== null || generation !== last.generation) {
      missed.value = {
        seconds: span,
        generations: [last.generation, generation],
        accepted: Math.max(0, now.ledger.accepted - last.ledger.accepted),
        counted: Math.max(0, now.ledger.counted - last.ledger.counted),
      };
    }
    if (span >= 0.9) {
      history.value = [
        ...history.value.filter((sample) => sample.at > at - HISTORY_SECONDS),
        sample(at, span, now, last.ledger),
      ];
    }
  }
  if (last === null || at - last.at >= 0.9) last = { at, ledger: now.ledger, generation };
  lost.value = null;
  snapshot.value = now;
}

function sample(at: number, span: number, { cluster, ledger }: Snapshot, before: Ledger): Sample {
  const rate = (now: number, then: number) => Math.max(0, now - then) / span;
  return {
    at,
    accepted: rate(ledger.accepted, before.accepted),
    counted: rate(ledger.counted, before.counted),
    rejected: rate(ledger.invalid + ledger.late, before.invalid + before.late),
    p50: cluster.latency_p50_ms,
    p99: cluster.latency_p99_ms,
    inFlight: ledger.in_flight,
  };
}
