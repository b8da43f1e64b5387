// One value that changes, and those who are told: what the page's parts know of one another.
import { useSyncExternalStore } from 'react'

export class Cell<T> {
  readonly #readers = new Set<() => void>()
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  get = (): T => this.#value

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    for (const tell of this.#readers) tell()
  }

  subscribe = (tell: () => void): (() => void) => {
    this.#readers.add(tell)
    return () => this.#readers.delete(tell)
  }
}

/** What a cell holds, for a component that is drawn again when it changes. */
export function useCell<T>(cell: Cell<T>): T {
  return useSyncExternalStore(cell.subscribe, cell.get)
}
