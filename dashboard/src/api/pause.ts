/** Wait so long, or until the machine is connected to its network again: then there is nothing more to wait for. */
export function pause(ms: number, machine: EventTarget): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      machine.removeEventListener('online', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    machine.addEventListener('online', end)
  })
}
