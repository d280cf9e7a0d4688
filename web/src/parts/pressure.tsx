// Back-pressure as people speak of it: a word, a colour and the share.
import { percent } from "../format.ts";
import { words } from "../i18n/words.ts";

export type Level = "ok" | "low" | "high";

const OK_MAX = 0.1;
const LOW_MAX = 0.5;

/** Of the share of the last second in which a rank had no credit. */
export function level(share: number): Level {
  if (share <= OK_MAX) return "ok";
  return share <= LOW_MAX ? "low" : "high";
}

export function Pressure({ share }: { share: number }) {
  const of = level(share);
  return (
    <span class={`badge level-${of}`}>
      {words().common.level[of]} <span class="share">{percent(share)}</span>
    </span>
  );
}
