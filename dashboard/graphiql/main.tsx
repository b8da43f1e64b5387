// GraphiQL over our own /graphql, beneath a bar of ours. It is shown once the server lets us in: before that there is
// neither a schema to read nor a portfolio to name in the examples.
import './workers'
import 'graphiql/style.css'

import { useGraphiQL, useGraphiQLActions, useMonaco } from '@graphiql/react'
import { GraphiQL } from 'graphiql'
import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'

import { Bar, SignIn } from './bar'
import { useCell } from './cell'
import { defineThemes, editorTheme } from './colours'
import { examplesOf } from './examples'
import { createFetcher, riskiestPortfolio } from './fetcher'
import { door, token } from './session'
import { storage } from './storage'

const fetcher = createFetcher()

function Page() {
  const at = useCell(door)
  const held = useCell(token)
  const [examples, setExamples] = useState<ReturnType<typeof examplesOf>>()
  // What was refused is not asked for again before there is another token.
  const mayBegin = !examples && (held !== null || at.state !== 'shut')
  // biome-ignore lint/correctness/useExhaustiveDependencies: with another token another portfolio may be the riskiest
  useEffect(() => {
    if (!mayBegin) return
    void riskiestPortfolio().then((id) => {
      if (door.get().state !== 'shut') setExamples(examplesOf(id))
    })
  }, [mayBegin, held])
  const begin = (): void => setExamples(examplesOf())
  return (
    <>
      <Bar />
      <main>
        {at.state === 'shut' && <SignIn reason={at.reason} {...(examples ? {} : { onSkip: begin })} />}
        {examples && <Editor examples={examples} />}
        {mayBegin && <p className="note">Loading GraphiQL</p>}
      </main>
    </>
  )
}

function Editor({ examples }: { examples: ReturnType<typeof examplesOf> }) {
  return (
    <GraphiQL
      fetcher={fetcher}
      storage={storage}
      editorTheme={editorTheme}
      defaultTabs={examples}
      defaultEditorToolsVisibility={false}
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      {/* The bar says where one is; GraphiQL's own logo would link to another site. */}
      <GraphiQL.Logo>{null}</GraphiQL.Logo>
      <GraphiQL.Footer>
        <p className="note">
          The demo replays historical prices: its numbers are not of today's market. Projected losses are hypothetical.
        </p>
      </GraphiQL.Footer>
      <Upkeep />
    </GraphiQL>
  )
}

/** Keeps the editors in step with the colours of the page and the system, and the schema with who is signed in. */
function Upkeep() {
  const monaco = useMonaco((state) => state.monaco)
  const { setTheme, introspect } = useGraphiQLActions()
  const theme = useGraphiQL((state) => state.theme)
  const hasSchema = useGraphiQL((state) => Boolean(state.schema))
  const held = useCell(token)
  useEffect(() => {
    if (!monaco) return
    defineThemes(monaco.editor.defineTheme)
    setTheme(theme)
  }, [monaco, theme, setTheme])
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)')
    // Monaco asks for the system's colours once; setting "system" again makes it ask anew.
    const follow = (): void => setTheme(theme)
    dark.addEventListener('change', follow)
    return () => dark.removeEventListener('change', follow)
  }, [theme, setTheme])
  useEffect(() => {
    if (held && !hasSchema) void introspect()
  }, [held, hasSchema, introspect])
  return null
}

const page = document.getElementById('graphiql')
if (!page) throw new Error('the page has no #graphiql element')
createRoot(page).render(<Page />)
