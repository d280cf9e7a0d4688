// How many letters there are of each reason: the newest are walked through, since no call counts them.
import { get, path } from "../../api.ts";
import { type Loaded, useLoad } from "../../parts/load.ts";
import type { LetterList } from "../letters.tsx";

const PAGE = 1_000;
const PAGES_MAX = 3;

export interface Counts {
  byReason: Map<string, number>;
  total: number;
  /** There are older ones that were not counted. */
  bounded: boolean;
}

export function useCounts(state: string, topic: string): Loaded<Counts> {
  return useLoad((signal) => counted(path("/dead-letters", { state, topic, limit: PAGE }), signal), [state, topic]);
}

async function counted(first: string, signal: AbortSignal): Promise<Counts> {
  const counts: Counts = { byReason: new Map(), total: 0, bounded: false };
  let next: string | null = first;
  for (let page = 0; page < PAGES_MAX && next !== null; page += 1) {
    const answer: LetterList = await get<LetterList>(next, { signal });
    for (const { reason } of answer.dead_letters) {
      counts.byReason.set(reason, (counts.byReason.get(reason) ?? 0) + 1);
      counts.total += 1;
    }
    next = answer.next;
  }
  counts.bounded = next !== null;
  return counts;
}
