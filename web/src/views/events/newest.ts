// The newest events, of all topics out of the live snapshots or of one out of its stream.
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { lost, snapshot } from "../../live.ts";
import { problemOf, whenSeen } from "../../parts/load.ts";
import type { ShownEvent } from "../../parts/event-table.tsx";
import { stream } from "../../sse.ts";
import type { Json, Topic } from "../../types.ts";
import { ofTopic } from "./search.tsx";

const KEPT_MAX = 200;
/** What has come of a stream is shown this often. */
const SHOW_MS = 400;
/** More than this in that time is read no further: what comes meanwhile is left out, so that the newest are shown. */
const SHOWN_AT_ONCE_MAX = 200;
const RETRY_MS = 1_000;
/** The server sends something each 15 seconds. */
const SILENCE_MS = 20_000;
/** How much of a stream's rate is that of the last moment. */
const SMOOTHING = 0.3;

export interface Newest {
  /** The newest first. */
  events: ShownEvent[];
  /** Why there is no connection. */
  problem: string | null;
  perSecond: number;
  /** There are more than are shown. */
  sampled: boolean;
}

export function useNewest(topic: string, topics: Topic[], on: boolean): Newest {
  const events = useSignal<ShownEvent[]>([]);
  const problem = useSignal<string | null>(null);
  const sampled = useSignal(false);
  const perSecond = useSignal(0);
  const facts = topics.find(({ name }) => name === topic);

  useSignalEffect(() => {
    const now = snapshot.value;
    if (now === null || topic !== "" || !on) return;
    const known = new Set(events.peek().map(({ offset }) => offset));
    const come = now.events.filter(({ offset }) => !known.has(offset));
    sampled.value = come.length > 0 && come.length === now.events.length && known.size > 0;
    perSecond.value = now.cluster.committed_per_second;
    if (come.length > 0) events.value = [...come, ...events.peek()].slice(0, KEPT_MAX);
  });

  useEffect(() => {
    if (topic === "" || !on) return;
    const over = new AbortController();
    const reading: Reading = {
      last: null,
      connected: () => (problem.value = null),
      take: (come, seconds, all) => {
        sampled.value = !all;
        perSecond.value += (come.length / seconds - perSecond.value) * SMOOTHING;
        if (come.length > 0) events.value = [...come.reverse(), ...events.peek()].slice(0, KEPT_MAX);
      },
    };
    const run = async () => {
      while (!over.signal.aborted) {
        await whenSeen(over.signal);
        try {
          await follow(topic, facts, reading, over.signal);
        } catch (error) {
          const { status, message } = problemOf(error);
          if (!over.signal.aborted) problem.value = message;
          // The log has the place no more, or is another one.
          if (status === 410 || status === 400) reading.last = null;
        }
        await new Promise((again) => setTimeout(again, RETRY_MS));
      }
    };
    void run();
    return () => over.abort();
  }, [topic, facts === undefined, on]);

  return {
    events: events.value,
    problem: topic === "" ? lost.value : problem.value,
    perSecond: perSecond.value,
    sampled: sampled.value,
  };
}

interface Reading {
  /** The id to go on after where the connection is lost; null: begin with what is newest. */
  last: string | null;
  connected: () => void;
  take: (come: ShownEvent[], seconds: number, all: boolean) => void;
}

/** Follows the stream until it ends, too much comes at once, or nobody sees the page. */
async function follow(topic: string, facts: Topic | undefined, reading: Reading, over: AbortSignal): Promise<void> {
  const enough = new AbortController();
  // What comes while nobody reads is left out.
  const stop = () => {
    reading.last = null;
    enough.abort();
  };
  const hidden = () => document.hidden && stop();
  document.addEventListener("visibilitychange", hidden);
  let come: ShownEvent[] = [];
  let since = Date.now();
  const show = (all: boolean) => {
    const now = Date.now();
    reading.take(come, Math.max(now - since, 1) / 1_000, all);
    [come, since] = [[], now];
  };
  const timer = setInterval(show, SHOW_MS, true);
  const headers: HeadersInit = reading.last === null ? {} : { "Last-Event-ID": reading.last };
  const signal = AbortSignal.any([over, enough.signal]);
  try {
    for await (const some of stream(`/topics/${encodeURIComponent(topic)}/stream`, SILENCE_MS, { headers, signal })) {
      reading.connected();
      for (const { id, data } of some) {
        reading.last = id ?? reading.last;
        if (data === null || id === null) continue;
        come.push(ofTopic(topic, facts, { offset: Number(id), event: JSON.parse(data) as Json }));
      }
      if (come.length > SHOWN_AT_ONCE_MAX) {
        show(false);
        return stop();
      }
    }
  } catch (error) {
    if (!enough.signal.aborted) throw error;
  } finally {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", hidden);
    if (come.length > 0) show(true);
  }
}
