// The job's topics, which seldom change.
import { get } from "../api.ts";
import type { Topic } from "../types.ts";
import { type Loaded, useLoad } from "./load.ts";

const TOPICS_MS = 60_000;

export interface Topics {
  topics: Topic[];
  /** By which an event of `POST /events` names its topic. */
  topic_field: string;
}

export function useTopics(): Loaded<Topics> {
  return useLoad((signal) => get<Topics>("/topics", { signal }), [], TOPICS_MS);
}
