// The input fields for a title and a description: a counter of characters, and a height that follows the text.

const TITLE_LENGTH = 500;
const COUNTED_FROM = 450;

/** Shows in `counter` how long the title is, as soon as it comes near the limit. */
export function counted(title: HTMLInputElement, counter: HTMLElement): () => void {
  const count = () => {
    const length = [...title.value].length; // characters, as the service counts; `value.length` counts an emoji as two
    counter.textContent = length < COUNTED_FROM ? "" : `${length} of ${TITLE_LENGTH}`;
    counter.classList.toggle("too-long", length > TITLE_LENGTH);
  };
  title.addEventListener("input", count);
  return count;
}

/** Keeps a field as high as its text. */
export function growing(field: HTMLTextAreaElement): () => void {
  const grow = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  };
  field.addEventListener("input", grow);
  return grow;
}
