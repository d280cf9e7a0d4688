// The page's words in the chosen language. Each view has a file of its own, with both.
import * as common from "./common.ts";
import { language } from "./language.ts";
import * as overview from "./overview.ts";
import * as pipelines from "./pipelines.ts";
import * as windows from "./windows.ts";
import * as events from "./events.ts";
import * as trigger from "./trigger.ts";
import * as letters from "./letters.ts";
import * as ranks from "./ranks.ts";

const en = {
  ...common.en,
  overview: overview.en,
  pipelines: pipelines.en,
  windows: windows.en,
  events: events.en,
  trigger: trigger.en,
  letters: letters.en,
  ranks: ranks.en,
};
const es: typeof en = {
  ...common.es,
  overview: overview.es,
  pipelines: pipelines.es,
  windows: windows.es,
  events: events.es,
  trigger: trigger.es,
  letters: letters.es,
  ranks: ranks.es,
};
const all = { en, es };

export function words(): typeof en {
  return all[language.value];
}
