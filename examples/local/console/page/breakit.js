import { html, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { answers, ask, me, move, signUp } from '/console/api.js';
import { Told } from '/console/answers.js';

const post = (body) => ask('POST', '/console/switches', { body });
const throwSwitch = (name, to) => post({ switch: name, to });
const mend = () => post({});

// broken returns the switches that are not as they should be, with the option that they are in.
const broken = () => state.switches
  .map((s) => ({ ...s, option: s.options.find((o) => o.name === state.positions[s.name]) }))
  .filter((s) => s.option && s.option !== s.options[0]);

// BreakIt has a switch for everything that goes wrong in the end, somewhere.
export function BreakIt() {
  const [busy, setBusy] = useState(false);
  const during = (work) => async () => { setBusy(true); try { await work(); } finally { setBusy(false); } };
  const faults = broken();
  const ready = me.version > 0; // of what comes, only an update can be repeated for ever
  return html`
    <section id="break" aria-labelledby="break-title" aria-busy=${busy}>
      <h2 id="break-title">Break it</h2>
      <p class="lead">Throw a switch, send a command, and watch what the caller is told and how the commit is finished.</p>
      <p role="status" class="faults" data-broken=${faults.length > 0}>
        ${faults.length === 0 ? 'Everything works.' : `Broken: ${faults.map((s) => `${s.title.toLowerCase()} ${s.option.label}`).join('; ')}.`}
      </p>
      <p class="buttons">
        ${!ready && html`<button type="button" disabled=${busy} onClick=${during(signUp)}>Get an org first</button>`}
        <button type="button" class="primary" disabled=${busy || !ready} onClick=${during(move)}>Send a command</button>
        <button type="button" disabled=${busy || !ready} onClick=${during(() => Promise.all([move(), move()]))}>Send two at once</button>
        <button type="button" disabled=${faults.length === 0} onClick=${mend}>Mend everything</button>
      </p>
      <${Told} answer=${answers.find((a) => a.move)} />
      <div class="switches">${state.switches.map((s) => html`<${Switch} key=${s.name} of=${s} />`)}</div>
    </section>`;
}

// Switch says what to expect once it is thrown.
function Switch({ of }) {
  const option = of.options.find((o) => o.name === state.positions[of.name]) ?? of.options[0];
  const thrown = option !== of.options[0];
  return html`
    <div class="switch" data-broken=${thrown}>
      <label>${of.title}
        <select value=${option.name} aria-describedby=${thrown ? `expect-${of.name}` : undefined} onChange=${(e) => throwSwitch(of.name, e.target.value)}>
          ${of.options.map((o) => html`<option key=${o.name} value=${o.name} selected=${o === option}>${o.label}</option>`)}
        </select>
      </label>
      ${thrown && html`<p class="small" id=${`expect-${of.name}`}><b>What to expect.</b> ${option.expect}</p>`}
    </div>`;
}
