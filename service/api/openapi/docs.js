"use strict";

// Follows the system between light and dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const Plugin = (system) => {
  const { createElement, useState } = system.React;
  return {
    wrapComponents: {
      // The documented problems of an operation are hidden until a button below the answer shows them.
      responses: (Responses) => (props) => {
        const [open, setOpen] = useState(false);
        const codes = props.responses.keySeq().filter((code) => code >= "4").join(", ");
        const toggle = { type: "button", className: "btn problems-toggle", "aria-expanded": open };
        return createElement(
          "div",
          { className: open ? "" : "problems-folded" },
          createElement(Responses, props),
          codes &&
            createElement("button", { ...toggle, onClick: () => setOpen(!open) }, `${open ? "Hide" : "Show"} problems: ${codes}`),
        );
      },
      // Text, because a link may not be inside the button that opens the operation.
      DeepLink: () => ({ text }) => createElement("span", null, text),
    },
  };
};

// Swagger UI leaves some controls without a name, which screen readers then read as "button" or "combo box".
const NAMES = {
  ".parameters select": (select) => select.closest("tr").dataset.paramName,
  ".examples-select-element": () => "Example",
  ".content-type": () => "Media type",
  ".body-param__text": () => "Request body",
  ".information-container": () => "About",
  ".modal-ux": () => "Authorize",
  ".close-modal": () => "Close",
  ".responses-table": (table) => `${table.matches(".live-responses-table") ? "Answer" : "Responses"} ${table.id}`,
};
const ROLES = { ".information-container": "region", ".modal-ux": "dialog" };
const name = () => {
  for (const [selector, text] of Object.entries(NAMES)) {
    for (const element of document.querySelectorAll(`${selector}:not([aria-label])`)) {
      element.setAttribute("aria-label", text(element));
    }
  }
  for (const [selector, role] of Object.entries(ROLES)) document.querySelector(selector)?.setAttribute("role", role);
  for (const code of document.querySelectorAll("pre.microlight")) code.tabIndex = 0; // so that the keyboard scrolls it
  document.querySelector(".modal-btn.authorize")?.removeAttribute("aria-label"); // its text says it
};
new MutationObserver(name).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null, // otherwise it would send the document to swagger.io
  plugins: [Plugin],
});
