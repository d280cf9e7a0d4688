// The page's words in the chosen language. Each view has a file of its own, with both.
import * as common from "./common.ts";
import { language } from "./language.ts";
import * as overview from "./overview.ts";
import * as pipelines from "./pipelines.ts";
import * as ranks from "./ranks.ts";
import * as trigger from "./trigger.ts";

const en = { ...common.en, overview: overview.en, pipelines: pipelines.en, trigger: trigger.en, ranks: ranks.en };
const es: typeof en = {
  ...common.es,
  overview: overview.es,
  pipelines: pipelines.es,
  trigger: trigger.es,
  ranks: ranks.es,
};
const all = { en, es };

export function words(): typeof en {
  return all[language.value];
}
