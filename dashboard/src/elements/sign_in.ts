// Asked for when the server wants to know who looks. The token stays in this tab.
import { html, type TemplateResult } from 'lit'

import { cleanToken, token } from '../api/token.ts'
import { Element } from './element.ts'

export class SignIn extends Element {
  protected override render(): TemplateResult {
    const { model } = this
    return html`<section class="sign-in">
      <h2>Sign in</h2>
      <p id="sign-in-why">${token() ? html`Your token was refused: <strong>${model.signIn}</strong>` : 'This server shows portfolios to those who may see them.'}</p>
      <form @submit=${(event: SubmitEvent) => this.submit(event)}>
        <label>
          <span>Access token</span>
          <input name="token" type="password" required autocomplete="off" spellcheck="false" aria-describedby="sign-in-why">
        </label>
        <button type="submit" class="button primary">Sign in</button>
      </form>
      <p class="note">It is kept for this tab only. An advisor’s token shows that advisor’s clients and nobody else’s.</p>
    </section>`
  }

  protected override firstUpdated(): void {
    this.querySelector('input')?.focus()
  }

  private submit(event: SubmitEvent): void {
    event.preventDefault()
    const given = cleanToken(String(new FormData(event.target as HTMLFormElement).get('token') ?? ''))
    if (given) this.model.use(given)
  }
}

customElements.define('sign-in', SignIn)
