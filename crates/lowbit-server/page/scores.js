// Two models' scores of the same tokens, side by side. Nothing here touches the page.

/** Factors between two probabilities from which on a token is marked, stronger with each. */
export const FACTORS = [2, 4, 16];
/** What stands for the logarithm of a probability of zero in sums. */
const LOWEST = -100;

/**
 * `left` and `right` are lists of the server (`tokens`, `token_logprobs`, `top_logprobs`) for the same ids, of which those
 * from `start` on are compared. Gives
 *   tokens:  [{ text, left, right, leftTop, rightTop, level, more, differs }]: log-probabilities; the most probable tokens
 *            [{ text, logprob }], best first; `level` 0 (not marked) to 3; whether the right model finds it more probable;
 *            whether the most probable tokens are different ones
 *   summary: { count, marked, mean, same }: the mean of right less left, the share of equal most probable tokens
 */
export function compared(left, right, start) {
  const tokens = left.tokens.slice(start).map((text, offset) => {
    const place = start + offset;
    const [here, there] = [left, right].map(({ token_logprobs }) => Math.max(token_logprobs[place] ?? 0, LOWEST));
    const [leftTop, rightTop] = [left, right].map(({ top_logprobs }) => sorted(top_logprobs[place]));
    const differs = leftTop[0]?.text !== rightTop[0]?.text;
    return { text, left: here, right: there, leftTop, rightTop, level: level(here - there), more: there > here, differs };
  });
  const count = tokens.length;
  const mean = tokens.reduce((sum, token) => sum + token.right - token.left, 0) / Math.max(count, 1);
  const same = tokens.filter(({ differs }) => !differs).length / Math.max(count, 1);
  const marked = tokens.filter(({ level, differs }) => level > 0 || differs).length;
  return { tokens, summary: { count, marked, mean, same } };
}

function level(difference) {
  return FACTORS.filter((factor) => Math.abs(difference) >= Math.log(factor)).length;
}

function sorted(top) {
  const list = Object.entries(top ?? {}).map(([text, logprob]) => ({ text, logprob }));
  return list.sort((a, b) => b.logprob - a.logprob);
}

/** A probability for people. */
export function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  if (share < 0.01) return "< 0.01 %";
  return `${share < 1 ? share.toFixed(2) : share.toFixed(1)} %`;
}
