// The generator's switch and dials.
import { useState } from "preact/hooks";
import { get, send } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { useAct } from "../../parts/act.ts";
import { useLoad } from "../../parts/load.ts";
import { Refused } from "../../parts/said.tsx";

/** Its figures are asked for this often. */
const EVERY_MS = 2_000;

interface Settings {
  rate: number | null;
  seed: number | null;
  duplicates: number;
  invalid: number;
  late: number;
  out_of_order_ms: number;
}

interface Generator {
  running: boolean;
  settings: Settings | null;
  accepted: number;
  refused: number;
  trouble: string | null;
}

const DIALS = ["rate", "duplicates", "invalid", "late", "out_of_order_ms", "seed"] as const;
type Dial = (typeof DIALS)[number];
/** Dials that show hundredths of what the call takes. */
const SHARES: ReadonlySet<Dial> = new Set(["duplicates", "invalid", "late"]);
const AT_FIRST: Record<Dial, string> = {
  rate: "50",
  duplicates: "2",
  invalid: "1",
  late: "0",
  out_of_order_ms: "0",
  seed: "",
};

export function GeneratorCard() {
  const say = words().trigger;
  const { data, problem, again } = useLoad(() => get<Generator>("/generator"), [], EVERY_MS);
  const [dials, setDials] = useState(AT_FIRST);
  const { problem: refusal, act } = useAct();
  const labels: Record<Dial, string> = {
    rate: say.perSecond,
    duplicates: say.duplicates,
    invalid: say.invalid,
    late: say.late,
    out_of_order_ms: say.disorder,
    seed: say.seed,
  };
  const call = (method: string, at: string, body?: object) => act(() => send(method, at, body)).then(again);
  const start = () => {
    const set = DIALS.filter((dial) => dials[dial] !== "");
    const wish = Object.fromEntries(set.map((dial) => [dial, Number(dials[dial]) / (SHARES.has(dial) ? 100 : 1)]));
    void call("POST", "/generator/restart", wish);
  };
  return (
    <section class="card wide" aria-labelledby="h-generator">
      <h2 id="h-generator">{say.generator}</h2>
      <p class="note">{say.generatorNote}</p>
      <form
        class="dials"
        onSubmit={(event) => {
          event.preventDefault();
          start();
        }}
      >
        {DIALS.map((dial) => (
          <div key={dial}>
            <label for={`generator-${dial}`}>{labels[dial]}</label>
            <input
              id={`generator-${dial}`}
              type="number"
              min={0}
              step={dial === "rate" || SHARES.has(dial) ? "any" : 1}
              required={dial !== "seed"}
              value={dials[dial]}
              onInput={(event) => setDials({ ...dials, [dial]: event.currentTarget.value })}
            />
          </div>
        ))}
        <div class="wide row">
          <button id="generator-start">{data?.running ? say.apply : say.start}</button>
          <button
            id="generator-stop"
            type="button"
            disabled={!data?.running}
            onClick={() => void call("DELETE", "/generator")}
          >
            {say.stop}
          </button>
        </div>
      </form>
      <p id="generator-state" role="status">
        {data !== null && stateOf(data)}
      </p>
      <Refused problem={refusal ?? problem} />
      {data !== null && data.trouble !== null && (
        <p id="generator-trouble" class={data.running ? "warn" : "bad"} role="status">
          {say.trouble(data.trouble)}
        </p>
      )}
    </section>
  );
}

function stateOf({ running, settings, accepted, refused }: Generator): string {
  const say = words().trigger;
  if (settings === null) return say.off;
  return running
    ? say.running(settings.rate ?? 0, settings.seed ?? 0, accepted, refused)
    : say.stopped(accepted, refused);
}
