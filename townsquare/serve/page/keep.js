// The conversation as this browser keeps it: questions, answers without any post's text, and other ways it went.
//
// A turn is {question, answer, alts?}. Where a question was changed or asked again, `alts` lists the ways the
// conversation went from there, each the turns from that one on; the way that is shown is null in it.

const KEPT = "townsquare.conversation";

export function load() {
  try {
    return whole(JSON.parse(localStorage.getItem(KEPT)));
  } catch {
    return [];
  }
}

/** False where this browser keeps nothing. */
export function save(turns) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(turns));
    return true;
  } catch {
    return false;
  }
}

function whole(kept) {
  const fit = (answer) => Array.isArray(answer?.sentences) && Array.isArray(answer?.citations);
  return kept
    .filter((turn) => typeof turn.question === "string")
    .map(({ question, answer, alts }) => {
      const turn = { question, answer: fit(answer) ? answer : null };
      if (Array.isArray(alts)) turn.alts = alts.map((way) => way === null ? null : whole(way));
      if (turn.alts?.filter((way) => way === null).length !== 1 || turn.alts.some((way) => way?.length === 0)) delete turn.alts;
      return turn;
    });
}

/** Every turn, of every way. */
export function every(turns) {
  return turns.flatMap((turn) => [turn, ...(turn.alts ?? []).filter(Boolean).flatMap(every)]);
}

/** The conversation with another question in the place of `turn`: what was there stays as another way. */
export function branched(turns, turn, question) {
  const at = turns.indexOf(turn);
  const alts = turn.alts ?? [null];
  delete turn.alts;
  alts[alts.indexOf(null)] = turns.slice(at);
  const next = { question, answer: null, alts: [...alts, null] };
  return [...turns.slice(0, at), next];
}

/** The conversation along the way number `way` from `turn` on. */
export function switched(turns, turn, way) {
  const at = turns.indexOf(turn);
  const alts = turn.alts;
  delete turn.alts;
  alts[alts.indexOf(null)] = turns.slice(at);
  const shown = alts[way];
  alts[way] = null;
  shown[0].alts = alts;
  return [...turns.slice(0, at), ...shown];
}

/** The conversation as a text to keep: questions, answers, and where the cited posts stand, not what they say. */
export function written(turns, cards) {
  const parts = turns.map(({ question, answer }) => {
    if (!answer) return `## ${question}\n\nNot answered.`;
    const said = answer.sentences.filter((sentence) => !sentence.removed);
    const text = said.map((one) => [one.text, ...one.citations.map((number) => `[${number}]`)].join(" ")).join(" ");
    const sources = answer.citations.map(({ number, uid }) => `[${number}] ${cards.get(uid)?.url ?? uid}`);
    return [`## ${question}`, text, sources.join("\n"), answer.as_of ? `As of ${answer.as_of}.` : ""].filter(Boolean).join("\n\n");
  });
  return `# A conversation with townsquare\n\n${parts.join("\n\n")}\n`;
}
