// What stands below a list that comes in pages: how many there are on the page, the next ones, and why there are none.
import { words } from "../i18n/words.ts";
import type { Problem } from "../api.ts";
import { Said } from "./said.tsx";

interface Props {
  pages: {
    first: unknown;
    items: readonly unknown[];
    more: (() => void) | null;
    busy: boolean;
    problem: Problem | null;
  };
}

export function More({ pages: { first, items, more, busy, problem } }: Props) {
  const { common } = words();
  return (
    <div class="more">
      <Said data={first} problem={problem} />
      {items.length > 0 && <span class="note">{common.shown(items.length, more !== null)}</span>}
      {more !== null && (
        <button type="button" onClick={more} disabled={busy}>
          {busy ? common.loading : common.more}
        </button>
      )}
    </div>
  );
}
