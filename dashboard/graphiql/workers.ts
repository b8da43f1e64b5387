// Monaco parses and validates off the main thread. Without these it falls back, silently, to completing words.
// GraphiQL's own `graphiql/setup-workers/vite` builds but stops Vite's dev server.
import type {} from 'monaco-editor'
import EditorWorker from 'monaco-editor/esm/vs/editor/editor.worker.js?worker'
import JsonWorker from 'monaco-editor/esm/vs/language/json/json.worker.js?worker'
import GraphqlWorker from 'monaco-graphql/esm/graphql.worker.js?worker'

const workers: Record<string, new () => Worker> = { graphql: GraphqlWorker, json: JsonWorker }

window.MonacoEnvironment = { getWorker: (_moduleId, label) => new (workers[label] ?? EditorWorker)() }
