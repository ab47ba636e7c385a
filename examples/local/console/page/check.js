import { html, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { load } from '/console/load.js';
import { count } from '/console/words.js';

const verdicts = {
  equal: ['Equal', 'Every event that is stored was published, in order, and is in its view.'],
  behind: ['Not equal yet', 'Something is on its way, or waits until what is broken is mended.'],
  wrong: ['Wrong', 'Something was lost, invented or out of order.'],
};

// Check is the one thing that must always be so again: stored = published = in the views.
export function Check() {
  const { check } = state;
  const [progress, setProgress] = useState(null);
  const run = async () => {
    setProgress({ done: 0, all: 200 });
    setProgress({ ...(await load(setProgress)), finished: true });
  };
  if (!check) return html`<section id="check" aria-label="The check"><p>Waiting for the feed…</p></section>`;
  const [verdict, why] = verdicts[check.state];
  const busy = progress && !progress.finished;
  return html`
    <section id="check" aria-labelledby="check-title" data-state=${check.state}>
      <h2 id="check-title" class="hidden">The check</h2>
      <div class="equation">
        <${Number} label="stored" n=${check.stored} />
        <${Sign} same=${check.stored === check.delivered} />
        <${Number} label="published" n=${check.delivered} />
        <${Sign} same=${check.delivered === check.viewed} />
        <${Number} label="in the views" n=${check.viewed} />
      </div>
      <div class="verdict">
        <p role="status"><strong>${verdict}</strong> <span>${why}</span></p>
        <p class="small">
          ${count(check.stored, 'event')} in ${count(check.streams, 'stream')} · ${count(check.unsettled, 'commit')} not settled ·
          ${' '}${check.revoked} revoked · ${check.repeats} delivered again and dropped
        </p>
        ${check.wrong && html`<ul class="wrong">${check.wrong.map((line) => html`<li>${line}</li>`)}</ul>`}
      </div>
      <div class="load">
        <button type="button" onClick=${run} disabled=${busy}>200 commands</button>
        ${busy && html`<progress aria-label="Commands sent" value=${progress.done} max=${progress.all}></progress>`}
        <p class="small" role="status">${progress && loadWords(progress)}</p>
      </div>
    </section>`;
}

const Number = ({ label, n }) => html`<p class="number"><b>${n.toLocaleString('en')}</b> <span>${label}</span></p>`;
const Sign = ({ same }) => html`<p class="sign" data-same=${same}>${same ? '=' : '≠'}</p>`;

// What is counted while it runs would be read aloud two hundred times.
function loadWords(p) {
  if (!p.finished) return 'Commands are sent…';
  return `${p.accepted} of ${p.all} accepted in ${(p.ms / 1000).toFixed(1)} s`
    + (p.repeated ? `, ${p.repeated} of them sent again` : '')
    + (p.refused ? `, ${p.refused} refused` : '')
    + (p.skipped ? `, ${p.skipped} not sent, for what they need was refused` : '');
}
