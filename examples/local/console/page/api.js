// The page is a client of the API like any other. What it knows of itself is here.

export const me = { to: '', challenge: '', message: null, token: '', id: '', version: 0, profile: null };
export const answers = []; // newest first

const maxAnswers = 5;
let changed = () => {};
export const onAnswer = (f) => { changed = f; };

// ask sends one request and returns what came of it. Status 0 means that no answer came.
export async function ask(method, path, { body, token, headers = {} } = {}) {
  const began = performance.now();
  const answer = { method, path, status: 0, text: '', etag: '', body: null, headers: {} };
  try {
    const response = await fetch(path, {
      method,
      headers: {
        ...(body && { 'Content-Type': 'application/json' }),
        ...(token && { Authorization: `Bearer ${token}` }),
        ...headers,
      },
      body: body && JSON.stringify(body),
      cache: 'no-store',
    });
    answer.status = response.status;
    answer.text = response.statusText;
    answer.etag = response.headers.get('ETag') ?? '';
    answer.body = await response.json().catch(() => null);
  } catch {
    answer.text = 'No answer: the connection broke';
  }
  answer.ms = Math.round(performance.now() - began);
  return answer;
}

export const accepted = (answer) => answer.status >= 200 && answer.status < 300;

// Whoever hears nothing, or that it did not work out now, may send the same again under the same key.
export const mayRepeat = (answer) => answer.status === 0 || answer.status === 503 || answer.status === 409;

// command sends a command that happens once, however often it is sent.
export const command = (method, path, body, options = {}) => ask(method, path, {
  ...options, body, headers: { 'Idempotency-Key': options.key ?? crypto.randomUUID(), ...options.headers },
});

// tell does the same for the visitor, who sees the answer.
export async function tell(what, method, path, body, options = {}) {
  const key = options.key ?? crypto.randomUUID();
  const answer = await command(method, path, body, { ...options, key });
  const again = mayRepeat(answer) && (() => tell(`${what}, sent again`, method, path, body, { ...options, key }));
  Object.assign(answer, { what, again, press: options.press, at: new Date(), number: (answers[0]?.number ?? 0) + 1 });
  answers.unshift(answer);
  answers.length = Math.min(answers.length, maxAnswers);
  if (accepted(answer)) options.then?.(answer.body);
  changed();
  return answer;
}

// requestCode asks for a code, and reads it in the outbox when it was sent.
export async function requestCode(channel, to) {
  const answer = await tell('Request a code', 'POST', '/otp', { channel, to }, {
    then: (body) => Object.assign(me, { to, challenge: body.challenge, message: null }),
  });
  if (accepted(answer)) await readOutbox(to, answer.body);
  return answer;
}

// readOutbox waits until something newer is known of the code than that it was requested.
export async function readOutbox(to, { challenge, version }) {
  await ask('GET', `/otp/${challenge}`, { headers: { 'If-None-Match': `"${version}"`, Prefer: 'wait=5' } });
  const box = await ask('GET', `/dev/outbox?to=${encodeURIComponent(to)}`);
  const message = box.body?.messages.at(-1);
  if (to === me.to) me.message = message ?? null;
  changed();
  return message;
}

export const verifyCode = (code) => tell('Verify the code', 'POST', '/otp/verify', { to: me.to, challenge: me.challenge, code }, {
  then: ({ token, subject }) => Object.assign(me, { token, id: subject, version: 0, profile: null }),
});

const remember = ({ name, location, description, version }) => {
  if (version >= me.version) Object.assign(me, { version, profile: { name, location, description } });
};

export const createOrg = (profile) => tell('Create the org', 'POST', '/orgs', profile, { token: me.token, then: remember });

export const updateOrg = (profile, match) => tell('Update the org', 'PUT', `/orgs/${me.id}`, profile, {
  token: me.token, then: remember, headers: match ? { 'If-Match': `"${match}"` } : {},
});

// signUp is all of it: the visitor has an org afterwards.
export async function signUp() {
  const to = `guest-${crypto.randomUUID().slice(0, 8)}@example.com`;
  const requested = await requestCode('email', to);
  if (!accepted(requested) || !me.message) return;
  const verified = await verifyCode(me.message.code);
  if (accepted(verified)) await createOrg({ name: 'Acme', location: 'Berlin', description: '' });
}

const places = ['Lisbon', 'Oslo', 'Vienna', 'Tallinn', 'Porto', 'Bergen', 'Graz', 'Riga'];
let moves = 0;

// move is a command that always changes something.
export async function move(press, match) {
  const location = `${places[moves % places.length]} ${++moves}`;
  return tell(`Move to ${location}`, 'PUT', `/orgs/${me.id}`, { ...me.profile, location }, {
    token: me.token, then: remember, press, headers: match ? { 'If-Match': `"${match}"` } : {},
  });
}
