// The newest events, of all topics out of the live snapshots or of one out of its stream.
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../../api.ts";
import { lost, snapshot } from "../../live.ts";
import { problemOf, whenSeen } from "../../parts/load.ts";
import type { ShownEvent } from "../../parts/event-table.tsx";
import { frames } from "../../sse.ts";
import type { Json, Topic } from "../../types.ts";
import { ofTopic } from "./search.tsx";

const KEPT_MAX = 200;
/** What has come of a stream is shown this often. */
const SHOW_MS = 400;
/** More than this in that time is read no further: what comes meanwhile is left out, so that the newest are shown. */
const SHOWN_AT_ONCE_MAX = 200;
const RETRY_MS = 1_000;
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
    const take = (come: ShownEvent[], seconds: number, all: boolean) => {
      sampled.value = !all;
      perSecond.value += (come.length / seconds - perSecond.value) * SMOOTHING;
      if (come.length > 0) events.value = [...come.reverse(), ...events.peek()].slice(0, KEPT_MAX);
      problem.value = null;
    };
    const run = async () => {
      let last: string | null = null;
      while (!over.signal.aborted) {
        await whenSeen(over.signal);
        try {
          last = await follow(topic, facts, last, over.signal, take);
        } catch (error) {
          if (!over.signal.aborted) problem.value = problemOf(error).message;
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

/** Follows the stream until it ends, too much comes at once, or nobody sees the page; gives the id to go on after. */
async function follow(
  topic: string,
  facts: Topic | undefined,
  last: string | null,
  over: AbortSignal,
  take: (come: ShownEvent[], seconds: number, all: boolean) => void,
): Promise<string | null> {
  const enough = new AbortController();
  const stop = () => enough.abort();
  const hidden = () => document.hidden && stop();
  over.addEventListener("abort", stop, { once: true });
  document.addEventListener("visibilitychange", hidden);
  let come: ShownEvent[] = [];
  let since = Date.now();
  let flood = false;
  const show = () => {
    const now = Date.now();
    take(come, Math.max(now - since, 1) / 1_000, !flood);
    [come, since] = [[], now];
  };
  const timer = setInterval(show, SHOW_MS);
  try {
    const headers: HeadersInit = last === null ? {} : { "Last-Event-ID": last };
    const answer = await ask(`/topics/${encodeURIComponent(topic)}/stream`, { headers, signal: enough.signal });
    if (answer.body === null) return last;
    for await (const some of frames(answer.body)) {
      for (const { id, data } of some) {
        last = id ?? last;
        if (data === null || id === null) continue;
        come.push(ofTopic(topic, facts, { offset: Number(id), event: JSON.parse(data) as Json }));
      }
      flood = come.length > SHOWN_AT_ONCE_MAX;
      // The next connection begins with what is newest then.
      if (flood) {
        show();
        return null;
      }
    }
    return last;
  } catch (error) {
    // A hidden page goes on with what is newest when it is seen again.
    if (enough.signal.aborted) return null;
    throw error;
  } finally {
    clearInterval(timer);
    show();
    stop();
    over.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", hidden);
  }
}
