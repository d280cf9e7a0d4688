// Has the server check a file while it is written: after a pause, one question at a time, and always the newest text last.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Problem, send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { problemOf } from "../../parts/load.ts";
import type { Check } from "../../types.ts";
import type { Texts } from "./draft.ts";

const PAUSE_MS = 300;
/** After a question that was not answered. */
const RETRY_MS = 2_000;

export interface Checked {
  /** The newest answer; it may be about an older text while `busy`. */
  check: Check | null;
  problem: Problem | null;
  busy: boolean;
}

export function useCheck(texts: Texts): Checked {
  const body = JSON.stringify(texts);
  const [state, setState] = useState<{ of: string; check: Check | null; problem: Problem | null }>({
    of: "",
    check: null,
    problem: null,
  });
  const wanted = useRef(body);
  wanted.current = body;
  const asking = useRef(false);
  const over = useRef(false);
  const timer = useRef(0);

  const ask = async () => {
    if (asking.current || over.current) return;
    // Whatever was not answered can wait until somebody sees it.
    if (document.hidden) return later(RETRY_MS);
    asking.current = true;
    const of = wanted.current;
    let problem: Problem | null = null;
    try {
      const check = await send<Check>("POST", "/pipelines/check", of);
      if (!over.current) setState({ of, check, problem: null });
    } catch (error) {
      problem = problemOf(error);
      if (!over.current) setState((before) => ({ ...before, of, problem }));
    }
    asking.current = false;
    if (wanted.current !== of) later(PAUSE_MS);
    else if (problem !== null && mayPass(problem)) later(RETRY_MS);
  };
  const later = (ms: number) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void ask(), ms);
  };
  useEffect(() => {
    over.current = false;
    later(PAUSE_MS);
  }, [body]);
  useEffect(
    () => () => {
      over.current = true;
      clearTimeout(timer.current);
    },
    [],
  );
  return { check: state.check, problem: state.problem, busy: state.of !== body };
}

/** The job is away, or has too much to do. */
function mayPass({ status }: Problem): boolean {
  return status === 0 || status === 429 || status >= 500;
}

/** The schema whose text the file names and the page does not have. The server's cure is one of its call: the page has another. */
export function missingSchema(message: string): string | null {
  const named = /^schema: the text of ("(?:[^"\\]|\\.)*") is not there/.exec(message)?.[1];
  if (named === undefined) return null;
  try {
    return String(JSON.parse(named));
  } catch {
    return null;
  }
}

/** What is wrong, in the server's words, with the cure that the page has. */
export function messageOf(message: string): string {
  const schema = missingSchema(message);
  return schema === null ? message : words().pipelines.missingSchema(schema);
}
