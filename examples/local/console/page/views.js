import { html, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { count, duration, json, short } from '/console/words.js';

const atFirst = 5;

// Views is the read database, beside what it follows.
export function Views({ select }) {
  const [most, setMost] = useState(atFirst);
  const rows = [...state.streams.values()].reverse();
  return html`
    <section id="views" aria-labelledby="views-title">
      <h2 id="views-title">Views</h2>
      <p class="lead">The read database. A query reads a view; a client that knows a version can wait for it.</p>
      <h3>Waiting polls</h3>
      ${state.polls.length === 0 && html`<p class="small">Nobody waits.</p>`}
      <ul class="polls">${state.polls.map((p) => html`
        <li key=${p.since}><code title=${p.path}>GET ${short(p.path.slice(1))}</code> waits for a version after ${p.known || 'none'},
          for ${duration(Date.now() - Date.parse(p.since))}</li>`)}</ul>
      <h3>Documents</h3>
      ${rows.length === 0 && html`<p class="small">No document yet.</p>`}
      <ul class="rows" aria-label="Views, newest first">
        ${rows.slice(0, most).map((row, i) => html`<li key=${row.stream}><${Row} row=${row} open=${i === 0} select=${select} /></li>`)}
      </ul>
      ${rows.length > most && html`<button type="button" onClick=${() => setMost(most + 4 * atFirst)}>Show more of ${count(rows.length, 'view')}</button>`}
    </section>`;
}

function Row({ row, open, select }) {
  const { stream, stored, view, lag, behind, document, unsettled } = row;
  const missing = stored - view;
  return html`
    <article class="view" data-behind=${missing > 0} aria-label=${`View of ${short(stream)}`}>
      <p class="head">
        <button type="button" class="quiet" title=${`${stream}: travel through its versions`} onClick=${() => select(stream)}>${short(stream)}</button>${' '}
        <span>version <b>${view}</b> of ${stored}</span>
      </p>
      <p class="small lag">${missing > 0
    ? `behind by ${count(missing, 'version')}, for ${duration(Date.now() - Date.parse(behind))}`
    : `up to date, ${duration(lag)} after the command`}${unsettled ? `; the newest commit is ${unsettled}` : ''}</p>
      ${document && html`<details open=${open}><summary>Document</summary><pre>${json(document)}</pre></details>`}
    </article>`;
}
