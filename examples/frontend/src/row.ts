// A row of the list: shows an entry, and sends the user's clicks and edits as changes.

import { counted, growing } from "./fields.js";
import { Conflict, type Entry, type Tasks } from "./tasks.js";

export interface Actions {
  /** Shows an error that the row does not show. */
  fail: (error: unknown) => void;
  delete: (entry: Entry) => void;
}

export class Row {
  readonly element: HTMLLIElement;
  readonly #entry: Entry;
  readonly #tasks: Tasks;
  readonly #actions: Actions;
  readonly #main: HTMLElement;
  readonly #done: HTMLInputElement;
  readonly #title: HTMLElement;
  readonly #description: HTMLElement;
  readonly #editor: HTMLFormElement;
  readonly #newTitle: HTMLInputElement;
  readonly #newDescription: HTMLTextAreaElement;
  readonly #problem: HTMLElement;
  readonly #count: () => void;
  readonly #grow: () => void;

  constructor(template: HTMLTemplateElement, entry: Entry, tasks: Tasks, actions: Actions) {
    this.#entry = entry;
    this.#tasks = tasks;
    this.#actions = actions;
    this.element = (template.content.cloneNode(true) as DocumentFragment).firstElementChild as HTMLLIElement;
    const part = <T extends HTMLElement>(name: string) => this.element.querySelector(`.${name}`) as T;
    this.#main = part("main");
    this.#done = part("done");
    this.#title = part("title");
    this.#description = part("description");
    this.#editor = part("editor");
    this.#newTitle = part("new-title");
    this.#newDescription = part("new-description");
    this.#problem = part("problem");
    this.#count = counted(this.#newTitle, part("count"));
    this.#grow = growing(this.#newDescription);
    const edit = () => this.#edit(entry.shown.title, entry.shown.description ?? "");
    this.#done.addEventListener("change", () => this.#toggle());
    part("edit").addEventListener("click", edit);
    part("texts").addEventListener("dblclick", edit);
    part("delete").addEventListener("click", () => {
      focus(this.#next(), ".delete");
      actions.delete(entry);
    });
    part("cancel").addEventListener("click", () => this.#close());
    this.#editor.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(this.#newTitle.value, this.#newDescription.value);
    });
    this.#editor.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#editor.requestSubmit();
    });
  }

  /** Shows the entry as it is now. An open editor keeps what is typed. */
  show(): void {
    const { shown, isDeleted, pending } = this.#entry;
    this.element.hidden = isDeleted;
    this.element.classList.toggle("is-done", shown.completed);
    this.element.ariaBusy = String(pending > 0);
    this.#done.checked = shown.completed;
    for (const name of ["done", "edit", "delete"]) {
      const control = this.element.querySelector<HTMLElement>(`.main .${name}`);
      if (control) control.ariaLabel = `${name[0]?.toUpperCase()}${name.slice(1)}: ${shown.title}`;
    }
    this.#title.textContent = shown.title;
    this.#description.textContent = shown.description;
    this.#description.hidden = !shown.description;
  }

  async #toggle(): Promise<void> {
    const hadFocus = this.element.contains(document.activeElement);
    const next = this.#next();
    try {
      await this.#tasks.toggle(this.#entry);
    } catch (error) {
      this.#actions.fail(error);
    }
    const hasLostIt = !this.element.isConnected && document.activeElement === document.body;
    if (hadFocus && hasLostIt) focus(next, ".done");
  }

  focus(): void {
    this.element.querySelector<HTMLElement>(".delete")?.focus();
  }

  #edit(title: string, description: string, problem = ""): void {
    this.#main.hidden = true;
    this.#editor.hidden = false;
    this.#newTitle.value = title;
    this.#newDescription.value = description;
    this.#problem.textContent = problem;
    this.#count();
    this.#grow();
    this.#newTitle.focus();
  }

  #close(): void {
    this.#editor.hidden = true;
    this.#main.hidden = false;
    this.element.querySelector<HTMLElement>(".edit")?.focus();
  }

  /** Shows the new texts at once. When they are refused, the editor opens again with them and the reason. */
  async #save(title: string, description: string): Promise<void> {
    this.#close();
    try {
      await this.#tasks.edit(this.#entry, title, description || null);
    } catch (error) {
      if (!this.element.isConnected || !(error instanceof Error)) return this.#actions.fail(error);
      const { shown } = this.#entry;
      const now = error instanceof Conflict ? ` It now reads “${shown.title}”; save again to replace that.` : "";
      this.#edit(title, description, error.message + now);
    }
  }

  #next(): Element | null {
    const rows = [...(this.element.parentElement?.querySelectorAll("li:not([hidden])") ?? [])];
    const index = rows.indexOf(this.element);
    return rows[index + 1] ?? rows[index - 1] ?? null;
  }
}

/** Moves the focus to the same control of another row, so that keyboard users keep their position. */
function focus(row: Element | null, control: string): void {
  (row?.querySelector<HTMLElement>(control) ?? document.querySelector<HTMLElement>("#new"))?.focus();
}
