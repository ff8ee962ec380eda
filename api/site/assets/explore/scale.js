// Find the place of a number on a line, even or in steps of ten.

// A line in even steps can't show numbers apart of which the largest is more than this times the smallest.
const MAX_EVEN = 100;

/** Can every number stand on a scale in steps of ten? Zero and what is below it can't. */
export const isPositive = (numbers) => numbers.every((number) => number > 0);

/** Choose the kind of scale for some numbers, if the reader has not. */
export function kindOf(numbers, wanted) {
  if (!isPositive(numbers)) return "even";
  if (wanted === "even" || wanted === "log") return wanted;
  return Math.max(...numbers) > MAX_EVEN * Math.min(...numbers) ? "log" : "even";
}

/** Make a scale: `at` gives the place of a number between `left` and `right`, and `ticks` are round numbers on it. */
export function scale(numbers, kind, unit, left, right) {
  const [low, high] = kind === "log" ? stepsAround(numbers) : evenAround(numbers, unit);
  const bent = kind === "log" ? Math.log10 : (number) => number;
  const share = (number) => (bent(number) - bent(low)) / (bent(high) - bent(low));
  const wanted = Math.max(2, Math.floor((right - left) / 90));
  return {
    kind, low, high,
    at: (number) => left + share(number) * (right - left),
    ticks: (kind === "log" ? stepTicks : evenTicks)(low, high, wanted),
  };
}

// An even scale begins at zero, so that a figure twice as high stands twice as far from it.
function evenAround(numbers, unit) {
  const low = Math.min(0, ...numbers);
  const high = Math.max(0, ...numbers);
  if (unit === "percent" && low === 0 && high <= 100) return [0, 100];
  if (low === high) return [0, 1];
  return [low * 1.2, high * 1.2];
}

function stepsAround(numbers) {
  return [10 ** Math.floor(Math.log10(Math.min(...numbers))), Math.max(...numbers) * 2];
}

function evenTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let index = Math.ceil(low / step); index * step <= high && ticks.length <= 2 * wanted; index += 1) ticks.push(index * step);
  return ticks;
}

function stepTicks(low, high, wanted) {
  const powers = Math.ceil(Math.log10(high / low));
  const every = Math.ceil(powers / wanted);
  const ticks = [];
  for (let power = 0; low * 10 ** power <= high && power <= powers; power += every) ticks.push(Number((low * 10 ** power).toPrecision(1)));
  return ticks;
}
