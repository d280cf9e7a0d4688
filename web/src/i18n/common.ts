// What the frame and all views say.
import { number } from "../format.ts";

const events = (n: number) => (n === 1 ? "1 event" : `${number(n)} events`);
const eventos = (n: number) => (n === 1 ? "1 evento" : `${number(n)} eventos`);

export const en = {
  title: "Caudal",
  skip: "Skip to the content",
  language: "Language",
  theme: { label: "Colours", auto: "system", light: "light", dark: "dark" },
  views: {
    overview: "Overview",
    pipelines: "Pipelines",
    windows: "Windows",
    events: "Events",
    trigger: "Trigger",
    letters: "Dead letters",
    ranks: "Ranks",
  },
  state: {
    connecting: "Connecting …",
    noAnswer: "no answer",
    lost: (why: string) => `Connection lost (${why}); connecting again …`,
    phase: { serving: "serving", replaying: "replaying its log", draining: "draining" },
    line: (phase: string, generation: number) => `${phase}, generation ${generation}`,
    store: (problem: string) => `The store does not answer: ${problem}`,
    missed: (seconds: string, hidden: boolean, from: number, to: number, accepted: number, counted: number) =>
      `${from === to ? "" : `The job was started again (generation ${from} → ${to}). `}` +
      `${hidden ? "Nobody saw this page, or it had no connection," : "There was no connection"} for ${seconds}. ` +
      `Meanwhile ${events(accepted)} came in and ${number(counted)} were counted.`,
    dismiss: "Dismiss",
    noView: "There is no such view.",
  },
  token: {
    title: "Token",
    label: "This job asks for one of its API tokens",
    use: "Use it",
    note: "It is kept until this tab is closed.",
    refused: "The token was refused.",
  },
  common: {
    asTable: "As a table",
    all: "all",
    none: "There is none.",
    loading: "Loading …",
    more: "More",
    time: "Time",
    topic: "Topic",
    events,
    eventCount: "events",
    close: "Close",
    cancel: "Cancel",
    level: { ok: "OK", low: "LOW", high: "HIGH" },
    shown: (n: number, more: boolean) => (more ? `${number(n)} shown; there are more.` : `${number(n)} in all.`),
    details: "Details",
  },
  fates: {
    accepted: "accepted",
    counted: "counted",
    duplicate: "duplicate",
    filtered: "filtered",
    invalid: "invalid",
    late: "late",
    in_flight: "in flight",
  },
};

export const es: typeof en = {
  title: "Caudal",
  skip: "Ir al contenido",
  language: "Idioma",
  theme: { label: "Colores", auto: "sistema", light: "claro", dark: "oscuro" },
  views: {
    overview: "Resumen",
    pipelines: "Pipelines",
    windows: "Ventanas",
    events: "Eventos",
    trigger: "Enviar",
    letters: "Rechazados",
    ranks: "Procesos",
  },
  state: {
    connecting: "Conectando …",
    noAnswer: "sin respuesta",
    lost: (why) => `Se perdió la conexión (${why}); conectando de nuevo …`,
    phase: { serving: "en servicio", replaying: "releyendo su registro", draining: "terminando" },
    line: (phase, generation) => `${phase}, generación ${generation}`,
    store: (problem) => `El almacén no responde: ${problem}`,
    missed: (seconds, hidden, from, to, accepted, counted) =>
      `${from === to ? "" : `El trabajo arrancó de nuevo (generación ${from} → ${to}). `}` +
      `${hidden ? "Nadie vio esta página, o no tuvo conexión," : "No hubo conexión"} durante ${seconds}. ` +
      `Mientras tanto llegaron ${eventos(accepted)} y se contaron ${number(counted)}.`,
    dismiss: "Cerrar aviso",
    noView: "Esa vista no existe.",
  },
  token: {
    title: "Token",
    label: "Este trabajo pide uno de sus tokens",
    use: "Usarlo",
    note: "Se guarda hasta que se cierre esta pestaña.",
    refused: "El token fue rechazado.",
  },
  common: {
    asTable: "Como tabla",
    all: "todos",
    none: "No hay ninguno.",
    loading: "Cargando …",
    more: "Más",
    time: "Hora",
    topic: "Tópico",
    events: eventos,
    eventCount: "eventos",
    close: "Cerrar",
    cancel: "Cancelar",
    level: { ok: "OK", low: "BAJA", high: "ALTA" },
    shown: (n, more) => (more ? `Se muestran ${number(n)}; hay más.` : `${number(n)} en total.`),
    details: "Detalles",
  },
  fates: {
    accepted: "aceptados",
    counted: "contados",
    duplicate: "duplicados",
    filtered: "filtrados",
    invalid: "inválidos",
    late: "tardíos",
    in_flight: "en curso",
  },
};
