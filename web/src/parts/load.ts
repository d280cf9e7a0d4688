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

/**
 * Asks when `of` changes, and then every `every` milliseconds (0: only once), but not while nobody sees the page. A question that is not answered yet
 * is not asked again; one that is no longer of interest is broken off.
 */
export function useLoad<T>(ask: (signal: AbortSignal) => Promise<T>, of: unknown[], every = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; problem: Problem | null }>({ data: null, problem: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const over = new AbortController();
    let timer = 0;
    const once = async () => {
      try {
        const data = await ask(over.signal);
        if (!over.signal.aborted) setState({ data, problem: null });
      } catch (error) {
        if (!over.signal.aborted) setState((before) => ({ ...before, problem: problemOf(error) }));
      }
      if (!over.signal.aborted && every > 0) timer = setTimeout(() => void whenSeen(over.signal).then(once), every);
    };
    void once();
    return () => {
      over.abort();
      clearTimeout(timer);
    };
  }, [...of, turn]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}

/** What went wrong, as the server said it. */
export function problemOf(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, error instanceof Error ? error.message : String(error));
}

/** Done as soon as somebody sees the page; never, where that is of no interest any more. */
export function whenSeen(over?: AbortSignal): Promise<void> {
  return new Promise((seen) => {
    if (!document.hidden) return seen();
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      seen();
    };
    document.addEventListener("visibilitychange", look, over && { signal: over });
  });
}
