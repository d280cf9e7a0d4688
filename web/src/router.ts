// Where the page is: `#/view/part?name=value`. Behind the `#`, since the paths before it are the server's own calls.
import { computed, signal } from "@preact/signals";

export interface Place {
  view: string;
  /** What follows the view's name, decoded. */
  parts: string[];
  query: URLSearchParams;
}

const hash = signal(location.hash);
let followed = false;
addEventListener("hashchange", () => {
  const wanted = location.hash;
  if (wanted !== hash.value && holding?.(read(wanted), wanted)) {
    history.replaceState(null, "", hash.value === "" ? "#" : hash.value);
    return;
  }
  followed = true;
  hash.value = wanted;
});

/** Whether somebody has followed a link within the page. */
export function moved(): boolean {
  return followed;
}

/** Is told where the page is to go, and says whether it must stay. */
type Holding = (wanted: Place, address: string) => boolean;
let holding: Holding | null = null;

/** Has somebody asked before the page leaves; null: it may leave. */
export function hold(ask: Holding | null): void {
  holding = ask;
}

export const place = computed<Place>(() => read(hash.value));

function read(address: string): Place {
  const [path = "", query = ""] = address.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...parts] = path.split("/").map(decoded);
  return { view: view === "" ? "overview" : view, parts, query: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a place, for a link. Undefined and empty values are left out. */
export function to(view: string, parts: string[] = [], query: Record<string, string | undefined> = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") params.set(name, value);
  }
  const path = [view, ...parts].map(encodeURIComponent).join("/");
  const text = params.toString();
  return `#/${path}${text === "" ? "" : `?${text}`}`;
}

export function go(address: string): void {
  location.hash = address;
}

/** Goes there in place of this place: the way back does not lead through here. */
export function replace(address: string): void {
  history.replaceState(null, "", address);
  hash.value = location.hash;
}

/** Changes the query of this place, without a new entry in the browser's history. */
export function setQuery(changes: Record<string, string | undefined>): void {
  const { view, parts, query } = place.value;
  const merged: Record<string, string | undefined> = { ...Object.fromEntries(query), ...changes };
  replace(to(view, parts, merged));
}
