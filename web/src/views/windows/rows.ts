// The rows of one window: those of a time span, or the newest ones, kept up to date.
import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get, path, type Problem } from "../../api.ts";
import { snapshot } from "../../live.ts";
import { problemOf, whenSeen } from "../../parts/load.ts";
import type { Row } from "../../types.ts";

/** Which rows. Empty texts are no conditions. */
export interface Choice {
  pipeline: string;
  window: string;
  /** By group field. */
  group: Record<string, string>;
  from: string;
  to: string;
  /** Where there is no `from` and no `to`: windows before the newest one. */
  last: number;
}

export interface ShownRow extends Row {
  /** Tells its group from others. */
  groupKey: string;
  /** As it was before its last revision, where this page saw that. */
  before: Row | null;
}

interface Page {
  windows: Row[];
  next: string | null;
}

/** The most that the server gives at once. */
const PAGE_ROWS = 10_000;
/** Snapshots have the newest rows of each window, but not all of a wide one, nor those that late events revise: these are asked for this often. */
const RECENT_MS = 5_000;
/** So many windows back. */
const RECENT_WINDOWS = 4;

/** So many windows are shown where the address names no other number. */
export const LAST_WINDOWS = 60;

const NONE: ReadonlyMap<string, ShownRow> = new Map();

export function useRows(choice: Choice) {
  const rows = useSignal(NONE);
  const next = useSignal<string | null>(null);
  const problem = useSignal<Problem | null>(null);
  const loaded = useSignal(false);
  const key = JSON.stringify(choice);
  /** Over when other rows are chosen. */
  const current = useRef<AbortSignal | null>(null);
  // Not each snapshot draws the view anew.
  const known = useComputed(() => snapshot.value !== null).value;

  const ask = async (address: string, signal: AbortSignal): Promise<Page | null> => {
    try {
      const page = await get<Page>(address, { signal });
      if (signal.aborted) return null;
      problem.value = null;
      return page;
    } catch (error) {
      if (!signal.aborted) problem.value = problemOf(error);
      return null;
    }
  };

  useEffect(() => {
    if (!known) return;
    const over = new AbortController();
    current.current = over.signal;
    rows.value = NONE;
    loaded.value = false;
    next.value = null;
    const run = async () => {
      while (!over.signal.aborted) {
        const from = loaded.value ? back(choice, RECENT_WINDOWS) : back(choice, choice.last);
        const page = await ask(address(choice, from), over.signal);
        if (page !== null) {
          rows.value = merged(choice, rows.value, page.windows, page.next === null ? from : null);
          if (!loaded.value) next.value = page.next;
          loaded.value = true;
        }
        if (!isLive(choice) && page !== null) return;
        await new Promise((done) => setTimeout(done, RECENT_MS));
        await whenSeen(over.signal);
      }
    };
    void run();
    return () => over.abort();
  }, [key, known]);

  useSignalEffect(() => {
    const now = snapshot.value;
    if (now === null || !isLive(choice)) return;
    const shown = rows.peek();
    const news = now.rows.filter((row) => isOf(choice, row) && !isSame(shown.get(row.metric_id), row));
    if (news.length > 0) rows.value = merged(choice, shown, news, null);
  });

  const sorted = useComputed(() => [...rows.value.values()].sort(newestFirst));
  const more = async (address: string) => {
    const page = current.current === null ? null : await ask(address, current.current);
    if (page === null) return;
    rows.value = merged(choice, rows.value, page.windows, null);
    next.value = page.next;
  };
  const following = next.value;
  return {
    rows: sorted.value,
    problem: problem.value,
    loaded: loaded.value,
    more: following === null ? null : () => void more(following),
  };
}

function isLive(choice: Choice): boolean {
  return choice.from === "" && choice.to === "";
}

function address(choice: Choice, from: string): string {
  const { pipeline, window, to, group } = choice;
  const fields = Object.entries(group).map(([name, value]) => [`group.${name}`, value]);
  return path("/windows", { pipeline, window, from, to, ...Object.fromEntries(fields), limit: PAGE_ROWS });
}

/** The start of the window this many before the newest one; the choice's own where it has one. */
function back(choice: Choice, windows: number): string {
  if (!isLive(choice)) return choice.from;
  const all =
    snapshot.value?.rows.filter((row) => row.pipeline === choice.pipeline && row.window === choice.window) ?? [];
  if (all.length === 0) return "";
  return new Date(newest(all) - (windows - 1) * longest(all)).toISOString();
}

const newest = (rows: Iterable<Row>) => Math.max(...[...rows].map((row) => Date.parse(row.window_start)));
/** Sessions are not all of one length. */
const longest = (rows: Iterable<Row>) =>
  Math.max(...[...rows].map((row) => Date.parse(row.window_end) - Date.parse(row.window_start)));

function isOf({ pipeline, window, group }: Choice, row: Row): boolean {
  if (row.pipeline !== pipeline || row.window !== window) return false;
  return Object.entries(group).every(([name, value]) => value === "" || String(row.group[name]) === value);
}

function isSame(a: Row | undefined, b: Row): boolean {
  return a?.event_count === b.event_count && a.revision === b.revision && a.closed === b.closed;
}

/** `now` in place of what was known of these rows; where `whole` says since when these are all rows, what they lack is gone. */
function merged(
  choice: Choice,
  known: ReadonlyMap<string, ShownRow>,
  now: Row[],
  whole: string | null,
): ReadonlyMap<string, ShownRow> {
  const all = new Map(known);
  if (whole !== null) {
    const since = whole === "" ? -Infinity : Date.parse(whole);
    for (const [id, row] of all) if (Date.parse(row.window_start) >= since) all.delete(id);
  }
  for (const row of now) {
    const old = known.get(row.metric_id);
    // A snapshot may be older than what was asked for since.
    if (old !== undefined && (old.revision > row.revision || old.event_count > row.event_count)) {
      all.set(row.metric_id, old);
    } else {
      const revised = old !== undefined && row.revision > old.revision;
      all.set(row.metric_id, {
        ...row,
        groupKey: JSON.stringify(row.group),
        before: revised ? old : (old?.before ?? null),
      });
    }
  }
  if (isLive(choice) && all.size > 0) {
    const first = newest(all.values()) - (choice.last - 1) * longest(all.values());
    for (const [id, row] of all) if (Date.parse(row.window_start) < first) all.delete(id);
  }
  return all;
}

/** Within a start by group: an order by values would change with each event. */
function newestFirst(a: ShownRow, b: ShownRow): number {
  if (a.window_start !== b.window_start) return a.window_start < b.window_start ? 1 : -1;
  return a.groupKey < b.groupKey ? -1 : 1;
}
