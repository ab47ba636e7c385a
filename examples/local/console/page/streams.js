import { html, useEffect, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { ask } from '/console/api.js';
import { clock, count, json, short, stepMood, stepWords } from '/console/words.js';

const atFirst = 8;

// Streams shows every commit on its way through the protocol, newest first.
export function Streams({ select }) {
  const [part, setPart] = useState('');
  const [most, setMost] = useState(atFirst);
  const commits = [...state.commits.values()].filter((c) => c.stream.includes(part)).reverse();
  return html`
    <section id="streams" aria-labelledby="streams-title">
      <h2 id="streams-title">Streams</h2>
      <p class="lead">Every commit, from pending to settled. What is revoked or claimed had trouble on its way.</p>
      <${Latest} />
      <search><label>Find a stream <input type="search" autocomplete="off" placeholder="org/" value=${part} onInput=${(e) => setPart(e.target.value.trim())} /></label></search>
      ${part && html`<${Found} part=${part} select=${select} />`}
      ${commits.length === 0 && html`<p class="small">${part ? 'No commit of such a stream lately.' : 'No commit yet. Act, and one will pass here.'}</p>`}
      <ol class="commits" aria-label="Commits, newest first">
        ${commits.slice(0, most).map((c) => html`<li key=${c.id}><${Commit} commit=${c} select=${select} /></li>`)}
        ${commits.length > most && html`<li key="more"><button type="button" onClick=${() => setMost(most + 3 * atFirst)}>Show more of ${count(commits.length, 'commit')}</button></li>`}
      </ol>
    </section>`;
}

// Found lists the streams that the store has, those of long ago as well.
function Found({ part, select }) {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    let late = false;
    ask('GET', `/console/streams?q=${encodeURIComponent(part)}`).then(({ body }) => { if (!late) setRows(body ?? []); });
    return () => { late = true; };
  }, [part]);
  return html`
    <div class="found">
      <p class="small" role="status">${rows.length === 100 ? 'At least 100 streams' : count(rows.length, 'stream')} found</p>
      <p class="buttons">${rows.slice(0, 8).map((row) => html`
        <button type="button" class="quiet" key=${row.stream} title=${row.stream} onClick=${() => select(row.stream)}>${short(row.stream)} at ${row.stored}</button>`)}</p>
    </div>`;
}

// Latest says what happened, to those who do not see it, and not more than once a second.
function Latest() {
  const [said, say] = useState('');
  useEffect(() => {
    const timer = setInterval(() => {
      const c = state.latest;
      if (c) say(`${c.events.map((e) => e.type).join(', ')}, version ${c.version} of ${short(c.stream)}: ${c.status}`);
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<p role="status" class="hidden">${said}</p>`;
}

function Commit({ commit, select }) {
  const { id, stream, version, status, events, steps, time, command, meta, replaces } = commit;
  const types = events.map((e) => e.type).join(', ');
  return html`
    <article class="commit" data-status=${status} aria-label=${`${types}, version ${version}, ${status}`}>
      <p class="head">
        <span class="badge" data-status=${status}>${status}</span>${' '}
        <b>${types || 'commit'}</b>${' '}
        <button type="button" class="quiet" title=${`${stream}: travel through its versions`} onClick=${() => select(stream)}>${short(stream)} @ ${version}</button>${' '}
        ${time && html`<time class="small" datetime=${time}>${clock(time)}</time>`}
      </p>
      <ol class="steps" aria-label="Steps">
        ${steps.map((s, i) => html`<li key=${i} data-mood=${stepMood(s)} title=${clock(s.at)}>${stepWords(s)}</li>`)}
      </ol>
      <details>
        <summary>Events and metadata</summary>
        <dl>
          <dt>Commit</dt><dd><code>${id}</code></dd>
          ${replaces && html`<dt>In the slot of the revoked</dt><dd><code>${replaces}</code></dd>`}
          <dt>Command</dt><dd><code>${command ?? 'without a name'}</code></dd>
          ${Object.entries(meta ?? {}).map(([key, value]) => html`<dt>${key}</dt><dd><code>${value}</code></dd>`)}
          ${events.map((e, i) => html`<dt>${version + i} ${e.type}</dt><dd><pre>${json(e.data)}</pre></dd>`)}
        </dl>
      </details>
    </article>`;
}
