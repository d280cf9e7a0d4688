// One dead letter: why it was refused, where the fault is in it, and what can be done.
import { useState } from "preact/hooks";
import { get, path, send } from "../../api.ts";
import { time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { Dialog } from "../../parts/dialog.tsx";
import { Facts } from "../../parts/facts.tsx";
import { Marked } from "../../parts/json-view.tsx";
import { detailOf, RetryLink } from "../../parts/letter-table.tsx";
import { useLoad } from "../../parts/load.ts";
import { Refused, Said } from "../../parts/said.tsx";
import { Subpage } from "../../parts/subpage.tsx";
import { useTopics } from "../../parts/topics.ts";
import { go, to } from "../../router.ts";
import type { DeadLetter } from "../../types.ts";
import { faultOf, type Marked as Marking } from "./fault.ts";
import { Mend } from "./mend.tsx";

/** Somebody else may retry or discard it meanwhile. */
const AGAIN_MS = 5_000;

export function LetterPage({ offset }: { offset: string }) {
  const say = words();
  const address = `/dead-letters/${encodeURIComponent(offset)}`;
  const {
    data: letter,
    problem,
    again,
  } = useLoad((signal) => get<DeadLetter>(address, { signal }), [offset], AGAIN_MS);
  return (
    <Subpage title={`${say.letters.letter} ${offset}`} back={to("letters")} backLabel={say.letters.back}>
      <Said data={letter} problem={problem} />
      {letter !== null && (
        <>
          <Why letter={letter} />
          <Texts letter={letter} onSent={again} />
          <Discard letter={letter} />
        </>
      )}
    </Subpage>
  );
}

/** The event as it came, and the one that is to go in its place. */
function Texts({ letter, onSent }: { letter: DeadLetter; onSent: () => void }) {
  const { data } = useTopics();
  const marked = faultOf(letter, data?.topics.find(({ name }) => name === letter.topic)?.time);
  return (
    <div class="cards">
      <Body of={marked} />
      <Mend letter={letter} marked={marked} onSent={onSent} />
    </div>
  );
}

function Why({ letter: { detail, reason, topic, received_at, retried_as } }: { letter: DeadLetter }) {
  const say = words().letters;
  const why = (
    <>
      <span class="reason">{reason}</span> {say.reasons[reason]}
    </>
  );
  const state = retried_as === null ? say.states.open : <RetryLink offset={retried_as} topic={topic} />;
  return (
    <>
      <p class="fault">
        <bdi>{detailOf(detail)}</bdi>
      </p>
      <Facts
        of={[
          [say.reason, why],
          [words().common.topic, topic ?? say.noTopic],
          [say.received, time(received_at)],
          [say.state, state],
        ]}
      />
    </>
  );
}

function Body({ of: { text, mark } }: { of: Marking }) {
  const say = words().letters;
  return (
    <section class="card" aria-labelledby="h-body">
      <h3 id="h-body">{mark === null ? say.body : say.bodyMarked}</h3>
      <Marked label={say.body} text={text} mark={mark} markLabel={say.found} />
      {mark === null && <p class="note">{say.unmarked}</p>}
    </section>
  );
}

function Discard({ letter }: { letter: DeadLetter }) {
  const say = words().letters;
  const [asked, setAsked] = useState(false);
  const { busy, problem, act } = useAct();
  const discard = () => {
    setAsked(false);
    return act(async () => {
      await send("DELETE", path(`/dead-letters/${letter.offset}`, { ack: "applied" }));
      go(to("letters"));
    });
  };
  return (
    <div class="row">
      <button type="button" class="danger" disabled={busy} onClick={() => setAsked(true)}>
        {say.discard}
      </button>
      <Refused problem={problem} />
      {asked && (
        <Dialog
          title={say.discardTitle(letter.offset)}
          act={say.discard}
          onAct={() => void discard()}
          onClose={() => setAsked(false)}
          dangerous
        >
          <p>{say.discardQuestion}</p>
        </Dialog>
      )}
    </div>
  );
}
