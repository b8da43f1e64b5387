// Which packages end up in the pages, and under which terms: what their licences ask us to pass on.
// Only what is really bundled counts, in the pages and in their workers; tools that built it do not.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import type { Plugin } from 'vite'

// Two fonts lie in the styles of a package whose own licence is another one.
const FONTS = new URL('graphiql/fonts.txt', import.meta.url)
const NOTICE = /^(licen[cs]e|notice|copying|third-?party-?notices)/i

interface Manifest {
  name: string
  version: string
  license?: string
}

export function licenses(fileName: string) {
  // Shared by the pages' build and the workers' own builds, which end before it does.
  const packages = new Map<string, string>()

  const add = (moduleId: string): void => {
    const found = packageOf(moduleId)
    if (found) packages.set(`${found.manifest.name} ${found.manifest.version}`, termsOf(found.manifest, found.folder))
  }

  const collect = (): Plugin => ({
    name: 'collect-licenses',
    generateBundle(_options, bundle) {
      for (const part of Object.values(bundle)) if (part.type === 'chunk') part.moduleIds.forEach(add)
    },
  })

  const emit = (): Plugin => ({
    name: 'emit-licenses',
    generateBundle(_options, bundle) {
      for (const part of Object.values(bundle)) if (part.type === 'chunk') part.moduleIds.forEach(add)
      if (packages.size === 0) this.error('no bundled package was met: the licence file would be empty')
      const entries = [...packages.entries()].sort().map(([title, terms]) => `${title}\n${terms}\n`)
      const source = [...entries, readFileSync(FONTS, 'utf8')].join(`\n${'-'.repeat(80)}\n\n`)
      this.emitFile({ type: 'asset', fileName, source })
    },
  })

  return { collect, emit }
}

/** The npm package that a module came from; undefined for our own sources and the bundler's helpers. */
function packageOf(moduleId: string): { manifest: Manifest; folder: string } | undefined {
  const path = moduleId.replace(/^\0/, '').replace(/\?.*$/, '')
  if (!path.includes('/node_modules/')) return undefined
  for (let folder = dirname(path); folder.includes('/node_modules/'); folder = dirname(folder)) {
    const file = join(folder, 'package.json')
    if (!existsSync(file)) continue
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Partial<Manifest>
    // Packages keep nameless package.json files in subfolders, to say what kind of module lies there.
    if (manifest.name && manifest.version) return { manifest: manifest as Manifest, folder }
  }
  return undefined
}

function termsOf(manifest: Manifest, folder: string): string {
  if (!manifest.license) throw new Error(`${manifest.name} names no licence: look it up before bundling it`)
  const files = readdirSync(folder).filter((name) => NOTICE.test(name) && !name.endsWith('.js'))
  const texts = files.sort().map((name) => readFileSync(join(folder, name), 'utf8').trim())
  return [`Licence: ${manifest.license}`, ...texts].join('\n\n')
}
