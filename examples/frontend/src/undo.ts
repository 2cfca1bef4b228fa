// Deletion with undo. The request is sent after the time for undo, so that a restored task keeps its id and place.

import type { Entry, Tasks } from "./tasks.js";

const UNDO_MS = 5000;

interface Actions {
  fail: (error: unknown) => void;
  restored: (entry: Entry) => void;
}

interface Deletion {
  entry: Entry;
  tasks: Tasks;
  timer?: number | undefined;
}

export class Undo {
  readonly #element: HTMLElement;
  readonly #actions: Actions;
  /** Deletions that are not sent yet, the latest one last. */
  #deletions: Deletion[] = [];

  constructor(element: HTMLElement, actions: Actions) {
    this.#element = element;
    this.#actions = actions;
    element.querySelector("button")?.addEventListener("click", () => this.undo());
    const kbd = element.querySelector("kbd") as HTMLElement;
    kbd.textContent = /Mac|iP/.test(navigator.platform) ? "⌘Z" : "Ctrl+Z";
    // The time for undo pauses while the pointer is over the message or its button has the focus.
    for (const type of ["pointerenter", "focusin"]) element.addEventListener(type, () => this.#stop());
    element.addEventListener("pointerleave", () => element.contains(document.activeElement) || this.#start());
    element.addEventListener("focusout", () => element.matches(":hover") || this.#start());
    window.addEventListener("pagehide", () => this.send(true));
    document.addEventListener("keydown", (event) => {
      const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
      const isTyping = event.target instanceof Element && event.target.matches("[type=search], .text-field, textarea");
      if (isUndo && !isTyping && this.undo()) event.preventDefault();
    });
  }

  delete(entry: Entry, tasks: Tasks): void {
    const deletion = { entry, tasks };
    this.#deletions.push(deletion);
    this.#start();
    tasks.hide(entry).catch((error) => {
      this.#forget(deletion);
      this.#actions.fail(error);
    });
  }

  /** Restores the task that was deleted last, if there is one. */
  undo(): boolean {
    const deletion = this.#deletions.at(-1);
    if (!deletion) return false;
    this.#forget(deletion);
    deletion.tasks.restore(deletion.entry);
    this.#actions.restored(deletion.entry);
    return true;
  }

  /** Sends all deletions now: the user signs out, or leaves the page (`keepalive`). */
  send(keepalive = false): void {
    for (const deletion of [...this.#deletions]) this.#send(deletion, keepalive);
  }

  #send(deletion: Deletion, keepalive = false): void {
    this.#forget(deletion);
    deletion.tasks.delete(deletion.entry, keepalive).catch(this.#actions.fail);
  }

  #start(): void {
    for (const deletion of this.#deletions) {
      deletion.timer ??= window.setTimeout(() => this.#send(deletion), UNDO_MS);
    }
    this.#show();
  }

  #stop(): void {
    for (const deletion of this.#deletions) {
      clearTimeout(deletion.timer);
      deletion.timer = undefined;
    }
  }

  #forget(deletion: Deletion): void {
    clearTimeout(deletion.timer);
    this.#deletions = this.#deletions.filter((other) => other !== deletion);
    this.#show();
  }

  #show(): void {
    const last = this.#deletions.at(-1);
    this.#element.hidden = !last;
    if (last) (this.#element.firstElementChild as Element).textContent = `Deleted “${last.entry.shown.title}”`;
  }
}
