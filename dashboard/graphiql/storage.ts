// What GraphiQL remembers between visits: tabs, history, colours. All but request headers, which may hold a credential:
// GraphiQL leaves them out of its tabs, and writes them into its history.
const PREFIX = 'graphiql:'

export const storage = {
  get length(): number {
    return ours().length
  },
  getItem: (key: string): string | null => localStorage.getItem(key),
  setItem: (key: string, value: string): void => localStorage.setItem(key, withoutHeaders(value)),
  removeItem: (key: string): void => localStorage.removeItem(key),
  clear: (): void => {
    for (const key of ours()) localStorage.removeItem(key)
  },
}

function ours(): string[] {
  return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX))
}

function withoutHeaders(value: string): string {
  if (!value.includes('"headers"')) return value
  return JSON.stringify(JSON.parse(value, (key, inner: unknown) => (key === 'headers' ? null : inner)))
}
