// "Am I in it?": figures and ids of a post, an author or a handle; never any words.

import { lookup, useKey } from "./server.js";

const by = (id) => document.getElementById(id);
const STATES = { live: "in use", suppressed: "held back", deleted: "deleted", tombstone: "deleted before it came" };

function line(term, text) {
  const [name, value] = [document.createElement("dt"), document.createElement("dd")];
  name.textContent = term;
  value.textContent = text;
  return [name, value];
}

function figures(counts, shown = (name) => name) {
  const held = Object.entries(counts ?? {}).filter(([, count]) => count);
  return held.length ? held.map(([name, count]) => `${count.toLocaleString("en")} ${shown(name)}`).join(", ") : "none";
}

function show(found) {
  by("told").textContent = found.known ? "Yes. This is what is here:" : "No: nothing here is of that name.";
  by("found").replaceChildren(...(found.known ? [
    ...line("Posts", figures(found.posts, (state) => STATES[state] ?? state)),
    ...line("Rows of copies made from them", figures(found.copies, (name) => `in ${name}`)),
    ...line("Models that learned from them", Object.keys(found.models_that_saw_them ?? {}).join(", ") || "none"),
    ...line("Takedowns", String(found.takedowns?.length ?? 0)),
  ] : []));
}

by("lookup").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (by("key").value.trim()) useKey(by("key").value.trim());
  by("told").textContent = "Looking …";
  by("found").replaceChildren();
  try {
    show(await lookup(by("name").value.trim()));
  } catch (error) {
    by("told").textContent = error.message;
    if (error.code === "invalid_api_key") by("key-line").hidden = false;
  }
});
