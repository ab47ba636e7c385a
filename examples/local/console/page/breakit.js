import { html, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { answers, ask, me, move, signUp } from '/console/api.js';
import { Told } from '/console/answers.js';

// One after the other: whoever goes through the positions by the keyboard stays at the last.
let turn = Promise.resolve();
const post = (body) => { turn = turn.then(() => ask('POST', '/console/switches', { body })); };
const throwSwitch = (name, to) => post({ switch: name, to });
const mend = () => post({});

// broken returns the switches that are not as they should be, with the position that they are in.
const broken = () => state.switches
  .map((s) => ({ ...s, at: s.positions.find((p) => p.name === state.positions[s.name]) }))
  .filter((s) => s.at && s.at !== s.positions[0]);

// BreakIt has a switch for everything that goes wrong in the end, somewhere.
export function BreakIt() {
  const [busy, setBusy] = useState(false);
  const [pressed, setPressed] = useState(0);
  const during = (work) => async () => { setBusy(true); try { await work(); } finally { setBusy(false); } };
  // So many commands at once, and all that is said to them is told together.
  const press = (many, match) => during(() => {
    setPressed(pressed + 1);
    return Promise.all(Array.from({ length: many }, () => move(pressed + 1, match)));
  });
  const faults = broken();
  const ready = me.version > 0;
  return html`
    <section id="break" aria-labelledby="break-title" aria-busy=${busy}>
      <h2 id="break-title">Break it</h2>
      <p class="lead">Throw a switch, send a command, and watch what the caller is told and how the commit is finished.</p>
      <p role="status" class="faults" data-broken=${faults.length > 0}>
        ${faults.length === 0 ? 'Everything works.' : `Broken: ${faults.map((s) => `${s.title.toLowerCase()} ${s.at.label}`).join('; ')}.`}
      </p>
      <p class="buttons">
        ${!ready && html`<button type="button" disabled=${busy} onClick=${during(signUp)}>Get an org first</button>`}
        <button type="button" class="primary" disabled=${busy || !ready} onClick=${press(1)}>Send a command</button>
        <button type="button" disabled=${busy || !ready} onClick=${press(2)}>Send two at once</button>
        <button type="button" disabled=${busy || !ready} onClick=${press(2, me.version)}>Send two with If-Match</button>
        <button type="button" disabled=${faults.length === 0} onClick=${mend}>Mend everything</button>
      </p>
      <div class="told-all">
        ${pressed === 0 && html`<p class="small">What the caller is told will be here.</p>`}
        ${answers.filter((a) => a.press && a.press === pressed).map((answer) => html`<${Told} key=${answer.number} answer=${answer} />`)}
      </div>
      <div class="switches">${state.switches.map((s) => html`<${Switch} key=${s.name} of=${s} />`)}</div>
    </section>`;
}

// Switch says what to expect once it is thrown.
function Switch({ of }) {
  const at = of.positions.find((p) => p.name === state.positions[of.name]) ?? of.positions[0];
  const thrown = at !== of.positions[0];
  return html`
    <div class="switch" data-broken=${thrown}>
      <label>${of.title}
        <select value=${at.name} aria-describedby=${thrown ? `expect-${of.name}` : undefined} onChange=${(e) => throwSwitch(of.name, e.target.value)}>
          ${of.positions.map((p) => html`<option key=${p.name} value=${p.name} selected=${p === at}>${p.label}</option>`)}
        </select>
      </label>
      ${thrown && html`<p class="small" id=${`expect-${of.name}`}><b>What to expect.</b> ${at.expect}</p>`}
    </div>`;
}
