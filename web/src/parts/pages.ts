// A list that the server gives in pages, each with the address of the next.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, type Problem } from "../api.ts";
import { problemOf, useLoad } from "./load.ts";

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface Pages<T, A> {
  items: T[];
  /** The newest answer for the first page. */
  first: A | null;
  problem: Problem | null;
  /** Asks for the next page; null where there is none. */
  more: (() => void) | null;
  busy: boolean;
  again: () => void;
}

/**
 * The first page of `path`, anew whenever `of` or the path changes and every `every` milliseconds, until further ones are asked for: what has moved on
 * from the first page meanwhile would be on none.
 */
export function usePages<T, A>(
  path: string,
  pageOf: (answer: A) => Page<T>,
  keyOf: (item: T) => string | number,
  of: unknown[] = [],
  every = 0,
): Pages<T, A> {
  const { data, problem, again } = useLoad((signal) => get<A>(path, { signal }), [path, ...of], every);
  const [further, setFurther] = useState<(Page<T> & { first: A | null }) | null>(null);
  const [failed, setFailed] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const over = useRef(new AbortController());
  useEffect(() => {
    over.current = new AbortController();
    setFurther(null);
    setFailed(null);
    setBusy(false);
    return () => over.current.abort();
  }, [path]);
  const first = further?.first ?? data;
  const page = first === null ? null : pageOf(first);
  const next = (further ?? page)?.next ?? null;

  const ask = async (address: string) => {
    const { signal } = over.current;
    setBusy(true);
    try {
      const { items, next } = pageOf(await get<A>(address, { signal }));
      setFurther((before) => ({
        first: before?.first ?? data,
        items: [...(before?.items ?? []), ...items],
        next,
      }));
      setFailed(null);
    } catch (error) {
      if (!signal.aborted) setFailed(problemOf(error));
    }
    if (!signal.aborted) setBusy(false);
  };

  const items = page?.items ?? [];
  const known = new Set(items.map(keyOf));
  return {
    items: [...items, ...(further?.items.filter((item) => !known.has(keyOf(item))) ?? [])],
    first,
    problem: failed ?? problem,
    more: next === null ? null : () => void ask(next),
    busy,
    again: () => {
      setFurther(null);
      again();
    },
  };
}
