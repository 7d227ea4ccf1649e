// The conversation: asked here, answered by the server, kept in this browser.

import { branched, every, load, save, switched, written } from "./keep.js";
import { ask, judge, post, useKey } from "./server.js";
import { REMOVED, Turn, showCard } from "./view.js";

const by = (id) => document.getElementById(id);
const model = document.body.dataset.model;
const cards = new Map(); // uid -> card, or null where the post was removed; absent: not known
const views = new Map(); // turn -> its view

let turns = load(); // answer: null or {text, sentences, citations: [{number, uid}], as_of, found}
let cleared = null;
let asking = null;
let editing = null;

function keep() {
  if (!save(turns)) say("This browser keeps nothing: the conversation ends with this page.");
}

function say(text) {
  by("said").textContent = text;
}

function show() {
  views.clear();
  by("conversation").replaceChildren(...turns.map(added));
  frame();
}

/** Shows every answer by what is now known of its posts. */
function refresh() {
  for (const turn of turns) {
    if (turn.answer) views.get(turn).done(turn.answer, cards);
    else if (turn !== asking?.turn) views.get(turn).failed("This question was not answered.");
  }
}

function frame() {
  by("empty").hidden = turns.length > 0;
  by("new").hidden = by("export").hidden = turns.length === 0;
  by("editing").hidden = !editing;
  by("cleared").hidden = !cleared;
  by("ask").hidden = Boolean(asking);
  by("stop").hidden = !asking;
}

function added(turn) {
  const view = new Turn(turn.question, {
    open,
    again: () => turn.answer ? branch(turn, turn.question) : answer(turn),
    edit: () => edit(turn),
    judged: (verdict) => opine(turn, view, verdict),
    way: (step) => go(turn, step),
  });
  const ways = turn.alts ?? [null];
  view.ways(ways.indexOf(null) + 1, ways.length);
  views.set(turn, view);
  return view.root;
}

function edit(turn) {
  if (asking) return;
  editing = turn;
  by("question").value = turn.question;
  frame();
  by("question").focus();
}

function endEdit() {
  editing = null;
  by("question").value = "";
  frame();
}

/** Asks another question, or the same again, in the place of an earlier one; the earlier way is kept. */
function branch(turn, question) {
  if (asking) return;
  turns = branched(turns, turn, question);
  keep();
  show();
  refresh();
  answer(turns.at(-1));
}

function go(turn, step) {
  if (asking) return;
  turns = switched(turns, turn, turn.alts.indexOf(null) + step);
  keep();
  show();
  refresh();
}

async function opine(turn, view, verdict) {
  const { sentences, citations } = turn.answer;
  const text = sentences.filter((sentence) => !sentence.removed).map((sentence) => sentence.text).join(" ");
  try {
    await judge({ question: turn.question, answer: text, uids: citations.map(({ uid }) => uid), verdict });
    view.opinion(verdict);
    say("Thank you: your opinion was kept.");
  } catch (error) {
    say(error.message);
  }
}

function filters() {
  const value = (id) => by(id).value.trim();
  const found = {};
  if (value("by-author")) found.authors = [/^@|:/.test(value("by-author")) ? value("by-author") : `@${value("by-author")}`];
  if (value("by-language")) found.languages = [value("by-language")];
  if (value("by-network")) found.networks = [value("by-network")];
  if (value("by-since")) found.since = value("by-since");
  if (value("by-until")) found.until = value("by-until");
  const count = Object.keys(found).length;
  by("narrowed").textContent = count ? `${count} on` : "";
  return found;
}

function exported() {
  const address = URL.createObjectURL(new Blob([written(turns, cards)], { type: "text/markdown" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "conversation.md";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Asks `turn` anew, with the answered turns before it as the conversation so far. */
async function answer(turn) {
  if (asking) return;
  asking = { turn, stop: new AbortController() };
  const view = views.get(turn);
  const before = turns.slice(0, turns.indexOf(turn)).filter((earlier) => earlier.answer);
  const messages = before.flatMap(({ question, answer: { text } }) => [
    { role: "user", content: question },
    { role: "assistant", content: text },
  ]);
  view.waiting();
  frame();
  say("Answering");
  try {
    for await (const delta of ask(model, [...messages, { role: "user", content: turn.question }], filters(), asking.stop.signal)) {
      if (delta.sentences) finish(turn, view, delta); // without scrolling: the reader is at the answer
      else following(() => view.piece(delta.content));
    }
  } catch (error) {
    if (error.code === "invalid_api_key") by("key").showModal();
    if (error.name === "AbortError") view.stopped();
    else following(() => view.failed(told(error)));
    say("The answer ended early");
  } finally {
    asking = null;
    frame();
    // On a phone the focus would bring up a keyboard over the answer.
    if (!matchMedia("(pointer: coarse)").matches) by("question").focus({ preventScroll: true });
  }
}

function finish(turn, view, delta) {
  delta.citations.forEach((card) => cards.set(card.uid, card));
  turn.answer = {
    text: delta.checked,
    sentences: delta.sentences,
    citations: delta.citations.map(({ number, uid }) => ({ number, uid })),
    as_of: delta.as_of,
    found: delta.found,
  };
  keep();
  view.done(turn.answer, cards);
  say(`Answered, with ${delta.citations.length} ${delta.citations.length === 1 ? "post" : "posts"} cited`);
}

function told(error) {
  if (error.code === "engine_away") return "The model is away at the moment. Your question is kept.";
  if (error.code === "rate_limit_exceeded") return "Many people are asking at the moment. Try again in a little while.";
  return error.message;
}

/** Runs a change of the conversation, and stays at its end if that is where the reader was. */
function following(change) {
  const page = document.documentElement;
  const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  change();
  if (atEnd) page.scrollTop = page.scrollHeight;
}

/** Shows a cited post as it stands now: it may have been removed since it was cited. */
async function open(citation) {
  try {
    cards.set(citation.uid, await post(citation.uid, true));
  } catch (error) {
    say(error.message);
    if (!cards.get(citation.uid)) return;
  }
  const card = cards.get(citation.uid);
  if (card === null && forget()) refresh();
  showCard(card, open);
}

/** Asks for every cited post again; what was removed goes from the page and from what this browser keeps. */
async function recheck() {
  const uids = new Set(every(turns).flatMap((turn) => turn.answer?.citations.map(({ uid }) => uid) ?? []));
  await Promise.all([...uids].map(async (uid) => {
    try {
      cards.set(uid, await post(uid));
    } catch {
      cards.delete(uid);
    }
  }));
  if (forget()) say(REMOVED);
  refresh();
}

/** Takes out each sentence that cites a removed post, for it may hold the post's words. True if any went. */
function forget() {
  let went = false;
  for (const { answer: given } of every(turns)) {
    if (!given) continue;
    const gone = new Set(given.citations.filter(({ uid }) => cards.get(uid) === null).map(({ number }) => number));
    const rests = (sentence) => !sentence.removed && sentence.citations.some((number) => gone.has(number));
    if (!given.sentences.some(rests)) continue;
    given.sentences = given.sentences.map((sentence) => rests(sentence) ? { removed: true, citations: [] } : sentence);
    given.text = given.sentences.filter((sentence) => !sentence.removed).map((sentence) => sentence.text).join(" ");
    went = true;
  }
  if (went) keep();
  return went;
}

function submit(question) {
  if (asking || !question.trim()) return;
  if (editing) {
    const turn = editing;
    endEdit();
    branch(turn, question.trim());
    return;
  }
  const turn = { question: question.trim(), answer: null };
  cleared = null;
  turns.push(turn);
  keep();
  by("conversation").append(added(turn));
  by("question").value = "";
  answer(turn);
  document.documentElement.scrollTop = document.documentElement.scrollHeight;
}

by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit(by("question").value);
});
by("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit(by("question").value);
});
document.querySelectorAll(".example").forEach((button) => {
  button.addEventListener("click", () => submit(button.textContent));
});
by("stop").addEventListener("click", () => asking?.stop.abort());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (editing) endEdit();
  asking?.stop.abort();
});
by("new").addEventListener("click", () => {
  asking?.stop.abort();
  editing = null;
  [cleared, turns] = [turns, []];
  keep();
  show();
  by("question").focus();
});
by("export").addEventListener("click", exported);
by("leave").addEventListener("click", endEdit);
by("narrow").addEventListener("input", filters);
by("narrow").addEventListener("submit", (event) => event.preventDefault());
by("clear").addEventListener("click", () => {
  by("narrow").reset();
  filters();
});
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key-text").value.trim());
  by("key-text").value = "";
  by("key").close();
  const last = turns.at(-1);
  if (last && !last.answer) answer(last);
  else recheck();
});
by("undo").addEventListener("click", () => {
  [turns, cleared] = [cleared, null];
  keep();
  show();
  refresh();
});
by("card").querySelector(".close").addEventListener("click", () => by("card").close());
by("card").addEventListener("click", (event) => {
  if (event.target === by("card")) by("card").close();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !asking) recheck();
});

show();
recheck();
