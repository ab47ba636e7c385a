// What the page knows is a left fold of the server's feed, as a view is one of a stream. EventSource
// reconnects by itself and says with Last-Event-ID where it was.

const maxCommits = 200;
const maxStreams = 100;

export const state = {
  boot: '', // which process the feed is of
  connected: false,
  switches: [], // what can be broken
  positions: {}, // and how it is now
  check: null,
  streams: new Map(), // name → row, oldest change first
  commits: new Map(), // ID → commit, oldest first
  polls: [],
  latest: null, // the commit that moved last
};

const folds = {
  hello(hello) {
    if (state.boot && state.boot !== hello.boot) location.reload(); // another process: nothing is as it was
    state.boot = hello.boot;
    state.switches = hello.switches;
    state.positions = hello.state;
    state.check = hello.check;
    state.polls = hello.polls;
    state.streams = new Map(hello.rows.reverse().map((row) => [row.stream, row]));
    state.commits = new Map();
  },
  switches(positions) { state.positions = positions; },
  check(check) { state.check = check; },
  polls(polls) { state.polls = polls; },
  row(row) {
    state.streams.delete(row.stream);
    state.streams.set(row.stream, row);
    trim(state.streams, maxStreams);
  },
  step(step) {
    const before = state.commits.get(step.commit) ?? newCommit(step);
    state.latest = foldStep(before, step);
    state.commits.set(step.commit, state.latest);
    trim(state.commits, maxCommits);
  },
};

function newCommit(step) {
  return { id: step.commit, stream: step.stream, version: step.version, status: 'pending', events: [], steps: [] };
}

// foldStep returns the commit after a step.
function foldStep(commit, step) {
  return { ...commit, ...step.stored, status: statusAfter(commit.status, step), steps: stepsAfter(commit.steps, step) };
}

const maxSteps = 20;

// A relay that gets no answer claims and publishes again and again: what is the same as one of the last two
// steps is counted, and not listed.
function stepsAfter(steps, step) {
  const same = (s) => s.step === step.step && s.outcome === step.outcome && s.by === step.by;
  const i = steps.findLastIndex((s, at) => at >= steps.length - 2 && same(s));
  if (i < 0) return [...steps, { ...step, times: 1 }].slice(-maxSteps);
  return steps.with(i, { ...steps[i], times: steps[i].times + 1 });
}

// What is settled or revoked stays so, whatever is reported late.
function statusAfter(status, { step, outcome }) {
  if (status === 'settled' || status === 'revoked') return status;
  if (step === 'append') return { done: 'pending', conflict: 'not stored', refused: 'not stored' }[outcome] ?? 'unknown';
  if (outcome !== 'done') return status;
  return { claim: 'claimed', settle: 'settled', revoke: 'revoked' }[step] ?? status;
}

// trim forgets what is oldest.
function trim(map, most) {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}

// follow folds the feed for ever, and calls changed soon after it has, once for many.
export function follow(changed) {
  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    setTimeout(() => { due = false; changed(); }, 40);
  };
  const source = new EventSource('/console/feed');
  source.onopen = () => { state.connected = true; soon(); };
  source.onerror = () => {
    state.connected = false;
    soon();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(changed), 2000); // it has given up
  };
  for (const [kind, fold] of Object.entries(folds)) {
    source.addEventListener(kind, (e) => { fold(JSON.parse(e.data)); soon(); });
  }
}
