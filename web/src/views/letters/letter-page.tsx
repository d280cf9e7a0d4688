// One dead letter: why it was refused, where the fault is in it, and what can be done.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { get, path, type Problem, send } from "../../api.ts";
import { time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { Dialog } from "../../parts/dialog.tsx";
import { Marked } from "../../parts/json-view.tsx";
import { detailOf, RetryLink } from "../../parts/letter-table.tsx";
import { problemOf, useLoad } from "../../parts/load.ts";
import { Subpage } from "../../parts/subpage.tsx";
import { useTopics } from "../../parts/topics.ts";
import { go, to } from "../../router.ts";
import type { DeadLetter } from "../../types.ts";
import { faultOf } from "./fault.ts";
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
      {problem !== null && (
        <p class="bad" role="alert">
          {problem.message}
        </p>
      )}
      {letter === null && problem === null && <p class="note">{say.common.loading}</p>}
      {letter !== null && (
        <>
          <Facts letter={letter} />
          <div class="cards">
            <Body letter={letter} />
            <Mend letter={letter} onSent={again} />
          </div>
          <Discard letter={letter} />
        </>
      )}
    </Subpage>
  );
}

function Facts({ letter }: { letter: DeadLetter }) {
  const say = words().letters;
  const facts: [string, ComponentChildren][] = [
    [
      say.reason,
      <>
        <span class="reason">{letter.reason}</span> {say.reasons[letter.reason]}
      </>,
    ],
    [say.topic, letter.topic ?? say.noTopic],
    [say.received, time(letter.received_at)],
    [
      say.state,
      letter.retried_as === null ? say.states.open : <RetryLink offset={letter.retried_as} topic={letter.topic} />,
    ],
  ];
  return (
    <>
      <p class="fault">
        <bdi>{detailOf(letter.detail)}</bdi>
      </p>
      <dl class="facts">
        {facts.map(([name, of]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{of}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Body({ letter }: { letter: DeadLetter }) {
  const say = words().letters;
  const { data } = useTopics();
  const { text, mark } = faultOf(letter, data?.topics.find(({ name }) => name === letter.topic)?.time);
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
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const discard = async () => {
    setAsked(false);
    setBusy(true);
    try {
      await send("DELETE", path(`/dead-letters/${letter.offset}`, { ack: "applied" }));
      go(to("letters"));
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  };
  return (
    <div class="row">
      <button type="button" class="danger" disabled={busy} onClick={() => setAsked(true)}>
        {say.discard}
      </button>
      {problem !== null && (
        <p class="bad" role="alert">
          {problem.message}
        </p>
      )}
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
