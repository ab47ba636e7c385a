import { html, render } from '/console/vendor/htm-preact.js';
import { follow, state } from '/console/feed.js';
import { onAnswer } from '/console/api.js';
import { Check } from '/console/check.js';
import { Act } from '/console/act.js';
import { BreakIt } from '/console/breakit.js';
import { Streams } from '/console/streams.js';
import { Travel } from '/console/travel.js';
import { Views } from '/console/views.js';

const sections = { act: 'Act', streams: 'Streams', travel: 'Time travel', break: 'Break it', views: 'Views' };

// What the parts of the page have in common: which stream is looked at.
const shared = { stream: '' };
const select = (stream) => {
  shared.stream = stream;
  draw();
  document.getElementById('travel').scrollIntoView({ block: 'nearest', behavior: 'smooth' });
};

const Page = () => html`
  <a class="skip" href="#main">Skip to the console</a>
  <header>
    <div class="title">
      <h1>leftfold <span>console</span></h1>
      <p>What you see is the running service at ${location.host}, its event store, its broker and its read database.</p>
      <p id="connection" class="connection" role="status" data-connected=${state.connected}>${state.connected ? 'live' : 'not connected'}</p>
    </div>
    <nav aria-label="Parts of the console">
      ${Object.entries(sections).map(([id, title]) => html`<a href=${`#${id}`}>${title}</a>`)}
    </nav>
  </header>
  <${Check} />
  <main id="main" tabindex="-1">
    <div class="column act"><${Act} /></div>
    <div class="column see"><${Streams} select=${select} /><${Travel} stream=${shared.stream} select=${select} /></div>
    <div class="column break"><${BreakIt} /><${Views} select=${select} /></div>
  </main>`;

const root = document.getElementById('app');
const draw = () => render(html`<${Page} />`, root);
follow(draw);
onAnswer(draw);
draw();

// While something waits, the time that it waits is shown to pass.
setInterval(() => {
  if (state.polls.length > 0 || [...state.streams.values()].some((row) => row.behind)) draw();
}, 200);
