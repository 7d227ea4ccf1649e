// What the page asks of its server: answers, streamed, and posts' cards.

export class ServerError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

const UNREACHABLE = "unreachable";

async function request(address, options) {
  try {
    return await fetch(address, options);
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
export async function* ask(model, messages, signal) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true }),
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

/** A post as it may be shown now, or null where it no longer may. */
export async function post(uid) {
  const response = await request(`/posts?uid=${encodeURIComponent(uid)}`);
  if (response.status === 404) return null;
  if (!response.ok) throw await refused(response);
  return response.json();
}
