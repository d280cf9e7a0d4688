// Something that a button does at the server: one at a time, and what went wrong.
import { useState } from "preact/hooks";
import type { Problem } from "../api.ts";
import { problemOf } from "./load.ts";

export interface Act {
  busy: boolean;
  problem: Problem | null;
  /** Does it; what went wrong before is forgotten. */
  act: (work: () => Promise<void>) => Promise<void>;
  /** Forgets what went wrong. */
  forget: () => void;
}

export function useAct(): Act {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const forget = () => setProblem(null);
  const act = async (work: () => Promise<void>) => {
    setBusy(true);
    forget();
    try {
      await work();
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  return { busy, problem, act, forget };
}
