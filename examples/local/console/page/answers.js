import { html } from '/console/vendor/htm-preact.js';
import { accepted, answers } from '/console/api.js';
import { clock, duration, json } from '/console/words.js';

// Answers is what the visitor was told, newest first.
export const Answers = () => html`
  <div class="answers">
    <h3>What the API answered</h3>
    <p role="status" class="hidden">${answers[0] ? `${answers[0].what}: ${statusOf(answers[0])}${versionOf(answers[0])}` : ''}</p>
    ${answers.length === 0 && html`<p class="small">Nothing yet.</p>`}
    <ul>${answers.map((answer) => html`<li key=${answer.number}><${Answer} answer=${answer} /></li>`)}</ul>
  </div>`;

const statusOf = ({ status, text }) => (status ? `${status} ${text}` : text);
const versionOf = ({ etag, body }) => (etag ? `, ETag ${etag}` : '') + (body?.version ? `, version ${body.version}` : '');

function Answer({ answer }) {
  const { what, method, path, body, again, ms, at } = answer;
  return html`
    <details class="answer" data-ok=${accepted(answer)}>
      <summary>
        <span class="what">${what}</span>${' '}
        <strong>${statusOf(answer)}</strong>${' '}
        <span class="small">${versionOf(answer).slice(2)}</span>
      </summary>
      <p class="small"><code>${method} ${path}</code> at ${clock(at)}, after ${duration(ms)}</p>
      ${body && html`<pre>${json(hide(body))}</pre>`}
    </details>
    ${body?.detail && html`<p class="small">${why(body)}</p>`}
    ${again && !answer.press && html`<${Again} answer=${answer} />`}`;
}

// Told is one answer in a line or two, beside the button that asked for it.
export const Told = ({ answer }) => answer && html`
  <p class="told" data-ok=${accepted(answer)}><span class="what">${answer.what}:</span> the caller is told <strong>${statusOf(answer)}</strong> <span class="small">${versionOf(answer).slice(2)}</span></p>
  ${answer.again && html`<${Again} answer=${answer} />`}`;

function Again({ answer }) {
  const send = (e) => { e.target.disabled = true; answer.again(); };
  return html`<button type="button" class="again" onClick=${send}>Send again with the same Idempotency-Key</button>`;
}

// why says what is wrong, of each field where it is about fields.
const why = ({ detail, errors }) => (errors ? errors.map((e) => `${e.pointer.slice(1)} ${e.detail}.`).join(' ') : detail);

// A token is long, and says nothing to people.
const hide = (body) => (body.token ? { ...body, token: `${body.token.slice(0, 12)}…` } : body);
