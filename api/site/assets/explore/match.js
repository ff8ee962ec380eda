// "Have we recorded this?": compare a pasted text with the claims, one statement a line.

import { Problem } from "./api.js";
import { counted, joined, make, problemSection, words } from "./page.js";
import { statementItem } from "./words.js";

const MAX_LINES = 100;
/** A longer line is cut; these are code points, which the API counts. */
const MAX_LINE = 10_000;
/** So many matches are shown with their sources and responses, which one more request brings. */
const MAX_SHOWN = 50;

// The text stays here when the form is sent, and never stands in the address.
let pasted = "";
/** Whether the reader has just sent the form: coming back to this page sends nothing. */
let isSent = false;

export default async function show({ api }) {
  const lines = isSent ? pasted.split("\n").map((line) => line.trim()).filter(Boolean) : [];
  isSent = false;
  return {
    title: "Have we recorded this?",
    content: [
      make("h1", {}, "Have we recorded this?"),
      make("p.standfirst", {}, "Paste what somebody said, one statement a line. The claims that may already say so are listed below it."),
      make("form", { action: "/explore/match", submit: () => { isSent = true; } },
        make("label", { for: "pasted" }, "The text"),
        make("textarea", { id: "pasted", rows: "6", maxlength: "100000", input: (event) => { pasted = event.target.value; } }, pasted),
        make("p.buttons", {}, make("button", {}, "Look it up"))),
      lines.length > 0 && (await answers(api, lines)),
    ],
  };
}

/** Look the lines up; what the API refuses is said here, so that the form stays above it. */
async function answers(api, lines) {
  try {
    return await lookUp(api, lines);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return problemSection(error.document);
  }
}

async function lookUp(api, lines) {
  const texts = lines.slice(0, MAX_LINES).map((line) => ({ text: [...line].slice(0, MAX_LINE).join("") }));
  const { matches } = await api.post("/v1/claims/match", { texts, limit: 5 });
  const ids = [...new Set(matches.flatMap(({ items }) => items.map(({ record }) => record.id)))].slice(0, MAX_SHOWN);
  const query = ids.map((id) => `id__in=${id}`).join("&");
  const { included } = ids.length ? await api.get(`/v1/claims?${query}&limit=${MAX_SHOWN}&expand=sources,denials`) : { included: { sources: {}, denials: {} } };
  return [
    matches.map((match, index) => make("section.match", {}, make("h2", {}, "“", words(texts[index].text), "”"),
      match.items.length > 0 && make("p.aside", {}, `${counted(match.items.length, "claim")} may say this, the most alike first.`),
      match.complete ? null : make("p.aside", {}, "There was no time left to look this one up: send it again, with fewer others."),
      match.items.length ? make("ol.records", {}, match.items.map((item) => found(item, included))) : make("p.aside", {}, "No claim says this. It is not recorded, or only in other words."))),
    lines.some((line) => [...line].length > MAX_LINE) && make("p.aside", {}, "Of a longer line, the first 10,000 characters were looked up."),
    lines.length > MAX_LINES && make("p.aside", {}, `The first ${MAX_LINES} lines were looked up.`),
  ];
}

function found({ score, why, record }, { sources, denials }) {
  const answers = Object.values(denials).filter((denial) => denial.targets.some((target) => target.claim_id === record.id)).slice(0, 2);
  const item = statementItem(record, "claim", sources, answers);
  const reasons = [...new Set([...why.names, ...why.figures, ...why.words])];
  item.prepend(make("p.kicker", {}, make("meter", { min: "0", max: "1", value: score, "aria-label": "How much of the text the claim has" }), ` ${Math.round(score * 100)} % of the text`));
  item.append(make("p.aside", {}, "In common: ", joined(reasons.slice(0, 12).map((reason) => words(reason)), ", ")));
  return item;
}
