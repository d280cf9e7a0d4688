// The page's frame: where one is, how the job is, and the view.
import type { FunctionComponent, TargetedSubmitEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { needsToken, setToken } from "./api.ts";
import { duration } from "./format.ts";
import { type Language, language, setLanguage } from "./i18n/language.ts";
import { words } from "./i18n/words.ts";
import { connectNow, lost, missed, snapshot } from "./live.ts";
import { place, to } from "./router.ts";
import { setTheme, type Theme, theme } from "./theme.ts";
import { Events } from "./views/events.tsx";
import { Letters } from "./views/letters.tsx";
import { Overview } from "./views/overview.tsx";
import { Pipelines } from "./views/pipelines.tsx";
import { Ranks } from "./views/ranks.tsx";
import { Trigger } from "./views/trigger.tsx";
import { Windows } from "./views/windows.tsx";

type ViewName = keyof ReturnType<typeof words>["views"];

const VIEWS: Partial<Record<ViewName, FunctionComponent>> = {
  overview: Overview,
  pipelines: Pipelines,
  windows: Windows,
  events: Events,
  trigger: Trigger,
  letters: Letters,
  ranks: Ranks,
};

export function App() {
  const { view } = place.value;
  const View = VIEWS[view as ViewName];
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const title = words().views[view as ViewName] ?? words().title;
  useEffect(() => {
    document.title = `${title} · Caudal`;
  }, [title]);
  // Who follows a link with the keyboard goes on in the new view.
  useEffect(() => {
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [view]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {words().skip}
      </a>
      <header>
        <p class="brand">Caudal</p>
        <nav class="tabs" aria-label={words().title}>
          <ul>
            {(Object.keys(VIEWS) as ViewName[]).map((name) => (
              <li key={name}>
                <a href={to(name)} aria-current={name === view ? "page" : undefined}>
                  {words().views[name]}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <Choices />
      </header>
      <State />
      <Missed />
      {needsToken.value && <TokenForm />}
      <main id="main" ref={main} tabIndex={-1}>
        <h1>{title}</h1>
        {View === undefined ? <p class="bad">{words().state.noView}</p> : <View />}
      </main>
    </>
  );
}

function Choices() {
  const themes: Theme[] = ["auto", "light", "dark"];
  return (
    <div class="choices">
      <label>
        <span class="quiet">{words().theme.label}</span>
        <select value={theme.value} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
          {themes.map((name) => (
            <option key={name} value={name}>
              {words().theme[name]}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="quiet">{words().language}</span>
        <select value={language.value} onChange={(event) => setLanguage(event.currentTarget.value as Language)}>
          <option value="en" lang="en">
            English
          </option>
          <option value="es" lang="es">
            Español
          </option>
        </select>
      </label>
    </div>
  );
}

/** How the job is, in one line. */
function State() {
  const { state } = words();
  const now = snapshot.value;
  const why = lost.value;
  let line = state.connecting;
  if (why !== null && why !== "") line = state.lost(why);
  else if (now !== null && why === null) {
    line = state.line(state.phase[now.cluster.phase], now.cluster.generation);
    if (now.store_problem !== null) line = `${line}. ${state.store(now.store_problem)}`;
  }
  const good = why === null && now?.cluster.phase === "serving" && now.store_problem === null;
  return (
    <p id="state" role="status" class={good ? "state good" : "state"}>
      {line}
    </p>
  );
}

function Missed() {
  const gap = missed.value;
  if (gap === null) return null;
  const { state } = words();
  const [from, to] = gap.generations;
  return (
    <p id="missed" class="notice" role="status">
      {state.missed(duration(gap.seconds * 1_000), gap.hidden, from, to, gap.accepted, gap.counted)}{" "}
      <button type="button" class="plain" onClick={() => (missed.value = null)}>
        {state.dismiss}
      </button>
    </p>
  );
}

function TokenForm() {
  const { token } = words();
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget).get("token");
    setToken(String(given ?? "").trim());
    connectNow();
  };
  return (
    <form id="token-form" class="card" onSubmit={submit}>
      <h2>{token.title}</h2>
      <label for="token">{token.label}</label>
      <input id="token" name="token" type="password" autocomplete="off" required />
      <p>
        <button>{token.use}</button>
      </p>
      <p class="note">{token.note}</p>
    </form>
  );
}
