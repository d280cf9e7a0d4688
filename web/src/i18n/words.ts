// The page's words in the chosen language. Each view has a file of its own, with both.
import * as common from "./common.ts";
import { language } from "./language.ts";
import * as overview from "./overview.ts";
import * as trigger from "./trigger.ts";

const en = { ...common.en, overview: overview.en, trigger: trigger.en };
const es: typeof en = { ...common.es, overview: overview.es, trigger: trigger.es };
const all = { en, es };

export function words(): typeof en {
  return all[language.value];
}
