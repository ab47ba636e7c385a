// How things are said.

export const short = (name) => {
  const [category, id = ''] = name.split(/\/(.*)/s);
  return id.length > 14 ? `${category}/${id.slice(0, 5)}…${id.slice(-4)}` : name;
};

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hour12: false });

export const duration = (ms) => (ms < 1000 ? `${Math.max(0, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

export const json = (value) => JSON.stringify(value, null, 2);

const said = {
  append: { done: 'stored', conflict: 'not stored: the version is taken', refused: 'not stored: refused', unknown: 'storing: no answer' },
  publish: { done: 'published', refused: 'refused by the broker', unknown: 'no answer from the broker' },
  settle: { done: 'settled' },
  claim: { done: 'claimed', conflict: 'not claimed: somebody was faster' },
  revoke: { done: 'revoked', conflict: 'not revoked: it is too late' },
  view: { done: 'in the view', failed: 'the projection failed', conflict: 'the projection tries again' },
};

// who says who took a step, where that was not to be expected.
function who({ step, outcome, by }) {
  if (step === 'answer' || step === 'view' || by === 'its author') return '';
  if (step === 'publish' && outcome !== 'done') return ` when asked by ${by}`;
  return ` by ${by}`;
}

// stepWords says a step of a commit: what, by whom, and how often.
export function stepWords(s) {
  const what = s.step === 'answer' ? `the caller is told ${s.by}` : said[s.step]?.[s.outcome] ?? `${s.step}: ${s.outcome}`;
  return what + who(s) + (s.times > 1 ? `, ${s.times} times` : '');
}

// stepMood tells good news from bad.
export const stepMood = ({ step, outcome, by }) => {
  if (step === 'answer') return /^2/.test(by) ? 'plain' : 'bad';
  if (outcome !== 'done' || step === 'revoke') return 'bad';
  return step === 'claim' ? 'rescue' : 'good';
};
