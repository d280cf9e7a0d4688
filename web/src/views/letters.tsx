// Dead letters: by reason, one by one, mended and sent again, or discarded.
import { useEffect, useRef } from "preact/hooks";
import { path } from "../api.ts";
import { number } from "../format.ts";
import { words } from "../i18n/words.ts";
import { snapshot } from "../live.ts";
import { LetterTable } from "../parts/letter-table.tsx";
import { More } from "../parts/more.tsx";
import { usePages } from "../parts/pages.ts";
import { Select } from "../parts/select.tsx";
import { TopicSelect } from "../parts/topic-select.tsx";
import { place, setQuery, to } from "../router.ts";
import type { DeadLetter } from "../types.ts";
import { type Counts, useCounts } from "./letters/counts.ts";
import { LetterPage } from "./letters/letter-page.tsx";
import { RetryAll } from "./letters/retry-all.tsx";

const PAGE = 50;
const STATES = ["open", "retried", "all"] as const;

export function Letters() {
  const [offset = ""] = place.value.parts;
  return offset === "" ? <Listing /> : <LetterPage key={offset} offset={offset} />;
}

export interface LetterList {
  dead_letters: DeadLetter[];
  next: string | null;
}

function Listing() {
  const say = words().letters;
  const { query } = place.value;
  const [state, topic, reason] = [query.get("state") ?? "open", query.get("topic") ?? "", query.get("reason") ?? ""];
  const counts = useCounts(state, topic);
  const pages = usePages<DeadLetter, LetterList>(
    path("/dead-letters", { state, topic, reason, limit: PAGE }),
    ({ dead_letters, next }) => ({ items: dead_letters, next }),
    (letter) => letter.offset,
  );
  const again = () => {
    pages.again();
    counts.again();
  };
  return (
    <>
      <Filters state={state} topic={topic} />
      <Reasons counts={counts.data} reason={reason} />
      {reason !== "" && state === "open" && (
        <RetryAll key={reason + topic} reason={reason} topic={topic} onDone={again} />
      )}
      <Newer list={pages.first} onShow={again} />
      <section class="card long">
        {pages.first !== null && (
          <LetterTable id="letters" caption={say.caption} letters={pages.items} empty={say.none} />
        )}
        <More pages={pages} />
      </section>
    </>
  );
}

function Filters({ state, topic }: { state: string; topic: string }) {
  const say = words().letters;
  return (
    <form class="filters" aria-label={say.filters} onSubmit={(event) => event.preventDefault()}>
      <Select
        label={say.state}
        value={state}
        options={STATES.map((one) => [one, say.states[one]])}
        onChoice={(one) => setQuery({ state: one })}
      />
      <TopicSelect topic={topic} onChoice={(one) => setQuery({ topic: one })} />
    </form>
  );
}

/** How many there are of each reason; each is a link to those. */
function Reasons({ counts, reason }: { counts: Counts | null; reason: string }) {
  const say = words().letters;
  const known = counts?.byReason ?? new Map<string, number>();
  const names = [...known.keys()].sort((a, b) => (known.get(b) ?? 0) - (known.get(a) ?? 0));
  if (reason !== "" && !known.has(reason)) names.push(reason);
  const { query } = place.value;
  const address = (name: string) => to("letters", [], { ...Object.fromEntries(query), reason: name });
  return (
    <nav class="reasons" aria-label={say.byReason}>
      <ul>
        {["", ...names].map((name) => (
          <li key={name}>
            <a href={address(name)} aria-current={name === reason ? "true" : undefined}>
              <strong>{counts === null ? "…" : number(name === "" ? counts.total : (known.get(name) ?? 0))}</strong>{" "}
              <span>{name === "" ? say.allReasons : name}</span> {name !== "" && <small>{say.reasons[name]}</small>}
            </a>
          </li>
        ))}
      </ul>
      {counts?.bounded && <p class="note">{say.bounded(counts.total)}</p>}
    </nav>
  );
}

/** Letters that came since the list was asked for: the list does not move by itself, unless it is empty. */
function Newer({ list, onShow }: { list: LetterList | null; onShow: () => void }) {
  const say = words().letters;
  const ledger = snapshot.value?.ledger;
  const refused = ledger === undefined ? null : ledger.invalid + ledger.late;
  const then = useRef<{ list: LetterList; refused: number } | null>(null);
  if (list !== null && refused !== null && then.current?.list !== list) then.current = { list, refused };
  const newer = refused === null || then.current === null ? 0 : refused - then.current.refused;
  const isEmpty = list?.dead_letters.length === 0;
  useEffect(() => {
    if (isEmpty && newer > 0) onShow();
  }, [isEmpty, newer]);
  if (newer <= 0 || isEmpty) return null;
  return (
    <p id="newer" class="notice" role="status">
      {say.newer(newer)}.{" "}
      <button type="button" class="plain" onClick={onShow}>
        {say.show}
      </button>
    </p>
  );
}
