// One event many times, each with an id and a time of its own: at once, or so many a second.
import { useEffect, useRef, useState } from "preact/hooks";
import { path, send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { problemOf } from "../../parts/load.ts";
import { uuid } from "./schema.ts";
import type { Applied, Json, TakenBefore } from "../../types.ts";

const COUNT_MAX = 10_000;
/** Events of one request, and how often requests go out. */
const BATCH_MAX = 1_000;
const TICK_MS = 100;
/** A batch that was not answered goes again, under the same key, so often and with this pause. */
const TRIES_MAX = 60;
const RETRY_MS = 1_000;

interface Props {
  post: string;
  next: () => Json;
}

export function Repeat({ post, next }: Props) {
  const say = words().trigger;
  const [count, setCount] = useState(100);
  const [rate, setRate] = useState(20);
  const [running, setRunning] = useState(false);
  const [line, setLine] = useState("");
  const stop = useRef(false);
  useEffect(
    () => () => {
      stop.current = true;
    },
    [],
  );

  /** Null: stopped before there was an answer. */
  const sendBatch = async (events: Json[]): Promise<Applied | TakenBefore | null> => {
    const key = uuid();
    for (let tries = 1; ; tries++) {
      try {
        return await send<Applied | TakenBefore>("POST", path(post, { ack: "applied" }), events, key);
      } catch (error) {
        const { isOpen } = problemOf(error);
        if (!isOpen || tries === TRIES_MAX) throw error;
        if (stop.current) return null;
        setLine(say.batchUnanswered(events.length));
        await new Promise((again) => setTimeout(again, RETRY_MS));
      }
    }
  };

  const run = async () => {
    stop.current = false;
    setRunning(true);
    const total = Math.min(Math.max(1, count), COUNT_MAX);
    const begun = performance.now();
    let [sent, counted, untold] = [0, 0, 0];
    try {
      while (sent < total && !stop.current) {
        const due = rate > 0 ? Math.ceil(((performance.now() - begun + TICK_MS) / 1_000) * rate) : total;
        const size = Math.min(due, total, sent + BATCH_MAX) - sent;
        if (size > 0) {
          const answer = await sendBatch(Array.from({ length: size }, next));
          if (answer === null) {
            setLine(`${say.repeated(sent, total)}; ${say.unknown(size)}`);
            break;
          }
          sent += answer.accepted;
          if ("counted" in answer) counted += answer.counted;
          else untold += answer.accepted;
          const told = `${say.repeated(sent, total)}; ${say.fates(counted, sent - counted - untold)}`;
          setLine(untold === 0 ? told : `${told}; ${say.untold(untold)}`);
        }
        if (rate > 0 && sent < total) await new Promise((tick) => setTimeout(tick, TICK_MS));
      }
    } catch (error) {
      const { status, message } = problemOf(error);
      setLine(status === 0 ? `${say.repeated(sent, total)}; ${words().state.noAnswer}` : message);
    }
    setRunning(false);
  };

  return (
    <fieldset class="repeat">
      <legend>{say.many}</legend>
      <div>
        <label for="repeat-count">{say.count}</label>
        <input
          id="repeat-count"
          type="number"
          min={1}
          max={COUNT_MAX}
          value={count}
          onInput={(event) => setCount(event.currentTarget.valueAsNumber || 1)}
        />
      </div>
      <div>
        <label for="repeat-rate">{say.rate}</label>
        <input
          id="repeat-rate"
          type="number"
          min={0}
          value={rate}
          onInput={(event) => setRate(event.currentTarget.valueAsNumber || 0)}
        />
      </div>
      <button
        id="repeat-send"
        type="button"
        onClick={() => {
          if (running) stop.current = true;
          else void run();
        }}
      >
        {running ? say.stop : say.repeat}
      </button>
      <p id="repeat-result" role="status">
        {line}
      </p>
    </fieldset>
  );
}
