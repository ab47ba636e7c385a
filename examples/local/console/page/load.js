// Two hundred commands of twenty clients: each asks for a code, trades it for a token, creates an org and
// updates it seven times. A client that hears nothing good repeats its command under the same key.

import { accepted, ask, command, mayRepeat } from '/console/api.js';

const clients = 20;
const updates = 7;
const each = 3 + updates;
const atOnce = 5; // a browser opens six connections to a server, and the feed has one
const attempts = 4;
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// load runs all of it, reports its progress now and then, and returns the sums.
export async function load(report) {
  const began = performance.now();
  const sums = { all: clients * each, done: 0, accepted: 0, refused: 0, repeated: 0, skipped: 0 };
  const send = async (...request) => {
    const answer = await insist(sums, ...request);
    sums[accepted(answer) ? 'accepted' : 'refused']++;
    if (++sums.done % 10 === 0) report({ ...sums });
    return accepted(answer) ? answer.body : null;
  };
  const run = crypto.randomUUID().slice(0, 8);
  let next = 0;
  const work = async () => {
    for (let client = next++; client < clients; client = next++) {
      let left = each;
      await live((...request) => { left--; return send(...request); }, `client-${client}-${run}@example.com`);
      sums.skipped += left;
      sums.done += left;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { ...sums, ms: performance.now() - began };
}

// live is what one client does, as far as it gets.
async function live(send, to) {
  const requested = await send('POST', '/otp', { channel: 'email', to });
  if (!requested) return;
  await ask('GET', `/otp/${requested.challenge}`, { headers: { 'If-None-Match': `"${requested.version}"`, Prefer: 'wait=5' } });
  const box = await ask('GET', `/dev/outbox?to=${encodeURIComponent(to)}`);
  const message = box.body?.messages.at(-1);
  if (!message) return;
  const verified = await send('POST', '/otp/verify', { to, challenge: requested.challenge, code: message.code });
  if (!verified) return;
  const { token, subject } = verified;
  if (!await send('POST', '/orgs', { name: 'Acme', location: 'Berlin' }, { token })) return;
  for (let n = 1; n <= updates; n++) {
    await send('PUT', `/orgs/${subject}`, { name: 'Acme', location: `Street ${n}` }, { token });
  }
}

// insist repeats a command until there is an answer that says what became of it.
async function insist(sums, method, path, body, options) {
  const key = crypto.randomUUID();
  for (let n = 1; ; n++) {
    const answer = await command(method, path, body, { ...options, key });
    if (!mayRepeat(answer) || n === attempts) return answer;
    if (n === 1) sums.repeated++;
    await pause(250);
  }
}
