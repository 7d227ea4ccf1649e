// What the page asks of its server: answers, streamed, and posts' cards.

export class ServerError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

const UNREACHABLE = "unreachable";
const KEY = "townsquare.key"; // kept until this tab is closed

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function request(address, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  try {
    return await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer.", UNREACHABLE);
  }
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  return new ServerError(body.error?.message ?? `The server answered ${response.status}.`, body.error?.code);
}

/** Yields each delta of the answer; the last one carries `checked`, `sentences`, `citations`, `as_of`, `found`. */
export async function* ask(model, messages, filters, signal) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, filters, stream: true }),
    signal,
  });
  if (!response.ok) throw await refused(response);
  for await (const event of events(response.body)) {
    if (event === "[DONE]") return;
    const body = JSON.parse(event);
    if (body.error) throw new ServerError(body.error.message, body.error.code);
    yield body.choices[0].delta;
  }
  throw new ServerError("The answer was broken off.", UNREACHABLE);
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    let read;
    try {
      read = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError("The answer was broken off.", UNREACHABLE);
    }
    if (read.done) return;
    const parts = (waiting + read.value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}

/** A post as it may be shown now, with its thread if wanted, or null where it no longer may. */
export async function post(uid, thread = false) {
  const response = await request(`/posts?uid=${encodeURIComponent(uid)}${thread ? "&thread=true" : ""}`);
  if (response.status === 404) return null;
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** Where a post's, an author's or a handle's posts stand, in figures. */
export async function lookup(name) {
  const response = await request(`/lookup?name=${encodeURIComponent(name)}`);
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** Tells what a reader thinks of an answer. */
export async function judge(judgement) {
  const body = JSON.stringify(judgement);
  const response = await request("/feedback", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (!response.ok) throw await refused(response);
}

/** What the owner's page shows now, as HTML. */
export async function overview() {
  const response = await request("/owner/now");
  if (!response.ok) throw await refused(response);
  return response.text();
}
