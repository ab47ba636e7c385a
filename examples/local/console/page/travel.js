import { html, useEffect, useState } from '/console/vendor/htm-preact.js';
import { state } from '/console/feed.js';
import { ask } from '/console/api.js';
import { clock, json } from '/console/words.js';

// Travel goes through the versions of a stream: the state after each event, what that changed, and the case of
// the fold that did it.
export function Travel({ stream, select }) {
  const [past, setPast] = useState(null);
  const [at, setAt] = useState(null); // null: at the newest version, whatever that is
  const names = [...state.streams.keys()].reverse();
  const chosen = stream || names.find((name) => name.startsWith('org/')) || names[0] || '';
  const row = state.streams.get(chosen);
  // Of the newest commit, the fold may see nothing before it is settled.
  const seen = `${row?.stored} ${row?.unsettled}`;
  useEffect(() => { setAt(null); }, [chosen]);
  useEffect(() => {
    let late = false;
    if (chosen) ask('GET', `/console/history?stream=${encodeURIComponent(chosen)}`).then(({ body }) => { if (!late) setPast(body?.steps ? body : null); });
    return () => { late = true; };
  }, [chosen, seen]);
  if (names.length > 0 && !names.includes(chosen)) names.unshift(chosen);
  return html`
    <section id="travel" aria-labelledby="travel-title">
      <h2 id="travel-title">Time travel</h2>
      <p class="lead">A state is a left fold of events. Go back, and see what each of them changed.</p>
      ${!chosen && html`<p class="small">There is no stream yet.</p>`}
      ${chosen && html`
        <label>Stream <select value=${chosen} onChange=${(e) => select(e.target.value)}>
          ${names.map((name) => html`<option key=${name} value=${name} selected=${name === chosen}>${name}</option>`)}
        </select></label>`}
      ${past && html`<${Versions} past=${past} at=${at} setAt=${setAt} />`}
    </section>`;
}

function Versions({ past, at, setAt }) {
  const newest = past.steps.at(-1)?.version ?? past.from;
  const version = Math.min(Math.max(at ?? newest, past.from), newest);
  const index = version - past.from - 1;
  const step = past.steps[index];
  const before = index > 0 ? past.steps[index - 1].state : past.state;
  const go = (to) => setAt(to >= newest ? null : to);
  return html`
    <div class="slider">
      <button type="button" aria-label="One version back" disabled=${version === past.from} onClick=${() => go(version - 1)}>←</button>
      <label>Version <b>${version}</b> of ${newest}
        <input type="range" min=${past.from} max=${newest} value=${version} aria-valuetext=${`Version ${version} of ${newest}${step ? `, ${step.type}` : ''}`}
          onInput=${(e) => go(Number(e.target.value))} /></label>
      <button type="button" aria-label="One version forward" disabled=${version === newest} onClick=${() => go(version + 1)}>→</button>
    </div>
    <div class="travel">
      ${step
    ? html`
        <div>
          <h3>The event</h3>
          <p><b>${step.type}</b>${' '}<time class="small" datetime=${step.time}>${clock(step.time)}</time></p>
          <pre>${json(step.data)}</pre>
        </div>
        <div>
          <h3>The fold step</h3>
          <p class="small">state ${version} = Fold(state ${version - 1}, ${step.type})</p>
          <${Fold} source=${past.fold} of=${step.go} />
        </div>`
    : html`<div><h3>Before the first event</h3><p class="small">The zero value: what the fold starts from.</p></div>`}
      <div class="whole">
        <h3>The state at version ${version}</h3>
        <${Difference} before=${step ? before : past.state} after=${step ? step.state : past.state} />
      </div>
    </div>`;
}

// Fold shows the source, with the lines that made this step.
function Fold({ source, of }) {
  const lines = source.trimEnd().split('\n');
  let hit = false;
  return html`<pre class="fold"><code>${lines.map((line) => {
    if (/^\t(case|default|\})/.test(line)) hit = new RegExp(`^\\tcase .*\\b${of}\\b`).test(line);
    const text = `${line.replaceAll('\t', '  ')}\n`;
    return hit ? html`<mark>${text}</mark>` : text;
  })}</code></pre>`;
}

// leaves returns the values of a document by their paths.
function leaves(value, path = '', found = new Map()) {
  if (value !== null && typeof value === 'object' && Object.keys(value).length > 0) {
    for (const [key, v] of Object.entries(value)) leaves(v, path ? `${path}.${key}` : key, found);
  } else {
    found.set(path, JSON.stringify(value));
  }
  return found;
}

function Difference({ before, after }) {
  const [was, is] = [leaves(before), leaves(after)];
  const paths = [...new Set([...was.keys(), ...is.keys()])];
  return html`
    <table>
      <thead><tr><th scope="col">Field</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
      <tbody>${paths.map((path) => {
    const same = was.get(path) === is.get(path);
    return html`
        <tr key=${path} data-changed=${!same}>
          <th scope="row">${path}${!same && html` <span class="badge">changed</span>`}</th>
          <td>${was.get(path) ?? '–'}</td>
          <td>${is.get(path) ?? '–'}</td>
        </tr>`;
  })}</tbody>
    </table>`;
}

