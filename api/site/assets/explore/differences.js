// Compare two texts word by word (E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986).

/** Texts that differ in more words than this are shown as one large change. */
const MAX_EDITS = 600;
/** So are texts for which this many words have been compared. */
const MAX_STEPS = 5_000_000;

/** Cut a text into words and what stands between them. */
const pieces = (text) => text.match(/[\p{L}\p{M}\p{N}]+|\s+|[^\p{L}\p{M}\p{N}\s]/gu) ?? [];

/** Compare two texts: `[{ kind: "same" | "removed" | "added", text }]`, in order. */
export function differences(before, after) {
  if (before === after) return before ? [{ kind: "same", text: before }] : [];
  const [old, now] = [pieces(before), pieces(after)];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  return gathered([
    ...marked("same", old.slice(0, start)),
    ...compared(old.slice(start, old.length - end), now.slice(start, now.length - end)),
    ...marked("same", old.slice(old.length - end)),
  ]);
}

const marked = (kind, texts) => (texts.length ? [{ kind, text: texts.join("") }] : []);

function compared(old, now) {
  const steps = walk(old, now);
  if (steps === null) return [...marked("removed", old), ...marked("added", now)];
  // Back from the end: each step is an edit, and the equal words behind it.
  const found = [];
  let [x, y] = [old.length, now.length];
  for (let edits = steps.length - 1; edits >= 0; edits -= 1) {
    const reached = steps[edits];
    const diagonal = x - y;
    const isAdded = edits > 0 && (diagonal === -edits || (diagonal !== edits && reached.get(diagonal - 1) < reached.get(diagonal + 1)));
    const fromX = edits === 0 ? 0 : isAdded ? reached.get(diagonal + 1) : reached.get(diagonal - 1) + 1;
    if (x > fromX) found.push({ kind: "same", text: old.slice(fromX, x).join("") });
    y -= x - fromX;
    x = fromX;
    if (edits === 0) break;
    if (isAdded) found.push({ kind: "added", text: now[(y -= 1)] });
    else found.push({ kind: "removed", text: old[(x -= 1)] });
  }
  return found.reverse();
}

/** Find the fewest edits: for each number of edits, how far each diagonal was reached before; null if there are too many. */
function walk(old, now) {
  let reached = new Map([[1, 0]]);
  const steps = [];
  let compared = 0;
  for (let edits = 0; edits <= MAX_EDITS; edits += 1) {
    steps.push(reached);
    const further = new Map(reached);
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const isAdded = diagonal === -edits || (diagonal !== edits && reached.get(diagonal - 1) < reached.get(diagonal + 1));
      let x = isAdded ? reached.get(diagonal + 1) : reached.get(diagonal - 1) + 1;
      while (x < old.length && x - diagonal < now.length && old[x] === now[x - diagonal]) {
        x += 1;
        if ((compared += 1) > MAX_STEPS) return null;
      }
      further.set(diagonal, x);
      if (x >= old.length && x - diagonal >= now.length) return steps;
    }
    reached = further;
  }
  return null;
}

/** Join neighbours of one kind, and put what was removed before what was added in its place. */
function gathered(parts) {
  const all = [];
  let removed = "";
  let added = "";
  const flush = () => {
    if (removed) all.push({ kind: "removed", text: removed });
    if (added) all.push({ kind: "added", text: added });
    removed = added = "";
  };
  for (const { kind, text } of parts) {
    if (kind === "removed") removed += text;
    else if (kind === "added") added += text;
    // A blank between two changes belongs to both, so that a new sentence reads as one.
    else if (text === " " && (removed || added)) { removed += " "; added += " "; }
    else {
      flush();
      if (all.at(-1)?.kind === "same") all.at(-1).text += text;
      else all.push({ kind: "same", text });
    }
  }
  flush();
  return all;
}
