// Which language the page speaks: the one that was chosen, or else the browser's.
import { effect, signal } from "@preact/signals";

export type Language = "en" | "es";

const KEY = "caudal-language";

function first(): Language {
  const wanted = localStorage.getItem(KEY) ?? navigator.language.slice(0, 2);
  return wanted === "es" ? "es" : "en";
}

export const language = signal<Language>(first());

effect(() => {
  document.documentElement.lang = language.value;
});

export function setLanguage(chosen: Language): void {
  localStorage.setItem(KEY, chosen);
  language.value = chosen;
}
