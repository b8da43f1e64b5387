// Two pages: the dashboard, and GraphiQL in a folder of its own. Everything they load is bundled, hashed and served by the
// API under /pages/; nothing is asked of another host.
import { defineConfig } from 'vite'

import { licenses } from './licenses.ts'

const api = 'http://127.0.0.1:6066'
const bundled = licenses('THIRD-PARTY-LICENSES.txt')

export default defineConfig({
  base: '/pages/',
  plugins: [bundled.emit()],
  worker: { format: 'es', plugins: () => [bundled.collect()] },
  build: {
    target: 'es2022',
    // Monaco alone is 2.8 MB. It is fetched once and kept for a year, so a warning at 500 kB says nothing.
    chunkSizeWarningLimit: 4000,
    // A data: address would need a policy that allows it.
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { dashboard: 'index.html', graphiql: 'graphiql/index.html' },
      // "use client" means something to React's server side only; a hundred modules carry it.
      onLog: (level, log, report) => log.code === 'MODULE_LEVEL_DIRECTIVE' || report(level, log),
    },
  },
  // `npm run dev` serves the pages with live reload, in front of an API that is already running.
  server: { host: '127.0.0.1', proxy: { '/graphql': { target: api, ws: true } } },
})
