// The page's words in the chosen language. Each view has a file of its own, with both.
import * as common from "./common.ts";
import * as events from "./events.ts";
import { language } from "./language.ts";
import * as letters from "./letters.ts";
import * as overview from "./overview.ts";
import * as windows from "./windows.ts";

const en = { ...common.en, overview: overview.en, events: events.en, letters: letters.en, windows: windows.en };
const es: typeof en = {
  ...common.es,
  overview: overview.es,
  events: events.es,
  letters: letters.es,
  windows: windows.es,
};
const all = { en, es };

export function words(): typeof en {
  return all[language.value];
}
