// Light or dark: as the system says, unless somebody has chosen.
import { computed, effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
const KEY = "caudal-theme";

const system = matchMedia("(prefers-color-scheme: dark)");
const dark = signal(system.matches);
system.addEventListener("change", () => {
  dark.value = system.matches;
});

const kept = localStorage.getItem(KEY);
export const theme = signal<Theme>(kept === "light" || kept === "dark" ? kept : "auto");

/** What it comes to. */
export const shade = computed<"light" | "dark">(() =>
  theme.value === "auto" ? (dark.value ? "dark" : "light") : theme.value,
);

effect(() => {
  document.documentElement.dataset["theme"] = shade.value;
});

export function setTheme(chosen: Theme): void {
  localStorage.setItem(KEY, chosen);
  theme.value = chosen;
}
