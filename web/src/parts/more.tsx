// What stands below a list that comes in pages: how many there are on the page, and the next ones.
import { words } from "../i18n/words.ts";
import type { Problem } from "../api.ts";

interface Props {
  pages: { items: readonly unknown[]; more: (() => void) | null; busy: boolean; problem: Problem | null };
}

export function More({ pages: { items, more, busy, problem } }: Props) {
  const { common } = words();
  return (
    <div class="more">
      {problem !== null && (
        <p class="bad" role="alert">
          {problem.message}
        </p>
      )}
      {items.length > 0 && <span class="note">{common.shown(items.length, more !== null)}</span>}
      {more !== null && (
        <button type="button" onClick={more} disabled={busy}>
          {busy ? common.loading : common.more}
        </button>
      )}
    </div>
  );
}
