// The line above GraphiQL: where one is, the ways to the other pages, how the subscriptions fare, and who is signed in.
import { type SubmitEvent, useId } from 'react'
import { bearerOf } from '../src/api/token.ts'
import { useCell } from './cell'
import { door, signIn, signOut, token } from './session'
import { connection } from './socket'

const SAID_OF = { none: '', live: 'Subscription live', lost: 'Connection lost: trying again' }

export function Bar() {
  const state = useCell(connection)
  const held = useCell(token)
  const isShut = useCell(door).state === 'shut'
  return (
    <header className="bar">
      <h1>
        Plimsoll <span>GraphiQL</span>
      </h1>
      <nav aria-label="Pages">
        <a href="/">Dashboard</a>
        <a href="/docs">REST</a>
      </nav>
      <p role="status" className={`connection ${state}`}>
        {SAID_OF[state]}
      </p>
      {held && !isShut && (
        <p className="who">
          Signed in as {bearerOf(held)}{' '}
          <button type="button" onClick={leave}>
            Sign out
          </button>
        </p>
      )}
    </header>
  )
}

function leave(): void {
  signOut()
  // What was asked and answered as somebody goes with them.
  location.reload()
}

/** Asks for a token, saying why. */
export function SignIn({ reason, onSkip }: { reason: string; onSkip?: () => void }) {
  const id = useId()
  const submit = (event: SubmitEvent<HTMLFormElement>): void => {
    event.preventDefault()
    const pasted = new FormData(event.currentTarget).get('token')
    if (typeof pasted === 'string' && pasted.trim()) signIn(pasted)
  }
  return (
    <form className="sign-in" onSubmit={submit} aria-label="Sign in">
      <p role="alert">{reason ? `The server does not take your token: ${reason}.` : 'This server wants a token.'}</p>
      <label htmlFor={id}>Token</label>
      {/* biome-ignore lint/a11y/noAutofocus: the form is all that can be done here until there is a token */}
      <input id={id} name="token" type="password" autoComplete="off" spellCheck={false} required autoFocus />
      <button type="submit">Sign in</button>
      {onSkip && (
        <button type="button" onClick={onSkip}>
          Use request headers instead
        </button>
      )}
      <p>
        Paste one that your sign-in issued, or to try: <code>plimsoll token --role risk_manager</code>. It is kept for
        this browser tab alone.
      </p>
    </form>
  )
}
