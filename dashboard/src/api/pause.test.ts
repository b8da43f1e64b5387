import assert from 'node:assert/strict'
import { mock, test } from 'node:test'

import { pause } from './pause.ts'

test('a pause ends in its time, or when the machine is connected again', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const machine = new EventTarget()
  const ended: string[] = []
  void pause(8000, machine).then(() => ended.push('short'))
  void pause(60_000, machine).then(() => ended.push('long'))

  mock.timers.tick(8000)
  await Promise.resolve()
  assert.deepEqual(ended, ['short'])

  machine.dispatchEvent(new Event('online'))
  await Promise.resolve()
  assert.deepEqual(ended, ['short', 'long'])
  mock.timers.reset()
})
