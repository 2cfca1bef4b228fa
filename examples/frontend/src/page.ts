// The page: signs in, connects the controls to the tasks, and shows errors.

import { Problem, TaskClient } from "../../client/client.js";
import { counted, growing } from "./fields.js";
import { Filters } from "./filters.js";
import { List } from "./list.js";
import { Tasks } from "./tasks.js";
import { Undo } from "./undo.js";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

const signIn = find<HTMLFormElement>("sign-in");
const address = find<HTMLInputElement>("address");
const token = find<HTMLTextAreaElement>("token");
const adding = find<HTMLFormElement>("add");
const title = find<HTMLInputElement>("new");
const description = find<HTMLTextAreaElement>("new-description");
const main = find("main");
const notice = find("notice");
const continueButton = find<HTMLButtonElement>("continue");

let tasks: Tasks | undefined;
const undo = new Undo(find("undo"), { fail, restored: (entry) => list.focus(entry) });
const list = new List({ fail, delete: (entry) => tasks && undo.delete(entry, tasks) });
const filters = new Filters(find<HTMLFormElement>("filters"), load);

function fail(error: unknown): void {
  if (error instanceof Problem && error.status === 401) return signOut(error.message);
  find("notice-text").textContent = messageOf(error);
  notice.hidden = false;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The user of a token. Only the service can say whether the token is valid. */
function userOf(jwt: string): string {
  try {
    const payload = jwt.split(".")[1] ?? "";
    const { sub } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    if (typeof sub === "string") return sub;
  } catch {
    // not a JWT
  }
  throw new Error("This is not a token. Copy everything between “Bearer” and the quotation mark.");
}

async function startSession(): Promise<void> {
  const credentials = { address: new URL(address.value).origin, token: token.value };
  continueButton.disabled = true;
  try {
    // Accepts the whole line that `make dev` prints, with the text around the token.
    const jwt = /[\w-]+\.[\w-]+\.[\w-]+/.exec(credentials.token)?.[0] ?? "";
    const client = new TaskClient(`${credentials.address}/api/${userOf(jwt)}/tasks`, () => jwt);
    client.onRetry = (isRetrying) => (find("retrying").hidden = !isRetrying);
    const found: Tasks = new Tasks(client, () => tasks === found && list.show(found));
    await found.load(filters.query);
    tasks = found;
  } catch (error) {
    return signOut(messageOf(error));
  } finally {
    continueButton.disabled = false;
  }
  sessionStorage.setItem("credentials", JSON.stringify(credentials));
  signIn.hidden = true;
  find("account").hidden = main.hidden = false;
  list.show(tasks);
  title.focus();
}

function signOut(problem = ""): void {
  undo.send();
  tasks = undefined;
  list.clear();
  sessionStorage.removeItem("credentials");
  find("account").hidden = main.hidden = notice.hidden = true;
  signIn.hidden = false;
  find("sign-in-problem").textContent = problem;
  token.focus();
}

async function load(): Promise<void> {
  main.ariaBusy = "true";
  try {
    await tasks?.load(filters.query);
    notice.hidden = true;
  } catch (error) {
    fail(error);
  } finally {
    main.ariaBusy = "false";
  }
}

async function add(): Promise<void> {
  const texts = { title: title.value, description: description.value };
  showDraft({ title: "", description: "" });
  title.focus();
  try {
    await tasks?.add({ title: texts.title, description: texts.description || null });
  } catch (error) {
    if (!title.value && !description.value) showDraft(texts); // unless the next one is being typed
    fail(error);
  }
}

function showDraft(texts: { title: string; description: string }): void {
  title.value = texts.title;
  description.value = texts.description;
  countTitle();
  growDescription();
}

function on(target: HTMLElement, type: string, listener: () => void): void {
  target.addEventListener(type, (event) => {
    event.preventDefault();
    listener();
  });
}

const countTitle = counted(title, find("new-count"));
const growDescription = growing(description);
on(signIn, "submit", startSession);
on(adding, "submit", add);
on(find("more"), "click", () => tasks?.more().catch(fail));
on(find("notice-close"), "click", () => (notice.hidden = true));
on(find("sign-out"), "click", () => {
  token.value = "";
  filters.reset();
  signOut();
});

const kept = sessionStorage.getItem("credentials");
if (kept) {
  ({ address: address.value, token: token.value } = JSON.parse(kept));
  startSession();
} else {
  signOut();
}
