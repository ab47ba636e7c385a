import { html, useState } from '/console/vendor/htm-preact.js';
import { createOrg, me, readOutbox, requestCode, signUp, updateOrg, verifyCode } from '/console/api.js';
import { Answers } from '/console/answers.js';
import { clock, short } from '/console/words.js';

// Act is a client's way through the API: four forms, in the order in which they make sense.
export function Act() {
  const [busy, setBusy] = useState(false);
  const during = async (work) => { setBusy(true); try { await work; } finally { setBusy(false); } };
  const form = (send) => (e) => {
    e.preventDefault();
    during(send(Object.fromEntries(new FormData(e.target))));
  };
  return html`
    <section id="act" aria-labelledby="act-title" aria-busy=${busy}>
      <h2 id="act-title">Act</h2>
      <p class="lead">You are a client of the API. Sign in with a one-time code, and keep the profile of an org.</p>
      <p><button type="button" class="primary" disabled=${busy} onClick=${() => during(signUp())}>Do all four steps for me</button></p>
      <ol class="acts">
        <li><h3>Request a code</h3>
          <form onSubmit=${form(({ channel, to }) => requestCode(channel, to))}>
            <div class="pair">
              <label>Channel <select name="channel"><option value="email">email</option><option value="sms">SMS</option></select></label>
              <label>Address <input name="to" required autocomplete="off" defaultValue="jane@example.com" /></label>
            </div>
            <button disabled=${busy}>Request a code</button>
          </form></li>
        <li><h3>Read it in the outbox</h3><${Outbox} /></li>
        <li><h3>Verify it</h3>
          <form onSubmit=${form(({ code }) => verifyCode(code))}>
            <label>Code <input key=${me.message?.code} name="code" required inputmode="numeric" autocomplete="off" maxlength="6" defaultValue=${me.message?.code ?? ''} /></label>
            <button disabled=${busy || !me.challenge}>Verify</button>
            ${me.token && html`<p class="small">You have a token. Your org is <code title=${me.id}>${short(`org/${me.id}`)}</code>.</p>`}
          </form></li>
        <li><h3>${me.version ? 'Update' : 'Create'} your org</h3>
          <form key=${me.version} onSubmit=${form(({ match, ...profile }) => (me.version ? updateOrg(profile, match && me.version) : createOrg(profile)))}>
            <label>Name <input name="name" required maxlength="120" autocomplete="off" defaultValue=${me.profile?.name ?? 'Acme'} /></label>
            <label>Location <input name="location" required maxlength="150" autocomplete="off" defaultValue=${me.profile?.location ?? 'Berlin'} /></label>
            <label>Description <input name="description" maxlength="1200" autocomplete="off" defaultValue=${me.profile?.description ?? ''} /></label>
            ${me.version > 0 && html`<label class="check"><input type="checkbox" name="match" /> Only if it is still at version ${me.version} (If-Match)</label>`}
            <button disabled=${busy || !me.token}>${me.version ? 'Update' : 'Create'}</button>
          </form></li>
      </ol>
      <${Answers} />
    </section>`;
}

// Outbox shows what would have been sent to the visitor.
function Outbox() {
  if (!me.challenge) return html`<p class="small">Nothing was sent to you yet.</p>`;
  if (!me.message) {
    return html`<p class="small">The code is not sent yet: <code>otp.requested</code> has to be published first.
      <button type="button" onClick=${() => readOutbox(me.to, { challenge: me.challenge, version: 0 })}>Look again</button></p>`;
  }
  return html`
    <blockquote>
      <p>${me.message.text}</p>
      <footer class="small">by ${me.message.channel} to ${me.message.to}, ${clock(me.message.at)}</footer>
    </blockquote>`;
}
