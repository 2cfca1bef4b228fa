// A line of the list, made of the page's template: shows an entry, and turns what is clicked into changes.

import { Conflict, type Entry, type Tasks } from "./tasks.js";

export class Row {
  readonly element: HTMLLIElement;
  readonly #main: HTMLElement;
  readonly #done: HTMLInputElement;
  readonly #title: HTMLElement;
  readonly #description: HTMLElement;
  readonly #editor: HTMLFormElement;
  readonly #newTitle: HTMLInputElement;
  readonly #newDescription: HTMLTextAreaElement;
  readonly #problem: HTMLElement;

  /** `fail` is told of what is refused, unless the row shows it itself. */
  constructor(
    template: HTMLTemplateElement,
    readonly entry: Entry,
    readonly tasks: Tasks,
    readonly fail: (error: unknown) => void,
  ) {
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
    this.#done.addEventListener("change", () => tasks.toggle(entry).catch(fail));
    part("edit").addEventListener("click", () => this.#edit(entry.shown.title, entry.shown.description ?? ""));
    part("texts").addEventListener("dblclick", () => this.#edit(entry.shown.title, entry.shown.description ?? ""));
    part("delete").addEventListener("click", () => this.#delete());
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
    const { shown, isGone, waiting } = this.entry;
    this.element.hidden = isGone;
    this.element.classList.toggle("is-done", shown.completed);
    this.element.ariaBusy = String(waiting > 0);
    this.#done.checked = shown.completed;
    for (const name of ["done", "edit", "delete"]) {
      const control = this.element.querySelector<HTMLElement>(`.main .${name}`);
      if (control) control.ariaLabel = `${name[0]?.toUpperCase()}${name.slice(1)}: ${shown.title}`;
    }
    this.#title.textContent = shown.title;
    this.#description.textContent = shown.description;
    this.#description.hidden = !shown.description;
  }

  #edit(title: string, description: string, problem = ""): void {
    this.#main.hidden = true;
    this.#editor.hidden = false;
    this.#newTitle.value = title;
    this.#newDescription.value = description;
    this.#problem.textContent = problem;
    this.#newTitle.focus();
  }

  #close(): void {
    this.#editor.hidden = true;
    this.#main.hidden = false;
    this.element.querySelector<HTMLElement>(".edit")?.focus();
  }

  /** Shows the new texts at once. When they are refused, the editor comes back with them and the reason. */
  async #save(title: string, description: string): Promise<void> {
    this.#close();
    try {
      await this.tasks.edit(this.entry, title, description || null);
    } catch (error) {
      if (!this.element.isConnected || !(error instanceof Error)) return this.fail(error);
      const now = error instanceof Conflict ? ` It now reads “${this.entry.shown.title}”; save again to replace that.` : "";
      this.#edit(title, description, error.message + now);
    }
  }

  #delete(): void {
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.tasks.remove(this.entry).catch(this.fail);
    (next?.querySelector<HTMLElement>(".delete") ?? document.querySelector<HTMLElement>("#new"))?.focus();
  }
}
