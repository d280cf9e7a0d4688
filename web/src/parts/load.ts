// Asking the server for what a view shows, again every so often.
import { useEffect, useState } from "preact/hooks";
import { Problem } from "../api.ts";

export interface Loaded<T> {
  /** The newest answer; kept while a later question fails. */
  data: T | null;
  problem: Problem | null;
  /** Asks at once. */
  again: () => void;
}

/** At once where somebody sees the page, or else when they do. */
async function seen(then: () => Promise<void>): Promise<void> {
  while (document.hidden) {
    await new Promise((changed) => document.addEventListener("visibilitychange", changed, { once: true }));
  }
  await then();
}

/** Asks when `of` changes, and then every `every` milliseconds (0: only once). A question that is not answered yet is not asked again. */
export function useLoad<T>(ask: () => Promise<T>, of: unknown[], every = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; problem: Problem | null }>({ data: null, problem: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let over = false;
    let timer = 0;
    const once = async () => {
      if (over) return;
      try {
        const data = await ask();
        if (!over) setState({ data, problem: null });
      } catch (error) {
        const problem = error instanceof Problem ? error : new Problem(0, String(error));
        if (!over) setState((before) => ({ ...before, problem }));
      }
      if (!over && every > 0) timer = setTimeout(() => void seen(once), every);
    };
    void once();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [...of, turn]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}
