// The owner's page: what stands in it is asked for with a key where the server wants one, and asked anew each minute.

import { overview, useKey } from "./server.js";

const MINUTE = 60_000;
const by = (id) => document.getElementById(id);

async function show() {
  try {
    const made = new DOMParser().parseFromString(await overview(), "text/html"); // in which no script runs
    by("now").replaceChildren(...made.body.children);
    by("told").textContent = "";
    by("key-form").hidden = true;
  } catch (error) {
    by("told").textContent = error.message;
    if (error.code === "invalid_api_key" || error.code === "insufficient_scope") {
      by("now").replaceChildren();
      by("key-form").hidden = false;
      by("key").focus();
    }
  }
}

by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key").value = "";
  show();
});
by("again").addEventListener("click", show);
setInterval(() => {
  if (!document.hidden && by("key-form").hidden) show();
}, MINUTE);
show();
