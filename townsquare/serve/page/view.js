// How turns and posts look. Everything that people or the model wrote goes in as textContent, never as HTML.

const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
const NETWORKS = { x: "X", bsky: "Bluesky", masto: "Mastodon", reddit: "Reddit", hn: "Hacker News", table: "a table" };
export const REMOVED = "This post was removed.";
const UNCHECKED = "The server could not be asked for this post.";

function copy(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export function author(card) {
  return card.author_handle ? `@${card.author_handle.replace(/^@/, "")}` : card.author;
}

function time(format, iso) {
  const made = element("time", "", format.format(new Date(iso)));
  made.dateTime = iso;
  return made;
}

/** One question and its answer. `open(citation)` is called for a mark or a source that was chosen. */
export class Turn {
  constructor(question, { open, again, edit, judged, way }) {
    this.open = open;
    this.root = copy("turn");
    this.find(".asked").textContent = question;
    const does = { ".again": again, ".anew": again, ".edit": edit, ".back": () => way(-1), ".forth": () => way(1) };
    for (const verdict of ["good", "bad"]) does[`.${verdict}`] = () => judged(verdict);
    for (const [selector, act] of Object.entries(does)) this.find(selector).addEventListener("click", act);
  }

  /** Shows that this is way `number` of `count` that the conversation went from here. */
  ways(number, count) {
    this.find(".ways").hidden = count < 2;
    this.find(".way").textContent = `${number} of ${count}`;
    this.find(".back").disabled = number === 1;
    this.find(".forth").disabled = number === count;
  }

  opinion(verdict) {
    for (const name of ["good", "bad"]) this.find(`.${name}`).setAttribute("aria-pressed", String(name === verdict));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  waiting() {
    this.find(".answer").replaceChildren(element("span", "looking", "Looking through the posts"));
    this.find(".answer").hidden = false;
    this.find(".failure").hidden = true;
    this.find(".actions").hidden = true;
    this.root.setAttribute("aria-busy", "true");
    this.text = null;
  }

  piece(content) {
    if (!this.text) {
      this.text = document.createTextNode("");
      this.find(".answer").replaceChildren(this.text);
      this.find(".answer").classList.add("streaming");
    }
    this.text.appendData(content);
  }

  settle() {
    this.root.removeAttribute("aria-busy");
    this.find(".actions").hidden = false;
    for (const selector of [".anew", ".good", ".bad"]) this.find(selector).hidden = true;
    this.find(".answer").classList.remove("streaming");
  }

  failed(message) {
    this.settle();
    if (!this.text) this.find(".answer").hidden = true;
    this.find(".failure p").textContent = message;
    this.find(".failure").hidden = false;
  }

  stopped() {
    this.settle();
    if (!this.text) this.find(".answer").replaceChildren();
    this.notice("You stopped this answer; it was not checked.");
  }

  notice(text) {
    this.find(".notice").textContent = text;
    this.find(".notice").hidden = !text;
  }

  /** The checked answer. `cards` maps uids to a card, to null (removed), or to nothing (could not be asked). */
  done(answer, cards) {
    this.settle();
    for (const selector of [".anew", ".good", ".bad"]) this.find(selector).hidden = false;
    const own = answer.sentences.some((sentence) => !sentence.supported && !sentence.removed);
    this.notice("");
    this.find(".answer").classList.toggle("nothing", !answer.found);
    this.find(".answer").hidden = answer.sentences.length === 0;
    this.find(".answer").replaceChildren(...answer.sentences.flatMap((sentence) => this.sentence(sentence, answer, cards)));
    this.find(".legend").hidden = !own || !answer.found;
    this.find(".sources").hidden = answer.citations.length === 0;
    this.find(".sources ol").replaceChildren(...answer.citations.map((citation) => this.source(citation, cards)));
    this.find(".asof").hidden = !answer.as_of;
    if (answer.as_of) this.find(".asof").replaceChildren("As of ", time(DAY, answer.as_of), ", the newest post here.");
  }

  sentence(sentence, answer, cards) {
    if (sentence.removed) return [element("span", "removed", "[A sentence went with a post that was removed.]"), " "];
    const kind = sentence.supported ? (sentence.quoted ? "quoted" : "supported") : "own";
    const cited = answer.citations.filter((citation) => sentence.citations.includes(citation.number));
    const marks = cited.map((citation) => this.mark(citation, cards.get(citation.uid)));
    // The last word and its marks stay on one line, unless the word is too long for one.
    const [, head, tail] = /^(.*?)(\S{0,20})$/s.exec(sentence.text);
    const end = element("span", "together", tail);
    end.append(...marks);
    const made = element("span", answer.found ? kind : "", head);
    made.append(end);
    if (kind === "own" && answer.found) made.append(element("span", "unseen", " (the model’s own words)"));
    return [made, " "];
  }

  mark(citation, card) {
    const made = element("button", "mark", String(citation.number));
    made.type = "button";
    made.setAttribute("aria-label", `Post ${citation.number}${card ? `, by ${author(card)}` : ""}`);
    made.addEventListener("click", () => this.open(citation));
    return made;
  }

  source(citation, cards) {
    const made = copy("source");
    const card = cards.get(citation.uid);
    const fill = (selector, ...content) => made.querySelector(selector).replaceChildren(...content);
    fill(".number", String(citation.number));
    if (card) {
      fill(".who", author(card));
      if (card.created_at) fill(".when", time(DAY, card.created_at));
      fill(".snippet", card.text);
    } else {
      made.querySelector("button").disabled = card === null;
      fill(".snippet", card === null ? REMOVED : UNCHECKED);
    }
    made.querySelector("button").addEventListener("click", () => this.open(citation));
    return made;
  }
}

/** The dialog that shows one post whole, amid its thread; null is a removed one. `open` is called for another. */
export function showCard(card, open) {
  const dialog = document.getElementById("card");
  const find = (selector) => dialog.querySelector(selector);
  find("h2").textContent = card ? author(card) : "Not here any more";
  find(".text").textContent = card ? card.text : REMOVED;
  const network = card ? (NETWORKS[card.network] ?? card.network) : "";
  find(".when").replaceChildren(...(card?.created_at ? [time(MINUTE, card.created_at), ` UTC, from ${network}`] : [network && `From ${network}`]));
  const link = card && /^https?:\/\//i.test(card.url ?? "") ? card.url : null;
  find(".out").hidden = !link;
  if (link) find(".out").href = link;
  else find(".out").removeAttribute("href");
  for (const side of ["before", "after"]) {
    const posts = card?.[side] ?? [];
    find(`.${side}`).hidden = posts.length === 0;
    find(`.${side} ol`).replaceChildren(...posts.map((near) => {
      const button = element("button", "near", "");
      button.type = "button";
      button.append(element("b", "", author(near)), " ", element("span", "", near.text));
      button.addEventListener("click", () => open(near));
      const made = document.createElement("li");
      made.append(button);
      return made;
    }));
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
