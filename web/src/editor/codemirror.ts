// The text editor, in a script of its own that is loaded when somebody edits. It shares nothing with the rest of the page. Its styles may not be
// written into the page (the page's policy forbids it), but into a shadow root's own sheets they may.
import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Annotation, EditorState, type Text } from "@codemirror/state";
import { EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

/** Where something is to be said; line and column from 1, in characters. */
export interface Mark {
  line: number;
  column: number;
  message: string;
  severity: "error" | "warning";
}

export interface Options {
  /** Its name for screen readers. */
  label: string;
  text: string;
  onChange: (text: string) => void;
}

export interface Handle {
  /** Takes another text, unless it has it already. */
  setText(text: string): void;
  setMarks(marks: Mark[]): void;
  goTo(line: number, column: number): void;
  focus(): void;
  destroy(): void;
}

/** A text that was given, and not written here. */
const fromOutside = Annotation.define<boolean>();

export function mount(place: HTMLElement, { label, text, onChange }: Options): Handle {
  const root = place.shadowRoot ?? place.attachShadow({ mode: "open" });
  const changed = EditorView.updateListener.of((update) => {
    const given = update.transactions.some((transaction) => transaction.annotation(fromOutside));
    if (update.docChanged && !given) onChange(update.state.doc.toString());
  });
  const state = EditorState.create({
    doc: text,
    extensions: [
      lineNumbers(),
      highlightActiveLine(),
      highlightActiveLineGutter(),
      history(),
      indentOnInput(),
      indentUnit.of("  "),
      bracketMatching(),
      closeBrackets(),
      lintGutter(),
      // Tab leaves the editor, as it leaves any field; Ctrl-] and Ctrl-[ indent.
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...lintKeymap]),
      // JSON is YAML.
      yaml(),
      syntaxHighlighting(colours),
      look,
      EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
      changed,
    ],
  });
  const view = new EditorView({ state, parent: root, root });
  return {
    setText(wanted) {
      if (view.state.doc.toString() === wanted) return;
      const changes = { from: 0, to: view.state.doc.length, insert: wanted };
      view.dispatch({ changes, annotations: fromOutside.of(true) });
    },
    setMarks(marks) {
      view.dispatch(
        setDiagnostics(
          view.state,
          marks.map((mark) => diagnostic(view.state.doc, mark)),
        ),
      );
    },
    goTo(line, column) {
      const at = position(view.state.doc, line, column);
      view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      view.focus();
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

function diagnostic(text: Text, { line, column, message, severity }: Mark): Diagnostic {
  const from = position(text, line, column);
  const rest = text.lineAt(from).text.slice(from - text.lineAt(from).from);
  const word = /^["']?[\w.$-]+|^./u.exec(rest)?.[0] ?? "";
  return { from, to: from + word.length, message, severity };
}

/** Lines and columns that are not there are the nearest that are. */
function position(text: Text, line: number, column: number): number {
  const found = text.line(Math.min(Math.max(line, 1), text.lines));
  const before = [...found.text].slice(0, Math.max(column - 1, 0)).join("");
  return found.from + before.length;
}

const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--line-1)" },
  { tag: [tags.string, tags.special(tags.string), tags.attributeValue], color: "var(--line-2)" },
  { tag: [tags.lineComment, tags.comment], color: "var(--soft)", fontStyle: "italic" },
  { tag: [tags.keyword, tags.meta, tags.typeName, tags.labelName], color: "var(--line-5)" },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: "var(--soft)" },
]);

const look = EditorView.theme({
  "&": { backgroundColor: "var(--card)", color: "var(--ink)", fontSize: "13px", height: "100%" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "var(--paper)", color: "var(--soft)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 8%, transparent)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent)" },
  ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-diagnostic": { whiteSpace: "pre-wrap", maxWidth: "40rem", fontFamily: "system-ui, sans-serif" },
  // The editor's own pictures are data: addresses, which the page's policy forbids.
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
  ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--warn)" },
  ".cm-lint-marker": { width: "0.7em", height: "0.7em", margin: "0.45em 0.1em", borderRadius: "50%" },
  ".cm-lint-marker-error": { content: "normal", backgroundColor: "var(--bad)" },
  ".cm-lint-marker-warning": { content: "normal", backgroundColor: "var(--warn)", borderRadius: "0" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
  ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
});
